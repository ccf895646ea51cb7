"""Whoever asked for it is told when a job ends: signed, at least once, in order, and safely."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook as Verifier

from live.conftest import ADA, BOB
from videojobs import AsyncVideoJobManager, Settings, SupabaseValidationError, calls
from videojobs.local import LocalStack
from videojobs.webhook_sender import WebhookSender
from videojobs.webhooks import AddressRefusedError, Poster, public_addresses
from videojobs.webhooks.notifying import wording

Sql = psycopg.AsyncConnection[Any]


@dataclass
class Received:
    """One request, as it came."""

    head: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """A real server that answers what it is told to, and keeps what came."""

    url: str = ""
    port: int = 0
    answers: list[bytes] = field(default_factory=list[bytes])
    received: list[Received] = field(default_factory=list[Received])
    stalls: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.splitlines()
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        exact = dict(line.split(": ", 1) for line in lines[1:] if line)
        self.received.append(Received(lines[0], {k.lower(): v for k, v in exact.items()}, body))
        if self.stalls:
            await reader.read()
        writer.write(self.answers.pop(0) if self.answers else answer(200))
        await writer.drain()
        writer.close()


def answer(status: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = [f"HTTP/1.1 {status} X", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Listens on this machine."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    receiver.url = f"http://127.0.0.1:{receiver.port}/hooks?key=s3cret-in-the-path"
    async with server:
        yield receiver


@pytest.fixture
async def manager(database: str, stack: LocalStack) -> AsyncIterator[AsyncVideoJobManager]:
    """A service's manager whose webhooks may lead to this machine."""
    settings = Settings(jwt_secret=stack.jwt_secret, webhooks_to_loopback=True)
    async with AsyncVideoJobManager.from_url(database, settings=settings) as manager:
        yield manager


async def ended_job(manager: AsyncVideoJobManager, how: str = "completed", **fields: Any) -> UUID:
    """A job that has just ended in that way."""
    job = await manager.create_job(user_id=fields.pop("user_id", ADA), **fields)
    if how == "cancelled":
        await manager.cancel_job(job.id)
        return job.id
    lease = await manager.start_processing(job.id)
    if how == "failed":
        await manager.fail_job(lease, "it broke", retryable=False)
    else:
        await manager.complete_job(lease, ["a.mp4"], 3.5)
    return job.id


@pytest.fixture
def hurry(sql: Sql) -> Callable[[], Awaitable[Any]]:
    """What waits for another try, or for a lost sender, is due now."""
    return lambda: sql.execute(
        "update videojobs.webhook_deliveries set next_try_at = clock_timestamp() where state = 'pending'"
    )


async def test_each_end_of_a_job_is_told_signed(manager: AsyncVideoJobManager, receiver: Receiver):
    """The library of Standard Webhooks verifies each message; it says what happened to which job."""
    hook = await manager.add_webhook(receiver.url)
    jobs = [await ended_job(manager, how) for how in ("completed", "failed", "cancelled")]

    sent = await WebhookSender(manager).send_due()

    assert sent == 3
    told = {
        r.json["data"]["job_id"]: Verifier(hook.secret or "").verify(r.body, r.headers)
        for r in receiver.received
    }
    assert [told[str(job)]["type"] for job in jobs] == [
        "job.completed",
        "job.failed",
        "job.cancelled",
    ]
    first = told[str(jobs[0])]["data"]
    assert (first["status"], first["output_files"][0]["path"]) == ("completed", "a.mp4")
    assert "source_url" not in first
    assert "settings" not in first
    assert receiver.received[0].head == "POST /hooks?key=s3cret-in-the-path HTTP/1.1"
    assert receiver.received[0].headers["host"] == f"127.0.0.1:{receiver.port}"
    log = await manager.list_webhook_deliveries(hook.id)
    assert [(d.state, d.last_status, d.attempts) for d in log] == [("delivered", 200, 1)] * 3


