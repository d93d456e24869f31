"""The only module that imports kopf: its watches feed our cache, its handlers call the catalog's reconcilers.

Sessions and their children have `on.event` handlers only, which never wait: our queue owns their retries. The
low-count kinds have kopf's own handlers, with kopf's retries around the same core (style §3).
"""

import asyncio
import base64
import hashlib
import signal
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import kopf
import orjson

from managed_agents.contracts import names
from managed_agents.contracts.errors import ConflictError, RejectedError, RetryableError
from managed_agents.kube.access import KubeAccess
from managed_agents.kube.resources import AGENTS, ENVIRONMENTS, MODEL_PROVIDERS, VAULTS, Resource
from managed_agents.operator.controller import Controller
from managed_agents.operator.feed import Feed
from managed_agents.operator.keys import Key
from managed_agents.operator.watched import WATCHED, selector_of

PREFIX = f"operator.{names.GROUP}"
"""Prefix of the annotations that kopf keeps on the low-count kinds."""

IDLE_TIMEOUT_SECONDS = 0.5
"""How long kopf keeps a worker per object after its last event; its 5 s would hold memory for nothing."""

RETRY_SECONDS = 5.0

LOGIN_TERM = timedelta(minutes=10)
"""A projected token lives for an hour and is renewed at 80 %."""


class DigestStorage(kopf.AnnotationsDiffBaseStorage):
    """Remembers the digest of an object's specification.

    kopf's own keeps the specification itself in an annotation, where a long system prompt exceeds the 256 KiB that
    Kubernetes allows.
    """

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """Return the essence of which kopf looks for changes; no handler of ours asks for further fields."""
        del extra_fields
        annotations = body.metadata.get("annotations") or {}
        content = [body.get("spec"), annotations.get(names.ANNOTATION_PAUSED), body.metadata.get("deletionTimestamp")]
        digest = hashlib.sha256(orjson.dumps(_plain(content), option=orjson.OPT_SORT_KEYS)).hexdigest()
        return cast("kopf.BodyEssence", {"spec": {"digest": digest}})


async def run_kopf(feed: Feed, controller: Controller, *, stop: asyncio.Event, access: KubeAccess) -> None:
    """Run kopf until `stop` or a signal; afterwards it has cancelled every other task of this loop."""
    registry = kopf.OperatorRegistry()
    settings = settings_for()
    register(registry, feed, controller)
    _register_login(registry, access)
    _register_signals(registry, stop)
    # kopf would derive an identity from the user's name, and the uid of a container need not have one.
    identity = cast("Any", names.MANAGER)
    await kopf.operator(
        registry=registry, settings=settings, clusterwide=True, standalone=True, identity=identity, stop_flag=stop
    )


def settings_for() -> kopf.OperatorSettings:
    """Return kopf's settings, each for a measured reason (style §3)."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.queueing.idle_timeout = IDLE_TIMEOUT_SECONDS
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.persistence.finalizer = f"{PREFIX}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = DigestStorage(prefix=PREFIX, key="last-handled")
    for resource in WATCHED:
        selector = selector_of(resource)
        if selector is not None:
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return settings


def register(registry: kopf.OperatorRegistry, feed: Feed, controller: Controller) -> None:
    """Register a feeding handler for each watched kind and a reconciling one for each kind of the catalog."""
    for resource in WATCHED:
        _register_feed(registry, feed, resource)
    _register_catalog(registry, controller, AGENTS, lambda namespace, name: Key("Agent", namespace, name))
    _register_catalog(registry, controller, ENVIRONMENTS, lambda namespace, name: Key("Environment", namespace, name))
    _register_catalog(registry, controller, MODEL_PROVIDERS, lambda namespace, _: Key("Providers", namespace))
    _register_catalog(registry, controller, VAULTS, lambda namespace, _: Key("Vaults", namespace))


def _register_login(registry: kopf.OperatorRegistry, access: KubeAccess) -> None:
    """Let kopf use the address and the token that our own client uses."""

    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=access.url,
            ca_data=_base64(access.ca),
            token=access.token,
            certificate_data=_base64(access.certificate),
            private_key_data=_base64(access.private_key),
            expiration=datetime.now(UTC) + LOGIN_TERM,
        )

    kopf.on.login(registry=registry, id="login")(login)


def _register_signals(registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    """Turn SIGTERM into `stop`: on its own way out by a signal, kopf waits 5 s for its watcher of that very flag."""

    async def startup(**_: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)

    kopf.on.startup(registry=registry, id="signals")(startup)


def _base64(text: str | None) -> str | None:
    return None if text is None else base64.b64encode(text.encode()).decode()


def _register_feed(registry: kopf.OperatorRegistry, feed: Feed, resource: Resource) -> None:
    async def take(event: kopf.RawEvent, **_: Any) -> None:
        manifest = cast("dict[str, Any]", event["object"])
        if event["type"] == "DELETED":
            feed.gone(resource, manifest)
        else:
            feed.seen(resource, manifest)

    kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id="feed")(take)


def _register_catalog(
    registry: kopf.OperatorRegistry, controller: Controller, resource: Resource, key_for: Callable[[str, str], Key]
) -> None:
    async def reconcile(namespace: str | None, name: str | None, **_: Any) -> None:
        try:
            await controller.reconcile(key_for(namespace or "", name or ""))
        except RetryableError as failure:
            raise kopf.TemporaryError(failure.message, delay=failure.delay_seconds or RETRY_SECONDS) from failure
        except ConflictError as failure:
            raise kopf.TemporaryError(failure.message, delay=1) from failure
        except RejectedError as failure:
            raise kopf.TemporaryError(failure.message, delay=60) from failure

    where = (resource.group, resource.version, resource.plural)
    kopf.on.create(*where, registry=registry, id="reconcile")(reconcile)
    kopf.on.update(*where, registry=registry, id="reconcile")(reconcile)
    kopf.on.resume(*where, registry=registry, id="reconcile")(reconcile)


def _plain(value: Any) -> Any:
    """Turn kopf's views into plain values that can be digested."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value]
