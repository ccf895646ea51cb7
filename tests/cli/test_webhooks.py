"""``videojobs webhooks``, as people type it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from videojobs import VideoJobManager
from videojobs.cli import app as cli
from videojobs.local import LocalStack


@pytest.fixture
def type_(database: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command on the emptied database; give its exit code and what it printed."""

    def run(*words: str) -> tuple[int, str]:
        code = cli.run(["webhooks", *words, "--database-url", database])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_webhook_from_its_birth_to_its_end(type_: Any, stack: LocalStack):
    """Added, shown without its secrets, tried out, refused by the address check, and removed."""
    code, said = type_("add", "https://localhost/secret-path", "-e", "job.failed", "--json")
    hook = json.loads(said)
    with VideoJobManager.from_url(stack.database_url) as manager:
        job = manager.create_job(user_id="00000000-0000-4000-8000-00000000000a")
        manager.fail_job(manager.start_processing(job.id), "it broke", retryable=False)
    tried = type_("test", hook["id"])
    sent = type_("send", "--once")
    log = type_("deliveries", hook["id"], "--state", "pending", "--json")
    table = type_("deliveries", hook["id"])
    listed = type_("list", "--json")
    gone = type_("remove", hook["id"])
    empty = type_("list")

    assert code == 0
    assert hook["secret"].startswith("whsec_")
    assert [tried[0], sent[0], log[0], table[0], listed[0], gone[0], empty[0]] == [0] * 7
    assert "2 messages went out" in sent[1]
    assert "job.failed" in log[1]
    assert "webhook.test" in log[1]
    assert "not public" in log[1]
    assert "https://localhost" in listed[1]
    assert "secret-path" not in listed[1] + log[1] + table[1] + sent[1]
    assert hook["secret"] not in listed[1] + log[1] + table[1] + sent[1]
    assert "No webhooks" in empty[1]


def test_an_address_can_be_read_from_standard_input(type_: Any, monkeypatch: pytest.MonkeyPatch):
    """So that no list of processes shows it."""
    monkeypatch.setattr("sys.stdin", io.StringIO("https://example.com/secret-path\n"))

    code, said = type_("add", "-")

    assert code == 0
    assert "https://example.com" in said
    assert "secret-path" not in said


def test_a_bad_address_is_refused_without_repeating_it(type_: Any):
    """Exit code 2, and nothing of what may be a password."""
    code, said = type_("add", "https://ada:hunter2@example.com/")

    assert code == 2
    assert "hunter2" not in said