async def test_only_what_was_asked_for_is_told(manager: AsyncVideoJobManager, receiver: Receiver):
    """By event, tenant and pipeline; attempts that are followed by another are no end."""
    await manager.add_webhook(
        receiver.url, events=["job.failed"], tenant_id=ADA, pipeline="renditions"
    )
    await ended_job(manager, "failed")
    await ended_job(manager, "failed", user_id=BOB, pipeline="renditions")
    await ended_job(manager, "completed", pipeline="renditions")
    tried = await manager.create_job(user_id=ADA, pipeline="renditions")
    await manager.fail_job(await manager.start_processing(tried.id), "once more")
    wanted = await ended_job(manager, "failed", pipeline="renditions")

    await WebhookSender(manager).send_due()

    assert [r.json["data"]["job_id"] for r in receiver.received] == [str(wanted)]


async def test_a_transaction_that_is_rolled_back_tells_nothing(
    manager: AsyncVideoJobManager, receiver: Receiver, database: str
):
    """The message is part of the transaction that ends the job."""
    await manager.add_webhook(receiver.url)
    job = await manager.create_job(user_id=ADA)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute("select public.cancel_video_job(%s)", [job.id])
        await connection.rollback()

    assert await WebhookSender(manager).send_due() == 0


async def test_a_failure_is_tried_again_later_and_later(
    manager: AsyncVideoJobManager, receiver: Receiver, hurry: Any, sql: Sql
):
    """Pauses grow four-fold, less up to a half by chance; the same id is sent each time."""
    hook = await manager.add_webhook(receiver.url)
    await ended_job(manager)
    receiver.answers = [answer(500), answer(503, "Retry-After: 1000"), answer(404), answer(204)]
    pauses: list[float] = []
    for _ in range(3):
        await WebhookSender(manager).send_due()
        (row,) = await (
            await sql.execute(
                "select extract(epoch from next_try_at - clock_timestamp())::float as pause "
                "from videojobs.webhook_deliveries"
            )
        ).fetchall()
        pauses.append(row["pause"])
        assert await WebhookSender(manager).send_due() == 0
        await hurry()
    await WebhookSender(manager).send_due()

    assert 2 < pauses[0] <= 5
    assert 990 < pauses[1] <= 1000
    assert 39 < pauses[2] <= 80
    assert len({r.headers["webhook-id"] for r in receiver.received}) == 1
    (delivery,) = await manager.list_webhook_deliveries(hook.id)
    assert (delivery.state, delivery.attempts, delivery.last_error) == ("delivered", 4, None)


async def test_after_ten_attempts_a_message_is_dead_and_can_be_sent_again(
    manager: AsyncVideoJobManager, receiver: Receiver, hurry: Any
):
    """It is in the log with its last error; sent once more, it begins anew."""
    hook = await manager.add_webhook(receiver.url)
    await ended_job(manager)
    receiver.answers = [answer(500)] * 10
    for _ in range(12):
        await WebhookSender(manager).send_due()
        await hurry()

    (dead,) = await manager.list_webhook_deliveries(state="dead")
    (seen,) = await manager.list_webhooks()
    await manager.resend_webhook(dead.id)
    await WebhookSender(manager).send_due()

    assert (dead.attempts, dead.last_status, dead.last_error) == (10, 500, "it answered 500")
    assert (seen.pending, seen.dead) == (0, 1)
    assert len(receiver.received) == 11
    (delivered,) = await manager.list_webhook_deliveries(hook.id)
    assert delivered.state == "delivered"


async def test_messages_about_one_job_come_in_their_order(
    manager: AsyncVideoJobManager, receiver: Receiver, hurry: Any
):
    """While the first cannot be delivered, the second waits; another job's does not."""
    await manager.add_webhook(receiver.url)
    job = await ended_job(manager, "failed")
    receiver.answers = [answer(500)]
    await WebhookSender(manager).send_due()
    await manager.retry_job(job)
    await manager.cancel_job(job)
    other = await ended_job(manager)
    await WebhookSender(manager).send_due()
    await hurry()
    await WebhookSender(manager).send_due()

    told = [(r.json["data"]["job_id"], r.json["type"]) for r in receiver.received]
    assert told == [
        (str(job), "job.failed"),
        (str(other), "job.completed"),
        (str(job), "job.failed"),
        (str(job), "job.cancelled"),
    ]


