"""One module for each family of routes."""

from videojobs.web.routes import jobs, lists, live

FAMILIES = (
    jobs.add_routes,
    lists.add_routes,
    live.add_routes,
)

__all__ = ["FAMILIES"]
