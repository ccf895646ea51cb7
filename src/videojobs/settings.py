"""Every default, and the only reader of the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from videojobs.errors import ConfigurationError

TransportName = Literal["supabase", "postgres"]
SourcePolicy = Literal["any", "own_prefix"]

FAST_LEASE_SECONDS = 12
"""For those who would rather pay for five times the heartbeats than wait for a minute."""

_URL_NAMES = ("SUPABASE_URL", "NEXT_PUBLIC_SUPABASE_URL")
_PUBLISHABLE_KEY_NAMES = (
    "SUPABASE_PUBLISHABLE_KEY",
    "NEXT_PUBLIC_SUPABASE_PUBLISHABLE_KEY",
    "SUPABASE_ANON_KEY",
    "NEXT_PUBLIC_SUPABASE_ANON_KEY",
)
_DATABASE_URL_NAMES = ("SUPABASE_DB_URL", "DATABASE_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """What a source may take of a worker's disk."""

    max_source_bytes: int = 20_000_000_000
    """Of one source."""
    space_factor: float = 1.0
    """Free space for the work, in sizes of the source; a source that is copied needs one more."""
    space_margin_bytes: int = 256 * 1024**2
    """Free space beyond that."""

    def at_most(self, max_bytes: int | None) -> FetchLimits:
        """These limits, or for a file that is no source and has a limit of its own."""
        return self if max_bytes is None else replace(self, max_source_bytes=max_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """What the REST API takes from whom."""

    source_policy: SourcePolicy = "own_prefix"
    """Whether a source that is named by a path must lie below its tenant's id."""
    max_upload_bytes: int = 5_000_000_000
    """Of one uploaded video."""
    max_body_bytes: int = 262_144
    """Of any other request, and of the fields beside an upload."""
    idle_seconds: float = 30.0
    """A caller who sends nothing of a request for so long is turned away."""
    requests_per_minute: int = 600
    """Of one user, or of one address where nobody is signed in; 0 for any number. Each process
    counts by itself."""
    streams_per_user: int = 50
    """Of changes that one user may have open at once in each process; 0 for any number."""
    cors_origins: tuple[str, ...] = ()
    """Pages of which origins may call, such as ``https://app.example.com``; ``*`` for all."""
    allowed_hosts: tuple[str, ...] = ()
    """By which host names it may be called; by any if empty."""
    metrics_token: str | None = field(default=None, repr=False)
    """Opens ``/metrics`` to a scraper, as its bearer token. Without it, admins may read them."""
    deadline_seconds: float = 8.0
    """For so long a request's calls are repeated while the database is away; `Settings` has a
    service's own."""
    link_seconds: int = 3600
    """How long the address of an output is good for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to reach the database, how patient to be, and where files go.

    Secrets are left out of the repr.
    """

    supabase_url: str | None = None
    supabase_key: str | None = field(default=None, repr=False)
    """A secret or service-role key, for backends and workers."""
    publishable_key: str | None = field(default=None, repr=False)
    """Sent as ``apikey`` beside a user's token."""
    database_url: str | None = field(default=None, repr=False)
    database_pooled: bool | None = None
    """Whether that URL leads to a transaction pooler; guessed by its port if not given."""
    transport: TransportName | None = None
    """Which one to use where both are configured; Supabase unless said otherwise."""
    jwt_secret: str | None = field(default=None, repr=False)
    """Verifies users' tokens (HS256) on the Postgres transport."""
    jwks: str | None = field(default=None, repr=False)
    """A JSON Web Key Set that verifies users' tokens (ES256, RS256) on the Postgres transport."""
    jwt_issuer: str | None = None
    """The ``iss`` of users' tokens for the REST API; ``<supabase_url>/auth/v1`` if not given."""

    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 12.0
    """Longer than Supabase's statement timeout (8 s), so that the database gives the error
    instead of an ambiguous broken connection."""
    deadline_seconds: float = 30.0
    """No repeat of a call begins later than this after the call did. The last one may still take
    `read_timeout_seconds`."""
    pool_size: int = 10
    """Connections that one manager keeps at the most."""

    lease_seconds: int = 60
    """A worker that is silent for so long has lost its jobs. Others notice within a quarter more:
    in 75 seconds, or in 15 with a lease of `FAST_LEASE_SECONDS`."""
    manual_lease_seconds: int = 3600
    """The lease of `start_processing`, whose callers send no heartbeats."""
    poll_seconds: float = 5.0
    """An idle worker's, or waiter's, longest pause between two looks."""
    realtime: bool = True
    """Over Supabase, workers, servers and senders of webhooks are called through Realtime, if the
    project has it: one connection and few messages each."""

    ffmpeg: str | None = None
    """Path of the ffmpeg to run; the one from imageio-ffmpeg if not given."""
    work_dir: Path | None = None
    """Where attempts keep their temporary files; the system's temporary folder if not given."""
    storage_dir: Path = Path("videojobs-output")
    """The root of the local storage."""
    storage: str | None = field(default=None, repr=False)
    """A storage instead of that folder, such as ``supabase://videos`` or ``s3://bucket/prefix``."""
    source_policy: SourcePolicy = "any"
    """With ``own_prefix``, a job's source must be a path below its tenant's id."""
    fetch_limits: FetchLimits = FetchLimits()
    """What a source may take of a worker's disk."""

    web: WebSettings = WebSettings()
    """What the REST API takes from whom."""

    webhooks_to_loopback: bool = False
    """For development: webhooks may lead to this machine, and over http."""

    postgrest: Path | None = None
    """The PostgREST program for the local stack; else the one that is found."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read what is set; the table in the README lists the names.

        Raises:
            ConfigurationError: A variable holds something that cannot be used.
        """
        given = {
            "supabase_url": _first(environ, _URL_NAMES),
            "supabase_key": _secret_key(environ),
            "publishable_key": _first(environ, _PUBLISHABLE_KEY_NAMES),
            "database_url": _first(environ, _DATABASE_URL_NAMES),
            "database_pooled": _yes_or_no(environ, "VIDEOJOBS_DATABASE_POOLED"),
            "transport": _transport(environ),
            "jwt_secret": environ.get("SUPABASE_JWT_SECRET"),
            "jwks": environ.get("SUPABASE_JWKS"),
            "jwt_issuer": environ.get("VIDEOJOBS_JWT_ISSUER") or None,
            "deadline_seconds": _number(environ, "VIDEOJOBS_DEADLINE_SECONDS"),
            "lease_seconds": _whole_number(environ, "VIDEOJOBS_LEASE_SECONDS"),
            "realtime": _yes_or_no(environ, "VIDEOJOBS_REALTIME"),
            "ffmpeg": environ.get("VIDEOJOBS_FFMPEG"),
            "work_dir": _path(environ, "VIDEOJOBS_WORK_DIR"),
            "storage_dir": _path(environ, "VIDEOJOBS_STORAGE_DIR"),
            "storage": environ.get("VIDEOJOBS_STORAGE") or None,
            "source_policy": _source_policy(environ),
            "fetch_limits": _fetch_limits(environ),
            "web": _web(environ),
            "webhooks_to_loopback": _yes_or_no(environ, "VIDEOJOBS_WEBHOOKS_TO_LOOPBACK"),
            "postgrest": _path(environ, "VIDEOJOBS_POSTGREST"),
        }
        return cls(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType] # each value was read for its name


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def _secret_key(environ: Mapping[str, str]) -> str | None:
    if key := environ.get("SUPABASE_SECRET_KEY"):
        return key
    if keys := environ.get("SUPABASE_SECRET_KEYS"):
        return _default_key(keys)
    return environ.get("SUPABASE_SERVICE_ROLE_KEY") or None


def _default_key(keys: str) -> str:
    try:
        return str(json.loads(keys)["default"])
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            'SUPABASE_SECRET_KEYS must be a JSON object with a "default" key, '
            'such as {"default": "sb_secret_..."}'
        ) from None


