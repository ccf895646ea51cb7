"""One module for each family of routes."""

from videojobs.web.routes import jobs

FAMILIES = (jobs.add_routes,)

__all__ = ["FAMILIES"]
