"""The people, teams and jobs that the tests of the SDK speak of."""

from __future__ import annotations

from uuid import UUID

ADA = UUID("00000000-0000-4000-8000-000000000ada")
"""Owns jobs, and is a plain member of the team."""
BOB = UUID("00000000-0000-4000-8000-000000000b0b")
"""Administers the team."""
EVE = UUID("00000000-0000-4000-8000-000000000e7e")
"""Belongs to nobody."""
TEAM = UUID("00000000-0000-4000-8000-0000000007ea")
NOBODYS_JOB = UUID("00000000-0000-4000-8000-000000000404")
