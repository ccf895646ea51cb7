"""A stand-in for Supabase Realtime, which cannot run without Docker, on a real database.

Its table, its policies and its ``send`` are as Supabase defines them
(https://github.com/supabase/realtime, priv/repo/migrations); who may join a private channel is asked
of the policies, as Realtime does; and it speaks the documented protocol.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import jwt
import psycopg
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

SCHEMA = """
create schema realtime;
grant usage on schema realtime to authenticated, service_role;
create table realtime.messages (
  topic text not null, extension text not null, payload jsonb, event text, private boolean default false,
  updated_at timestamp not null default now(), inserted_at timestamp not null default now(),
  id uuid not null default gen_random_uuid(),
  primary key (id, inserted_at)
) partition by range (inserted_at);
create table realtime.messages_now partition of realtime.messages for values from (minvalue) to (maxvalue);
alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to authenticated, service_role;
create function realtime.topic() returns text language sql stable
as $$ select nullif(current_setting('realtime.topic', true), '')::text $$;
create function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void language plpgsql
as $$
begin
  begin
    execute format('set local realtime.topic to %L', topic);
    insert into realtime.messages (payload, event, topic, private, extension)
    values (payload, event, topic, private, 'broadcast');
  exception
    when others then
      raise warning 'ErrorSendingBroadcastMessage: %', sqlerrm;
  end;
end
$$;
"""
# Realtime reads the table's changes from the log; here a trigger tells them.
_TELLING = """
create function realtime.tell() returns trigger language plpgsql
as $$
begin
  perform pg_notify('realtime', jsonb_build_object('topic', new.topic, 'event', new.event, 'payload', new.payload)::text)
  where new.private;
  return null;
end
$$;
create trigger messages_tell after insert on realtime.messages for each row execute function realtime.tell();
"""
_AWAY = "select videojobs.disable_realtime(); drop schema realtime cascade"


class RealtimeServer:
    """One project's Realtime: tells who asked with which headers, and can lose all connections."""

    def __init__(self, database_url: str, jwt_secret: str) -> None:
        self._database_url = database_url
        self._jwt_secret = jwt_secret
        self._joined: dict[ServerConnection, dict[str, str]] = {}
        self._server = serve(self._talk, "127.0.0.1", 0, process_request=self._admit)
        self._ended = threading.Event()
        self._passing_on = threading.Thread(target=self._pass_on, daemon=True)
        self._port = self._server.socket.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self._port}/realtime/v1"
        self.paths: list[str] = []
        self.refused: list[str] = []
        self.is_mute = False

    def run(self) -> None:
        """Answer until `stop`."""
        self._passing_on.start()
        self._server.serve_forever()

    def stop(self) -> None:
        """Answer no more."""
        self._ended.set()
        self._server.shutdown()
        self.lose_all()
        self._passing_on.join(10)

    def lose_all(self) -> None:
        """All connections end, as when Realtime is deployed anew."""
        for connection in list(self._joined):
            connection.close(1012)

    @property
    def topics(self) -> list[str]:
        """What is joined now."""
        return sorted(topic for topics in list(self._joined.values()) for topic in topics)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        if urlsplit(request.path).path != "/realtime/v1/websocket":
            return connection.respond(404, "not found\n")
        if self._claims(request.headers.get("x-api-key", "")) is None:
            return connection.respond(403, "forbidden\n")
        return None

    def _talk(self, connection: ServerConnection) -> None:
        self._joined[connection] = {}
        try:
            for text in connection:
                if not self.is_mute:
                    self._answer(connection, json.loads(text))
        except ConnectionClosed:
            return
        finally:
            del self._joined[connection]

    def _answer(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        topic, ref = message["topic"], message["ref"]
        if message["event"] == "heartbeat":
            assert topic == "phoenix"
            _send(connection, topic, "phx_reply", {"status": "ok", "response": {}}, ref)
            return
        assert message["event"] == "phx_join" and topic.startswith("realtime:")
        assert message["payload"]["config"]["private"] is True
        claims = self._claims(message["payload"]["access_token"])
        name = topic.removeprefix("realtime:")
        if claims is not None and self._may_read(name, claims):
            self._joined[connection][name] = topic
            _send(connection, topic, "phx_reply", {"status": "ok", "response": {}}, ref)
        else:
            self.refused.append(name)
            reason = (
                f"Unauthorized: You do not have permissions to read from this Channel topic: {name}"
            )
            answer = {"status": "error", "response": {"reason": reason}}
            _send(connection, topic, "phx_reply", answer, ref)

    def _claims(self, token: str) -> dict[str, Any] | None:
        try:
            return jwt.decode(
                token, self._jwt_secret, algorithms=["HS256"], options={"verify_aud": False}
            )
        except jwt.InvalidTokenError:
            return None

    def _may_read(self, topic: str, claims: dict[str, Any]) -> bool:
        """Whether the policies let these claims read a message of the topic."""
        with psycopg.connect(self._database_url) as sql, sql.transaction(force_rollback=True):
            sql.execute("alter table realtime.messages disable trigger messages_tell")
            sql.execute(
                "insert into realtime.messages (topic, extension, private) values (%s, 'broadcast', true)",
                [topic],
            )
            sql.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
            sql.execute("select set_config('realtime.topic', %s, true)", [topic])
            sql.execute("select set_config('role', %s, true)", [claims["role"]])
            try:
                found = sql.execute("select from realtime.messages where topic = %s", [topic])
            except psycopg.errors.InsufficientPrivilege:
                return False
            return bool(found.fetchall())

    def _pass_on(self) -> None:
        with psycopg.connect(self._database_url, autocommit=True) as sql:
            sql.execute("listen realtime")
            while not self._ended.is_set():
                for notice in sql.notifies(timeout=0.2):
                    self._tell(json.loads(notice.payload))

    def _tell(self, row: dict[str, Any]) -> None:
        payload = {"event": row["event"], "payload": row["payload"], "type": "broadcast"}
        for connection, topics in list(self._joined.items()):
            if row["topic"] in topics and not self.is_mute:
                try:
                    _send(connection, topics[row["topic"]], "broadcast", payload, None)
                except ConnectionClosed:
                    continue


def _send(
    connection: ServerConnection, topic: str, event: str, payload: dict[str, Any], ref: str | None
) -> None:
    message = {"topic": topic, "event": event, "payload": payload, "ref": ref}
    connection.send(json.dumps(message))


@contextmanager
def realtime(database_url: str, jwt_secret: str) -> Iterator[RealtimeServer]:
    """The database has Realtime while the context lasts."""
    with psycopg.connect(database_url, autocommit=True) as sql:
        sql.execute(SCHEMA)
        try:
            sql.execute(_TELLING)
            sql.execute("select videojobs.enable_realtime()")
            server = RealtimeServer(database_url, jwt_secret)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            try:
                yield server
            finally:
                server.stop()
                thread.join(10)
        finally:
            sql.execute(_AWAY)
