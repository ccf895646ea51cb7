"""A short run of everything; ``make chaos`` is the long one."""

from __future__ import annotations

import pytest

from chaos.faults import FAULTS
from chaos.run import Report, run
from parts import Parts

_NEVER_LESS = {"created", "claimed", "completed", "failed"}


@pytest.fixture(scope="module")
def report(parts: Parts) -> Report:
    """What a run of each kind of fault led to."""
    return run(parts, seconds=15, seed=20261121, tell=print)


@pytest.mark.timeout(420)
def test_every_promise_is_kept_whatever_dies(report: Report):
    """No job is lost, done twice or left behind, and no process or file is."""
    assert report.violations == []


def test_every_kind_of_fault_happened(report: Report):
    """The run was as bad as it was meant to be."""
    assert set(report.faults) == set(FAULTS)
    assert set(report.events) >= _NEVER_LESS
    assert report.workers_started > 4
