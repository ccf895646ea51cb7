"""The REST API: `router` for your own FastAPI application, `create_app` for one of its own."""

from importlib import import_module

from videojobs.errors import MissingExtraError

try:
    import_module("fastapi")
except ModuleNotFoundError as error:
    raise MissingExtraError("web", "The REST API") from error

from videojobs.web.application import create_app
from videojobs.web.problems import answer_error
from videojobs.web.routing import router

__all__ = ["answer_error", "create_app", "router"]