async def test_a_sender_that_dies_after_sending_sends_again(
    manager: AsyncVideoJobManager,
    receiver: Receiver,
    hurry: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    """Between the send and the log lies no safety: it comes twice, with the same id, and is settled once."""
    hook = await manager.add_webhook(receiver.url)
    await ended_job(manager)
    dying = WebhookSender(manager)
    perform = manager.perform
    reached = asyncio.Event()

    async def never_settles(call: Any, *rest: Any) -> Any:
        if call.function == "settle_video_job_webhook":
            reached.set()
            await asyncio.Event().wait()
        return await perform(call, *rest)

    monkeypatch.setattr(manager, "perform", never_settles)
    running = asyncio.create_task(dying.run())
    async with asyncio.timeout(5):
        await reached.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    monkeypatch.undo()
    assert await WebhookSender(manager).send_due() == 0  # it is leased for a minute
    await hurry()
    await WebhookSender(manager).send_due()

    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    (delivery,) = await manager.list_webhook_deliveries(hook.id)
    assert (delivery.state, delivery.attempts) == ("delivered", 2)


async def test_whoever_is_too_slow_to_settle_changes_nothing(
    manager: AsyncVideoJobManager, receiver: Receiver, hurry: Any
):
    """The claim fences: an old sender's word about a message that somebody else has is not heard."""
    await manager.add_webhook(receiver.url)
    await ended_job(manager)
    claim = calls.claim_deliveries(1, per_endpoint=1, busy=[], lease_seconds=60)
    (old,) = await manager.perform(claim)
    await hurry()
    (new,) = await manager.perform(claim)

    late = await manager.perform(calls.settle_delivery(old, is_delivered=False, error="late"))
    good = await manager.perform(calls.settle_delivery(new, is_delivered=True, status=200))

    assert (late, good) == ("lost", "delivered")


async def test_a_running_sender_is_woken_by_the_database(
    manager: AsyncVideoJobManager, receiver: Receiver
):
    """A message goes out at once, and not with the next look."""
    await manager.add_webhook(receiver.url)
    sender = asyncio.create_task(WebhookSender(manager).run())
    try:
        await asyncio.sleep(0.7)  # it has looked, and waits for seconds
        await ended_job(manager)
        async with asyncio.timeout(0.4):
            while not receiver.received:  # noqa: ASYNC110 # only the server knows
                await asyncio.sleep(0.01)
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


async def test_a_slow_endpoint_does_not_hold_up_another(
    manager: AsyncVideoJobManager, receiver: Receiver
):
    """Of each endpoint only four messages are under way at once."""
    stalling = Receiver(stalls=True)
    server = await asyncio.start_server(stalling.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await manager.add_webhook(f"http://127.0.0.1:{port}/")
    await manager.add_webhook(receiver.url)
    for _ in range(8):
        await ended_job(manager)

    sender = asyncio.create_task(WebhookSender(manager, at_once=6).run())
    try:
        async with asyncio.timeout(5):
            while len(receiver.received) < 8:  # noqa: ASYNC110 # only the server knows
                await asyncio.sleep(0.02)
        assert len(stalling.received) == 4
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        server.close()


async def test_gone_is_taken_at_its_word(manager: AsyncVideoJobManager, receiver: Receiver):
    """After 410 the endpoint is told nothing more."""
    await manager.add_webhook(receiver.url)
    await ended_job(manager)
    receiver.answers = [answer(410)]
    await WebhookSender(manager).send_due()
    await ended_job(manager)
    await WebhookSender(manager).send_due()

    (hook,) = await manager.list_webhooks()
    assert (hook.is_enabled, len(receiver.received)) == (False, 1)


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        (
            answer(302, "Location: http://169.254.169.254/latest/meta-data/"),
            "it answered 302; redirects are not followed: give the address that it leads to",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "the connection failed: RemoteProtocolError"),
        (b"what?\r\n\r\n", "the connection failed: RemoteProtocolError"),
        (b"", "the connection failed: RemoteProtocolError"),
    ],
)
async def test_bad_answers_are_failures(receiver: Receiver, answered: bytes, error: str):
    """A redirect is not followed, and an endless or broken answer is not read on."""
    receiver.answers = [answered]

    outcome = await Poster(allow_loopback=True).post(receiver.url, {}, b"{}")

    assert (outcome.is_delivered, outcome.error) == (False, error)
    assert len(receiver.received) == 1