def _transport(environ: Mapping[str, str]) -> str | None:
    name = environ.get("VIDEOJOBS_TRANSPORT") or None
    if name not in (None, "supabase", "postgres"):
        raise ConfigurationError(
            f"VIDEOJOBS_TRANSPORT={name!r} is not known; use 'supabase' or 'postgres'"
        )
    return name


def _source_policy(environ: Mapping[str, str], name: str = "VIDEOJOBS_SOURCE_POLICY") -> str | None:
    policy = environ.get(name) or None
    if policy not in (None, "any", "own_prefix"):
        raise ConfigurationError(f"{name}={policy!r} is not known; use 'any' or 'own_prefix'")
    return policy


def _web(environ: Mapping[str, str]) -> WebSettings:
    given = {
        "source_policy": _source_policy(environ, "VIDEOJOBS_WEB_SOURCE_POLICY"),
        "max_upload_bytes": _count(environ, "VIDEOJOBS_WEB_MAX_UPLOAD_BYTES", "bytes above 0"),
        "max_body_bytes": _count(environ, "VIDEOJOBS_WEB_MAX_BODY_BYTES", "bytes above 0"),
        "idle_seconds": _number(environ, "VIDEOJOBS_WEB_IDLE_SECONDS"),
        "requests_per_minute": _count(
            environ, "VIDEOJOBS_WEB_REQUESTS_PER_MINUTE", "requests, or 0 for any number", least=0
        ),
        "streams_per_user": _count(
            environ, "VIDEOJOBS_WEB_STREAMS_PER_USER", "streams, or 0 for any number", least=0
        ),
        "cors_origins": _list(environ, "VIDEOJOBS_WEB_CORS_ORIGINS"),
        "allowed_hosts": _list(environ, "VIDEOJOBS_WEB_ALLOWED_HOSTS"),
        "metrics_token": environ.get("VIDEOJOBS_WEB_METRICS_TOKEN") or None,
        "deadline_seconds": _number(environ, "VIDEOJOBS_WEB_DEADLINE_SECONDS"),
        "link_seconds": _whole_number(environ, "VIDEOJOBS_WEB_LINK_SECONDS"),
    }
    return WebSettings(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType] # each value was read for its name


def _list(environ: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    return tuple(part for part in environ.get(name, "").replace(",", " ").split()) or None


def _fetch_limits(environ: Mapping[str, str]) -> FetchLimits | None:
    size = _count(environ, "VIDEOJOBS_MAX_SOURCE_BYTES", "bytes above 0")
    return None if size is None else FetchLimits(max_source_bytes=size)


def _count(environ: Mapping[str, str], name: str, what: str, *, least: int = 1) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or int(text) < least:
        raise ConfigurationError(f"{name}={text!r} must be a whole number of {what}")
    return int(text)


def _yes_or_no(environ: Mapping[str, str], name: str) -> bool | None:
    text = environ.get(name, "").lower()
    if text not in {"", "0", "1", "false", "true", "no", "yes"}:
        raise ConfigurationError(f"{name}={text!r} must be true or false")
    return text in {"1", "true", "yes"} if text else None


def _number(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"{name}={text!r} must be a number of seconds above 0")
    return number


def _whole_number(environ: Mapping[str, str], name: str) -> int | None:
    number = _number(environ, name)
    if number is None:
        return None
    if number != int(number):
        raise ConfigurationError(f"{name}={number} must be a whole number of seconds")
    return int(number)


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    return Path(environ[name]) if environ.get(name) else None
