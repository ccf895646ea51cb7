"""A Supabase-compatible stack on this machine, without Docker: PostgreSQL, and PostgREST when asked."""

from videojobs.local.stack import LocalStack

__all__ = ["LocalStack"]
