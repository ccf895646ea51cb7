# make demo   a video through the whole system, on an embedded PostgreSQL
# make test   installs what the tests need, and runs them against the built wheel
# make check  format, lint, types, floors of imports, SQL
# make chaos  workers, clients and faults for SECONDS=300, in an order that SEED gives
# make fuzz   COUNT=2000 damaged videos from SEED=1 on, each of which must end with files or a code
# make bench  speed, as ratios against the bare libraries and other queues in the same run;
#             PARTS='drain wal' runs only these parts

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := procrastinate pgqueuer bullmq moviepy
SOURCES := pyproject.toml README.md LICENSE $(shell find src supabase/migrations -type f -name '*.py' -o -type f -name '*.sql')

.PHONY: demo test check chaos fuzz bench peers parts format types clean

demo: $(VENV)/.all
	$(BIN)/videojobs demo $(VIDEO)

# Where the Debian packages cannot be installed, their tests fail and say so; the others run all the same.
test: $(VENV)/.dev .parts/.npm
	-@$(MAKE) --no-print-directory .parts/.debian
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(VENV)/.dev .parts/.npm .parts/.debian
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tests/check_sql.py

chaos: $(VENV)/.dev .parts/.npm .parts/.debian
	cd tests && $(CURDIR)/$(BIN)/python -m chaos --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.dev
	cd tests && $(CURDIR)/$(BIN)/python -m fuzz --count $(or $(COUNT),2000) --seed $(or $(SEED),1)

# Without the peers, the comparison with other queues is left out, and the output says so.
bench: $(VENV)/.dev .parts/.npm
	-@$(MAKE) --no-print-directory peers
	$(BIN)/python -m benchmarks $(PARTS)

# Other queues: an environment for each, since their needs contradict each other.
peers: $(PEERS:%=.venv-peers/%/.installed)

parts: .parts/.npm .parts/.debian

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.dev .parts/.npm .parts/.debian
	$(BIN)/python tests/check_sql.py --write-types

clean:
	rm -rf dist $(VENV) .venv-peers .parts

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("videojobs needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0] + "; run make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@# A half-made one would stand in the way of every later try.
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade pip build \
		|| { rm -rf $(VENV); exit 1; }

dist/.built: $(SOURCES) | $(BIN)/python
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	touch $@

# The second command replaces an older build of the same version; the first one brought its needs.
$(VENV)/.all: dist/.built
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[all]"
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@

$(VENV)/.dev: dist/.built
	$(BIN)/python -m pip install --quiet "$$(ls dist/*.whl)[dev]"
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@ $(VENV)/.all

.parts/.npm: tests/install_parts.py examples/nextjs/package.json | $(VENV)/.dev
	$(BIN)/python tests/install_parts.py
	touch $@

.parts/.debian: tests/install_parts.py | $(VENV)/.dev
	$(BIN)/python tests/install_parts.py --debian
	touch $@

.venv-peers/%/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(@D)/bin/python -m pip install --quiet --group $*
	touch $@