async def test_time_is_limited_as_a_whole(receiver: Receiver):
    """An endpoint that takes the message and says nothing ends the attempt."""
    receiver.stalls = True

    outcome = await Poster(allow_loopback=True, seconds=0.2).post(receiver.url, {}, b"{}")

    assert outcome.error == "no answer within 0.2 s"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "0.0.0.0",
        "0",
        "localhost",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "198.18.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:a00:1",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",
        "2001:0:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%1",
        "ff02::1",
        "fec0::1",
    ],
)
async def test_no_private_address_is_reached_in_any_spelling(host: str):
    """Loopback, private, link-local, metadata, multicast, reserved, and IPv4 within IPv6."""
    with pytest.raises(AddressRefusedError):
        await public_addresses(host, 443)


async def test_public_addresses_are_reached():
    """What is not refused is left as it is."""
    assert await public_addresses("93.184.215.14", 443) == ["93.184.215.14"]
    assert await public_addresses("2606:4700::1111", 443) == ["2606:4700::1111"]


async def test_a_name_with_a_public_and_a_private_address_is_refused():
    """Which one would be taken is chance."""

    async def both(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "10.0.0.1"]

    outcome = await Poster(resolve=both).post("https://rebinding.example/", {}, b"{}")

    assert outcome.error is not None
    assert outcome.error.startswith("not sent: it leads to an address that is not public")


async def test_a_name_is_looked_up_once_and_its_certificate_is_checked(tmp_path: Path):
    """The connection goes to the address that was checked; SNI, Host and certificate are the name's."""
    looked_up: list[str] = []
    names: list[str | None] = []

    async def rebinding(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["10.0.0.1"]

    server_tls, client_tls = certificates(tmp_path, "hooks.example")
    server_tls.sni_callback = lambda socket, name, context: names.append(name)
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=server_tls)
    port = server.sockets[0].getsockname()[1]
    poster = Poster(resolve=rebinding, tls=client_tls, allow_loopback=True)
    async with server:
        good = await poster.post(f"https://hooks.example:{port}/a", {}, b"{}")
        looked_up.clear()
        other = await poster.post(f"https://other.example:{port}/a", {}, b"{}")

    assert (good.is_delivered, good.error) == (True, None)
    assert receiver.received[0].headers["host"] == f"hooks.example:{port}"
    assert names[0] == "hooks.example"
    assert looked_up == ["other.example"]
    assert other.error is not None
    assert other.error.startswith("its certificate is not valid")


def certificates(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of that name, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


async def test_without_the_setting_this_machine_is_told_nothing(
    manager: AsyncVideoJobManager, receiver: Receiver
):
    """An endpoint that was added in development stays silent in production."""
    await manager.add_webhook(receiver.url)
    await ended_job(manager)
    await WebhookSender(manager, poster=Poster()).send_due()

    (delivery,) = await manager.list_webhook_deliveries()
    assert receiver.received == []
    assert delivery.last_error is not None
    assert delivery.last_error.startswith("not sent: it leads to an address that is not public")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://user:hunter2@example.com/",
        "https:///path",
        "https://exa mple.com/",
        "https://[::1/",
        "https://example.com/caf\u00e9",
        "https://example.com:99999/",
        "ftp://hunter2@example.com/",
        "json://hunter2@169.254.169.254/",
        "nonsense hunter2",
        "hunter2",
        "",
    ],
)
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_addresses_that_cannot_be_told_are_refused(manager: AsyncVideoJobManager, url: str):
    """With an error that repeats nothing of what may be a password."""
    with pytest.raises(SupabaseValidationError) as refused:
        await manager.add_webhook(url)

    assert "hunter2" not in str(refused.value)
    assert await manager.list_webhooks() == []


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "a" * 50])
async def test_a_weak_secret_is_refused(manager: AsyncVideoJobManager, secret: str):
    """24 to 64 bytes in base64, after whsec_."""
    with pytest.raises(SupabaseValidationError) as refused:
        await manager.add_webhook("https://example.com/", secret=secret)

    assert len(secret) < 7 or secret not in str(refused.value)


