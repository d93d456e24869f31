"""The application: its routes around one `Simulator`."""

from typing import Final

from aiohttp import web

from managed_agents.simulator import handlers
from managed_agents.simulator.service import Simulator

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""The limit of the Messages API."""


def app_for(simulator: Simulator) -> web.Application:
    """The routes of the Messages API, a web search, and those for tests under `/_simulator`."""
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[handlers.errors_as_envelopes])
    app[handlers.SIMULATOR] = simulator
    app.add_routes(
        [
            web.post("/v1/messages", handlers.create_message),
            web.post("/v1/messages/count_tokens", handlers.count_tokens),
            web.get("/v1/models", handlers.list_models),
            web.get("/v1/models/{model}", handlers.get_model),
            web.get("/healthz", handlers.healthz),
            web.get("/search", handlers.search_web),
            web.post("/_simulator/scripts", handlers.queue_script),
            web.delete("/_simulator/scripts", handlers.clear_scripts),
            web.get("/_simulator/requests", handlers.list_requests),
            web.delete("/_simulator/requests", handlers.clear_requests),
        ]
    )
    return app
