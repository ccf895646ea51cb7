"""One module for each family of routes."""

from videojobs.web.routes import admin, health, jobs, lists, live, outputs, process, studio

FAMILIES = (
    jobs.add_routes,
    lists.add_routes,
    live.add_routes,
    process.add_routes,
    studio.add_routes,
    outputs.add_routes,
    admin.add_routes,
    health.add_routes,
)

__all__ = ["FAMILIES"]