async def test_secrets_are_seen_once(
    manager: AsyncVideoJobManager, receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    """Neither the secret nor what follows the host is in any list, repr or line of the log."""
    caplog.set_level(logging.DEBUG)
    hook = await manager.add_webhook(receiver.url)
    await ended_job(manager)
    claim = calls.claim_deliveries(1, per_endpoint=1, busy=[], lease_seconds=0.001)
    claimed = await manager.perform(claim)
    receiver.answers = [answer(500)]
    sender = WebhookSender(manager)
    while not await sender.send_due():  # noqa: ASYNC110 # until the first lease has ended
        await asyncio.sleep(0.01)

    shown = [
        repr(hook),
        repr(claimed),
        str(claimed[0]),
        repr(await manager.list_webhooks()),
        repr(await manager.list_webhook_deliveries()),
        caplog.text,
    ]
    secret = (hook.secret or "").removeprefix("whsec_")
    assert hook.address == f"http://127.0.0.1:{receiver.port}"
    assert len(secret) == 44
    assert not any("s3cret" in text or secret in text for text in shown)
    assert hook.address in caplog.text


class MailServer:
    """As much of SMTP as it takes to be sent a mail."""

    def __init__(self) -> None:
        self.mails: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            match line[:4].upper():
                case "DATA":
                    writer.write(b"354 go on\r\n")
                    self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                    writer.write(b"250 taken\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                case _:
                    writer.write(b"250 well\r\n")
        writer.close()


# Apprise imports a module that Python 3.13 has no more; it brings its own there.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_people_are_told_through_apprise(
    manager: AsyncVideoJobManager, caplog: pytest.LogCaptureFixture
):
    """A short mail comes to a real mail server; of its address only the kind is shown."""
    caplog.set_level(logging.DEBUG)
    mail = MailServer()
    server = await asyncio.start_server(mail.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"mailto://127.0.0.1:{port}?from=hunter2@example.com&to=ada@example.com&mode=insecure"
    async with server:
        hook = await manager.add_webhook(url, events=["job.completed"])
        await ended_job(manager, resource_name="Nosferatu")
        await ended_job(manager, "failed")
        await WebhookSender(manager).send_due()

    (delivery,) = await manager.list_webhook_deliveries()
    assert (delivery.state, delivery.last_error) == ("delivered", None)
    assert len(mail.mails) == 1
    assert "Subject: Video job completed: Nosferatu" in mail.mails[0]
    assert (hook.secret, hook.address) == (None, "mailto://")
    assert "hunter2" not in caplog.text


def test_a_failure_says_why_to_people():
    """The error's code and message are in the text."""
    data = {"job_id": "1", "error_code": "corrupt_source", "error_message": "it breaks off"}

    title, text = wording("job.failed", {"data": data})

    assert title == "Video job failed: 1"
    assert text.endswith("corrupt_source: it breaks off")


async def test_removing_forgets_the_log(manager: AsyncVideoJobManager, receiver: Receiver):
    """Nothing is sent any more, and nothing of it is left."""
    hook = await manager.add_webhook(receiver.url)
    await ended_job(manager)

    assert await manager.remove_webhook(hook.id)
    assert not await manager.remove_webhook(hook.id)
    assert await WebhookSender(manager).send_due() == 0
    assert await manager.list_webhook_deliveries() == []
    with pytest.raises(SupabaseValidationError, match="there is no webhook_id"):
        await manager.test_webhook(hook.id)


async def test_upkeep_forgets_old_messages(
    manager: AsyncVideoJobManager, receiver: Receiver, sql: Sql
):
    """After a month; and a message whose sender died with the last attempt is dead."""
    await manager.add_webhook(receiver.url)
    for _ in range(2):
        await ended_job(manager)
    await sql.execute(
        "update videojobs.webhook_deliveries set created_at = now() - interval '31 days' "
        "where seq = (select min(seq) from videojobs.webhook_deliveries)"
    )
    await sql.execute("update videojobs.webhook_deliveries set attempts = 10")

    await manager.maintain()

    (left,) = await manager.list_webhook_deliveries()
    assert left.state == "dead"
    assert left.last_error == "the sender ended before it could tell what came of it"
