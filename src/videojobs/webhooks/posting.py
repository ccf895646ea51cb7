"""One POST, with all that could go wrong on the way bounded: time, size, redirects, addresses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from time import time
from urllib.parse import SplitResult, urlsplit

import h11

from videojobs.webhooks.addresses import AddressRefusedError, Resolve, public_addresses, resolve

_LARGEST_HEAD = 16_384
_READ = 4096
_GONE = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt."""

    is_delivered: bool
    status: int | None = None
    error: str | None = None
    is_gone: bool = False
    """It answered 410: it wants no more."""
    retry_after_seconds: float | None = None


class Poster:
    """Posts messages, each on a connection of its own.

    Args:
        seconds: How long an attempt may take, from the name's lookup to the answer's head.
        allow_loopback: For development: this machine may be told, and over http.
        resolve: How names are looked up.
        tls: Which certificates are trusted; the system's if not given.
    """

    def __init__(
        self,
        *,
        seconds: float = 15.0,
        allow_loopback: bool = False,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._seconds = seconds
        self._allow_loopback = allow_loopback
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """What came of it; never an exception, and never a word of the URL beyond its host."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(url, headers, body)
        except TimeoutError:
            return Outcome(False, error=f"no answer within {self._seconds:g} s")
        except AddressRefusedError as error:
            return Outcome(False, error=f"not sent: {error}")
        except ssl.SSLCertVerificationError as error:
            return Outcome(False, error=f"its certificate is not valid: {error.verify_message}")
        except (OSError, h11.ProtocolError, ValueError) as error:
            return Outcome(False, error=f"the connection failed: {type(error).__name__}")

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme not in {"https", "http"} or not host:
            raise AddressRefusedError("it is no https address")
        addresses = await public_addresses(
            host, port, resolve=self._resolve, allow_loopback=self._allow_loopback
        )
        if parts.scheme == "http" and not self._allow_loopback:
            raise AddressRefusedError("it is not https")
        if parts.scheme == "http" and not all(_is_loopback(each) for each in addresses):
            raise AddressRefusedError("http is for this machine alone")
        return await self._exchange(parts, host, port, addresses, _head(parts, headers, body), body)

    async def _exchange(
        self,
        parts: SplitResult,
        host: str,
        port: int,
        addresses: list[str],
        request: h11.Request,
        body: bytes,
    ) -> Outcome:
        reader, writer = await self._connect(parts.scheme, host, port, addresses)
        try:
            talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
            for event in (request, h11.Data(data=body), h11.EndOfMessage()):
                writer.write(talk.send(event) or b"")
            await writer.drain()
            return _outcome(await _answer(talk, reader))
        finally:
            # Nothing of the answer's body is read, and a peer that goes on talking is left.
            writer.transport.abort()

    async def _connect(
        self, scheme: str, host: str, port: int, addresses: list[str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        failure: OSError | None = None
        for address in addresses:
            try:
                # To the address that was checked; the name is for the certificate alone.
                return await asyncio.open_connection(
                    address,
                    port,
                    ssl=self._tls if scheme == "https" else None,
                    server_hostname=host if scheme == "https" else None,
                    limit=_LARGEST_HEAD,
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure or OSError("no address")


def _head(parts: SplitResult, headers: Mapping[str, str], body: bytes) -> h11.Request:
    # As it was written, without a port that the scheme implies.
    host = parts.netloc.rpartition("@")[2]
    own = {
        "Host": host.encode("idna").decode() if not host.isascii() else host,
        "User-Agent": f"videojobs/{version('videojobs')}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return h11.Request(method="POST", target=target, headers=[*{**own, **headers}.items()])


async def _answer(talk: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    while True:
        event = talk.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            talk.receive_data(await reader.read(_READ))
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("no answer came")


def _outcome(answer: h11.Response) -> Outcome:
    status = answer.status_code
    if 200 <= status < 300:
        return Outcome(True, status)
    told = f"it answered {status}"
    if 300 <= status < 400:
        told += "; redirects are not followed: give the address that it leads to"
    return Outcome(
        False, status, told, is_gone=status == _GONE, retry_after_seconds=_retry_after(answer)
    )


def _retry_after(answer: h11.Response) -> float | None:
    for name, value in answer.headers:
        if name == b"retry-after":
            text = value.decode("ascii", "replace").strip()
            if text.isdigit() and len(text) < 10:
                return float(text)
            with suppress(ValueError, TypeError, OverflowError):
                return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    return None


def _is_loopback(address: str) -> bool:
    from ipaddress import ip_address

    return ip_address(address.partition("%")[0]).is_loopback
