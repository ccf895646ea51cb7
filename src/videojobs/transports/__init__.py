"""Ways to reach the database: through PostgREST with supabase-py, or directly with psycopg.

Each way has a sync and an async class with the same few methods, and turns its libraries'
exceptions into a `videojobs.retries.Failure`. Nothing of a library passes this door.
"""

from videojobs.transports._protocol import (
    Announcements,
    AsyncAnnouncements,
    AsyncListener,
    AsyncPollingListener,
    AsyncTransport,
    Channel,
    Listener,
    PollingListener,
    Token,
    Transport,
)

__all__ = [
    "Announcements",
    "AsyncAnnouncements",
    "AsyncListener",
    "AsyncPollingListener",
    "AsyncTransport",
    "Channel",
    "Listener",
    "PollingListener",
    "Token",
    "Transport",
]
