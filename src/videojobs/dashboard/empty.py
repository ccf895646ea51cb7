"""What stands where there is nothing yet: what to do next, by its exact command."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from videojobs.dashboard import assets
from videojobs.dashboard.parts import box, button, text


def draw_first_steps(user_id: UUID) -> None:
    """No job at all: how to create one and who runs it."""
    assets.icon("film", "large")
    text("No jobs yet", "", "h2")
    text("Two commands make the first one and run it. It appears here by itself.", "", "p")
    with box("vj-steps", "ol"):
        _step(
            "Create a job for a video within the worker's storage",
            f"videojobs jobs create uploads/talk.mp4 --user {user_id}",
        )
        _step(
            "Run a worker, here or on any other machine; --storage names where the videos are",
            "videojobs worker",
        )
    text(
        "Your backend creates jobs with create_job(), and your pages with supabase-js: the README has both.",
        "vj-under",
        "p",
    )


def draw_no_match(clear: Callable[[], None]) -> None:
    """Jobs, but none that match."""
    assets.icon("search", "large")
    text("No job matches", "", "h2")
    text(
        "Take a filter away, or look for another word: the search reads file names and resource names.",
        "",
        "p",
    )
    button("Clear filters", clear, classes="primary")


def draw_no_workers() -> None:
    """Nobody works, and what to do about it."""
    assets.icon("worker", "large")
    text("No worker runs", "", "h2")
    text(
        "Jobs wait until one runs. Start it on this machine or on any other that reaches the database:",
        "",
        "p",
    )
    with box("vj-steps", "ol"):
        _step(
            "A worker; --storage names where the videos are, if they are not in videojobs-output",
            "videojobs worker",
        )


def _step(what: str, command: str) -> None:
    with box("", "li"):
        text(what)
        text(command, "vj-command", "code")
