"""The two applications of one server: the public API and the internal one."""

from aiohttp import web

from managed_agents.contracts.limits import EVENT_BODY_BYTES_MAX
from managed_agents.server.admission import admitted, show_workspace
from managed_agents.server.context import CONTEXT, Context
from managed_agents.server.middleware import Port, add_request_id, edge
from managed_agents.server.routes import (
    agents,
    discovery,
    environments,
    events,
    files,
    grants,
    harness,
    health,
    models,
    operator,
    packages,
    session_files,
    session_resources,
    sessions,
    threads,
    threads_events,
    timings,
    vault_credentials,
    vaults,
    wake,
    warm_sandboxes,
)
from managed_agents.server.routes.route import Route, add_all

INTERNAL_BODY_BYTES_MAX = 2 * EVENT_BODY_BYTES_MAX
"""A harness stores what tools and models return, several results in one append."""


PUBLIC_ROUTES: tuple[Route, ...] = (
    *agents.ROUTES,
    *environments.ROUTES,
    *models.ROUTES,
    *sessions.ROUTES,
    *session_resources.ROUTES,
    *events.ROUTES,
    *threads.ROUTES,
    *threads_events.ROUTES,
    *timings.ROUTES,
    *files.ROUTES,
    *vaults.ROUTES,
    *vault_credentials.ROUTES,
)
"""Every call of the public API, family by family."""


def public_app(context: Context) -> web.Application:
    """Return the application of the public port."""
    app = _app("public", context, EVENT_BODY_BYTES_MAX)
    app.middlewares.append(admitted)
    app.on_response_prepare.append(show_workspace)
    add_all(app, PUBLIC_ROUTES)
    health.add_routes(app)
    discovery.add_routes(app, PUBLIC_ROUTES)
    return app


def internal_app(context: Context) -> web.Application:
    """Return the application of the internal port."""
    app = _app("internal", context, INTERNAL_BODY_BYTES_MAX)
    health.add_routes(app)  # for the kubelet: the public port may speak TLS
    operator.add_routes(app)
    harness.add_routes(app)
    grants.add_routes(app)
    session_files.add_routes(app)
    packages.add_routes(app, context.packages)
    warm_sandboxes.add_routes(app)
    wake.add_routes(app)
    return app


def _app(port: Port, context: Context, body_bytes_max: int) -> web.Application:
    app = web.Application(middlewares=[edge(port)], client_max_size=body_bytes_max)
    app[CONTEXT] = context
    app.on_response_prepare.append(add_request_id)
    return app
