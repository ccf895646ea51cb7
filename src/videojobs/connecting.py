"""Opens the transport that the settings ask for. Heavy libraries are imported here, on use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from videojobs.errors import ConfigurationError, MissingExtraError
from videojobs.settings import Settings, TransportName

if TYPE_CHECKING:
    from videojobs.transports import AsyncTransport, Transport


def open_transport(settings: Settings) -> Transport:
    """A sync transport for what is configured."""
    if _chosen(settings) == "postgres":
        return postgres().PostgresTransport(settings.database_url, settings)
    return supabase().SupabaseTransport.open(settings.supabase_url, settings.supabase_key, settings)


def open_async_transport(settings: Settings) -> AsyncTransport:
    """An async transport for what is configured."""
    if _chosen(settings) == "postgres":
        return postgres().AsyncPostgresTransport(settings.database_url, settings)
    return supabase().AsyncSupabaseTransport.open(
        settings.supabase_url, settings.supabase_key, settings
    )


def _chosen(settings: Settings) -> TransportName:
    has_supabase = settings.supabase_url is not None and settings.supabase_key is not None
    has_postgres = settings.database_url is not None
    chosen = settings.transport or ("supabase" if has_supabase or not has_postgres else "postgres")
    if chosen == "postgres" and not has_postgres:
        raise ConfigurationError("no database is configured: set SUPABASE_DB_URL or DATABASE_URL")
    if chosen == "supabase" and not has_supabase:
        raise ConfigurationError(_missing(settings))
    return chosen


def _missing(settings: Settings) -> str:
    if settings.supabase_url is None:
        return (
            "no Supabase project is configured: set SUPABASE_URL and SUPABASE_SECRET_KEY "
            "(or SUPABASE_DB_URL for a direct Postgres connection)"
        )
    if settings.publishable_key is not None:
        return (
            "only a publishable (anon) key is set; a backend or worker needs SUPABASE_SECRET_KEY "
            "or SUPABASE_SERVICE_ROLE_KEY"
        )
    return "SUPABASE_URL is set, but no key: set SUPABASE_SECRET_KEY or SUPABASE_SERVICE_ROLE_KEY"


def supabase() -> Any:
    """The module of the Supabase transports. Importing supabase-py takes about 0.4 s."""
    from videojobs.transports import supabase as module

    return module


def postgres() -> Any:
    """The module of the Postgres transports."""
    try:
        from videojobs.transports import postgres as module
    except ModuleNotFoundError as error:
        raise MissingExtraError("postgres", "a direct Postgres connection") from error
    return module
