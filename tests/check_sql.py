"""Checks the migrations as `make check` runs it: on a real PostgreSQL 15, exit code 1 if anything is found.

- plpgsql_check looks into every PL/pgSQL function, with all of its warnings on.
- The Supabase CLI's advisors may report nothing at warn or above; what they say at info is listed.
- supabase/database.types.ts must equal what the CLI generates from the migrated database.

``--write-types`` writes that file anew instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg

from parts import ROOT, PartMissingError, Parts, find_parts, postgres15
from videojobs.migrations import migrate

TYPES = ROOT / "supabase" / "database.types.ts"

_HEADER = """\
// The tables, enums and functions of videojobs, for supabase-js:
//   createClient<Database>(url, key)
// Generated from the migrations by `python tests/check_sql.py --write-types`. Do not edit.
"""

# What it says beside a volatility that it guesses at: it cannot see what a dynamic statement does.
_UNKNOWABLE = "determine volatility of used dynamic SQL"

# Trigger functions are checked once for each trigger, which says what their rows look like.
# What waits for Supabase Realtime is checked as where it is.
_REALTIME = """
create schema realtime;
create table realtime.messages (id bigint primary key, topic text, extension text);
create function realtime.topic() returns text language sql as $$ select ''::text $$;
create function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void language sql as $$ select null $$;
select videojobs.enable_realtime();
"""

_PLPGSQL_CHECK = """
select
  p.oid::regprocedure::text || coalesce(' on ' || t.tgrelid::regclass::text, '') as function,
  found.lineno, found.level, found.message, found.detail, found.hint
from pg_proc p
join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
left join pg_trigger t on t.tgfoid = p.oid and not t.tgisinternal
cross join lateral extensions.plpgsql_check_function_tb(
  p.oid::regprocedure, coalesce(t.tgrelid, 0)::regclass, fatal_errors => false, all_warnings => true,
  oldtable => t.tgoldtable, newtable => t.tgnewtable
) found
where p.pronamespace in ('public'::regnamespace, 'videojobs'::regnamespace)
order by 1, 2
"""


def plpgsql_findings(url: str) -> list[str]:
    """Return what plpgsql_check has to say about the database's functions."""
    with psycopg.connect(url) as connection:
        try:
            connection.execute("create extension if not exists plpgsql_check schema extensions")
        except psycopg.errors.FeatureNotSupported as error:
            raise PartMissingError(
                f"plpgsql_check is not installed for PostgreSQL 15 ({error}): run `make parts`"
            ) from None
        connection.execute(_REALTIME)
        rows = connection.execute(_PLPGSQL_CHECK).fetchall()
        connection.rollback()
        connection.rollback()
    return [
        f"{function}, line {line}: {level}: {' '.join(filter(None, told))}"
        for function, line, level, *told in rows
        if _UNKNOWABLE not in (told[1] or "")
    ]


def advisor_findings(parts: Parts, url: str) -> tuple[list[str], list[str]]:
    """Return what the CLI's advisors report at warn or above, and what at info."""
    told = _supabase(parts, "db", "advisors", "--level", "info", "--output-format", "json", url=url)
    serious: list[str] = []
    informative: list[str] = []
    for found in json.loads(told)["results"]:
        lines = informative if found["level"] == "INFO" else serious
        lines.append(f"{found['level']} {found['name']}: {found['detail']}")
    return serious, informative


def generated_types(parts: Parts, url: str) -> str:
    """Return the TypeScript types of the schema public."""
    return _HEADER + _supabase(
        parts, "gen", "types", "--lang", "typescript", "--schema", "public", url=url
    )


def types_finding(parts: Parts, url: str, file: Path = TYPES) -> list[str]:
    """Return that the checked-in types differ from the database, if they do."""
    if file.exists() and file.read_text(encoding="utf-8") == generated_types(parts, url):
        return []
    return [
        f"{file.name} differs from the migrated database: "
        "run `python tests/check_sql.py --write-types` and commit the file"
    ]


def _supabase(parts: Parts, *arguments: str, url: str) -> str:
    done = subprocess.run(
        [parts.supabase, *arguments, "--remote", url],
        env=parts.environment(),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"supabase {' '.join(arguments)} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def findings(parts: Parts, url: str) -> Iterator[str]:
    """Run every check, say how each went, and give what must be mended."""
    for name, found in (
        ("plpgsql_check", plpgsql_findings(url)),
        ("types", types_finding(parts, url)),
    ):
        print(f"{name}: {f'{len(found)} found' if found else 'nothing found'}")
        yield from found
    serious, informative = advisor_findings(parts, url)
    print(f"advisors: {len(serious)} at warn or above, {len(informative)} at info")
    for line in informative:
        print(f"  {line}")
    yield from serious


def main() -> int:
    """Check, or write the types, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check the SQL of the migrations.")
    parser.add_argument(
        "--write-types", action="store_true", help="write supabase/database.types.ts"
    )
    wanted = parser.parse_args()
    try:
        parts = find_parts()
        with postgres15(parts) as url:
            migrate(url)
            if wanted.write_types:
                TYPES.write_text(generated_types(parts, url), encoding="utf-8")
                return 0
            found = list(findings(parts, url))
    except PartMissingError as error:
        print(error, file=sys.stderr)
        return 1
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
