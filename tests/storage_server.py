"""A stand-in for Supabase Storage, which cannot run without Docker: the documented HTTP, on files.

It speaks what the client uses, as https://supabase.com/docs/guides/storage and the routes of
supabase/storage tell: buckets, whole uploads, resumable uploads (TUS 1.0.0), downloads with Range
and ETag, information, signed addresses, lists and removal; errors as HTTP 400 with the real status
in the body, as the server does for a missing object. And it does what networks do, when told to.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import shutil
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 6 * 1024 * 1024
_PIECE = 64 * 1024


@dataclass(frozen=True)
class Fault:
    """Something that happens to the next request of a method on a path that begins so."""

    method: str
    path: str
    kind: str
    """``cut`` after *at* bytes of a body, ``lose`` the answer, ``hang``, or ``status`` *at*."""
    at: int = 0


@dataclass
class Stored:
    """An object with what it was stored with."""

    path: Path
    headers: dict[str, str]
    etag: str = field(default_factory=lambda: f'"{secrets.token_hex(8)}"')


@dataclass
class Resumable:
    """An upload on its way."""

    name: str
    length: int
    part: Path
    headers: dict[str, str]
    is_done: bool = False


class StorageServer:
    """Runs until the block ends; its objects are files in *folder*."""

    def __init__(self, folder: Path, *, buckets: tuple[str, ...] = ("videos",)) -> None:
        self.folder = folder
        self.buckets = buckets
        self.key = f"sb_secret_{secrets.token_hex(12)}"
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Resumable] = {}
        self.faults: deque[Fault] = deque()
        self.size_limit = 10**12
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.order: list[str] = []
        """The objects in the order in which they became visible."""
        self.received = 0
        """Bytes of bodies."""
        self.lock = threading.RLock()
        self.released = threading.Event()
        """Ends what hangs."""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, bucket: str, path: str, source: Path | bytes, **headers: str) -> None:
        """Store an object, as if somebody else had."""
        target = self.folder / secrets.token_hex(8)
        if isinstance(source, bytes):
            target.write_bytes(source)
        else:
            shutil.copyfile(source, target)
        self.show(f"{bucket}/{path}", target, headers)

    def show(self, name: str, file: Path, headers: dict[str, str]) -> None:
        """The object is visible."""
        with self.lock:
            self.objects[name] = Stored(file, headers)
            self.order.append(name)

    def content(self, name: str) -> bytes:
        """An object's bytes; *name* begins with the bucket."""
        return self.objects[name].path.read_bytes()

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The first fault that waits for such a request; it happens once."""
        with self.lock:
            for fault in self.faults:
                if fault.method == method and path.startswith(fault.path):
                    self.faults.remove(fault)
                    return fault
        return None


class _CutError(Exception):
    """The connection breaks."""


class _RefusedError(Exception):
    """A status and a message, and the HTTP status where that differs."""


class _Handler(BaseHTTPRequestHandler):
    store: StorageServer
    protocol_version = "HTTP/1.1"
    _fault: Fault | None = None

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def _serve(self) -> None:
        split = urlsplit(self.path)
        self.route = split.path.removeprefix("/storage/v1/")
        self.query = parse_qs(split.query)
        self.unread = int(self.headers.get("Content-Length", 0))
        store = self.store
        with store.lock:
            store.requests.append((self.command, self.path))
            store.headers.append(dict(self.headers))
        self._fault = fault = store.fault_for(self.command, self.route)
        try:
            if fault is not None and fault.kind == "status":
                raise _RefusedError(fault.at, "told to fail")
            if fault is not None and fault.kind == "hang":
                store.released.wait(60)
                raise _CutError
            self._dispatch()
        except _RefusedError as refusal:
            self._drop_body()
            self._error(*refusal.args)
        except _CutError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PATCH = do_HEAD = do_DELETE = _serve  # noqa: N815

    def _dispatch(self) -> None:
        is_open = self.command == "GET" and self.route.startswith("object/sign/")
        if not is_open and self.headers.get("Authorization") != f"Bearer {self.store.key}":
            raise _RefusedError(403, "Invalid Compact JWS", 400)
        parts = [unquote(part) for part in self.route.split("/")]
        match self.command, parts:
            case "GET", ["bucket", bucket]:
                self._bucket(bucket)
            case "GET", ["object", "authenticated", bucket, *path]:
                self._send_object(f"{bucket}/{'/'.join(path)}")
            case "GET", ["object", "info", bucket, *path]:
                self._info(f"{bucket}/{'/'.join(path)}")
            case "POST", ["object", "sign", bucket, *path]:
                self._sign(f"{bucket}/{'/'.join(path)}")
            case "GET", ["object", "sign", bucket, *path]:
                self._send_signed(f"{bucket}/{'/'.join(path)}")
            case "POST", ["object", "list", bucket]:
                self._list(bucket)
            case "DELETE", ["object", bucket]:
                self._delete(bucket)
            case "POST", ["upload", "resumable"]:
                self._create()
            case "HEAD" | "PATCH", ["upload", "resumable", upload]:
                self._resume(upload)
            case "POST", ["object", bucket, *path]:
                self._upload(bucket, "/".join(path))
            case _:
                raise _RefusedError(404, "Route not found")

    # Objects

    def _bucket(self, name: str) -> None:
        if name not in self.store.buckets:
            raise _RefusedError(404, "Bucket not found", 400)
        self._json({"id": name, "name": name})

    def _upload(self, bucket: str, path: str) -> None:
        part = self.store.folder / secrets.token_hex(8)
        if bucket not in self.store.buckets:
            raise _RefusedError(404, "Bucket not found", 400)
        if self.unread > self.store.size_limit:
            raise _RefusedError(413, "The object exceeded the maximum allowed size", 400)
        if f"{bucket}/{path}" in self.store.objects and self.headers["x-upsert"] != "true":
            raise _RefusedError(409, "The resource already exists", 400)
        with part.open("wb") as file:
            self._read_into(file)
        self.store.show(f"{bucket}/{path}", part, dict(self.headers))
        self._json({"Key": f"{bucket}/{path}", "Id": secrets.token_hex(4)})

    def _send_object(self, name: str) -> None:
        stored = self.store.objects.get(name)
        if stored is None:
            raise _RefusedError(404, "Object not found", 400)
        size = stored.path.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))
        start = int(found[1])
        if start and start >= size:
            raise _RefusedError(416, "The requested range is not satisfiable")
        headers = {"ETag": stored.etag, "Content-Length": str(size - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._head(206 if start else 200, headers)
        self._write_from(stored.path, start)

    def _info(self, name: str) -> None:
        stored = self.store.objects.get(name)
        if stored is None:
            raise _RefusedError(404, "Object not found", 400)
        self._json({"name": name, "size": stored.path.stat().st_size, "etag": stored.etag})

    def _sign(self, name: str) -> None:
        seconds = self._body()["expiresIn"]
        if name not in self.store.objects:
            raise _RefusedError(404, "Object not found", 400)
        until = str(int(time.time()) + seconds)
        token = f"{until}.{self._signature(name, until)}"
        self._json({"signedURL": f"/object/sign/{name}?token={token}"})

    def _send_signed(self, name: str) -> None:
        until, _, signature = self.query.get("token", [""])[0].partition(".")
        if signature != self._signature(name, until) or int(until) < time.time():
            raise _RefusedError(400, "InvalidJWT")
        self._send_object(name)

    def _signature(self, name: str, until: str) -> str:
        return hashlib.sha256(f"{self.store.key}{name}{until}".encode()).hexdigest()

    def _list(self, bucket: str) -> None:
        wish = self._body()
        folder = f"{bucket}/{wish['prefix']}/"
        below = [
            name.removeprefix(folder) for name in self.store.objects if name.startswith(folder)
        ]
        entries = {
            name.partition("/")[0]: None if "/" in name else secrets.token_hex(4) for name in below
        }
        page = sorted(entries)[wish["offset"] : wish["offset"] + min(wish["limit"], 1000)]
        self._json([{"name": name, "id": entries[name]} for name in page])

    def _delete(self, bucket: str) -> None:
        gone = [f"{bucket}/{path}" for path in self._body()["prefixes"]]
        with self.store.lock:
            self._json([{"name": name} for name in gone if self.store.objects.pop(name, None)])

    # Resumable uploads

    def _create(self) -> None:
        pairs = (pair.split(" ") for pair in self.headers["Upload-Metadata"].split(","))
        told = {name: base64.b64decode(value).decode() for name, value in pairs}
        length = int(self.headers["Upload-Length"])
        if told["bucketName"] not in self.store.buckets:
            raise _RefusedError(404, "Bucket not found")
        if length > self.store.size_limit:
            raise _RefusedError(413, "Maximum size exceeded")
        upload = base64.urlsafe_b64encode(secrets.token_bytes(9)).decode()
        part = self.store.folder / f"{upload}.part"
        part.touch()
        headers = {"Content-Type": told["contentType"], "Cache-Control": told["cacheControl"]}
        name = f"{told['bucketName']}/{told['objectName']}"
        self.store.uploads[upload] = Resumable(name, length, part, headers)
        # Behind a proxy the server does not know its own name.
        location = f"http://storage.internal:5000/upload/resumable/{upload}"
        self._answer(201, {"Location": location, "Tus-Resumable": "1.0.0"})

    def _resume(self, upload: str) -> None:
        going = self.store.uploads.get(upload)
        if going is None or going.is_done:
            raise _RefusedError(410, "The file for this url no longer exists")
        at = going.part.stat().st_size
        if self.command == "PATCH":
            at = self._continue(going, at)
        self._answer(
            200 if self.command == "HEAD" else 204,
            {"Upload-Offset": str(at), "Tus-Resumable": "1.0.0"},
        )

    def _continue(self, going: Resumable, at: int) -> int:
        if int(self.headers["Upload-Offset"]) != at:
            raise _RefusedError(409, "Upload-Offset conflict")
        if self.headers["x-upsert"] != "true" and going.name in self.store.objects:
            raise _RefusedError(409, "The resource already exists")
        if self.unread != min(CHUNK, going.length - at):
            raise _RefusedError(400, "every chunk but the last must have 6 MiB")
        with going.part.open("ab") as file:
            self._read_into(file)
        at = going.part.stat().st_size
        if at == going.length:
            going.is_done = True
            self.store.show(going.name, going.part, going.headers)
        return at

    # Bytes

    def _read_into(self, file: Any) -> None:
        fault = self._fault
        taken = 0
        while self.unread:
            want = min(_PIECE, self.unread)
            if fault is not None and fault.kind == "cut":
                want = min(want, fault.at - taken)
                if want <= 0:
                    raise _CutError
            piece = self.rfile.read(want)
            if not piece:
                raise _CutError
            file.write(piece)
            file.flush()
            taken += len(piece)
            self.unread -= len(piece)
            self.store.received += len(piece)

    def _write_from(self, path: Path, start: int) -> None:
        fault, sent = self._fault, 0
        with path.open("rb") as file:
            file.seek(start)
            while piece := file.read(_PIECE):
                if fault is not None and fault.kind == "cut" and sent + len(piece) > fault.at:
                    self.wfile.write(piece[: fault.at - sent])
                    raise _CutError
                if fault is not None and fault.kind == "stall" and sent >= fault.at:
                    self.store.released.wait(60)
                self.wfile.write(piece)
                sent += len(piece)

    def _drop_body(self) -> None:
        while self.unread and (piece := self.rfile.read(min(_PIECE, self.unread))):
            self.unread -= len(piece)

    def _body(self) -> Any:
        body = json.loads(self.rfile.read(self.unread))
        self.unread = 0
        return body

    def _json(self, value: object) -> None:
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _error(self, code: int, message: str, status: int | None = None) -> None:
        body = json.dumps({"statusCode": str(code), "error": message, "message": message}).encode()
        self._answer(status or code, {"Content-Type": "application/json"}, body)

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        if self._fault is not None and self._fault.kind == "lose":
            raise _CutError
        self._head(
            status, headers if status == 204 else {**headers, "Content-Length": str(len(body))}
        )
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
