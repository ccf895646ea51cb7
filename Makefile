# make demo   a video through the whole system, on an embedded PostgreSQL
# make test   installs what the tests need, and runs them against the built wheel
# make check  format, lint, types, floors of imports, SQL
# make bench  speed, as ratios against the bare libraries in the same run

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml README.md LICENSE $(shell find src supabase/migrations -type f -name '*.py' -o -type f -name '*.sql')

.PHONY: demo test check bench parts format types clean

demo: $(VENV)/.all
	$(BIN)/videojobs demo $(VIDEO)

# Where PostgreSQL 15 cannot be installed, its tests fail and say so; the others run all the same.
test: $(VENV)/.dev .parts/.npm
	-@$(MAKE) --no-print-directory .parts/.postgres15
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(TESTS)

check: $(VENV)/.dev .parts/.npm .parts/.postgres15
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tests/check_sql.py

bench: $(VENV)/.dev .parts/.npm
	$(BIN)/python -m benchmarks

parts: .parts/.npm .parts/.postgres15

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.dev .parts/.npm .parts/.postgres15
	$(BIN)/python tests/check_sql.py --write-types

clean:
	rm -rf dist $(VENV) .parts

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

.parts/.npm: tests/install_parts.py | $(VENV)/.dev
	$(BIN)/python tests/install_parts.py
	touch $@

.parts/.postgres15: tests/install_parts.py | $(VENV)/.dev
	$(BIN)/python tests/install_parts.py --postgres15
	touch $@
