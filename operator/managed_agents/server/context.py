"""What every handler of both ports works with."""

from dataclasses import dataclass

from aiohttp import web

from managed_agents.contracts.clock import Clock
from managed_agents.eventlog.store import EventLog
from managed_agents.filestore.store import FileStore
from managed_agents.server.metrics import Metrics
from managed_agents.server.services.authenticator import Authenticator
from managed_agents.server.services.callers import Callers
from managed_agents.server.services.credential_probes import CredentialProbes
from managed_agents.server.services.feed import ChangeFeed
from managed_agents.server.services.intents import Intents
from managed_agents.server.services.key_memory import KeyMemory
from managed_agents.server.services.leases import Leases
from managed_agents.server.services.limits import Limits
from managed_agents.server.services.objects import Objects
from managed_agents.server.services.packages import PackageStore
from managed_agents.server.services.public_sessions import PublicSessions
from managed_agents.server.services.refresh_turns import RefreshTurns
from managed_agents.server.services.replies import Replies
from managed_agents.server.services.sessions import Sessions
from managed_agents.server.services.stream_guards import StreamGuards
from managed_agents.server.services.streams import Streams
from managed_agents.server.services.turn_timings import TurnTimings
from managed_agents.server.services.warm_packages import WarmPackages
from managed_agents.server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The server's parts, wired by `factory.py`."""

    settings: Settings
    clock: Clock
    log: EventLog
    files: FileStore
    authenticator: Authenticator
    callers: Callers
    key_memory: KeyMemory
    limits: Limits
    replies: Replies
    feed: ChangeFeed
    leases: Leases
    sessions: Sessions
    packages: PackageStore
    warm_packages: WarmPackages
    intents: Intents
    public_sessions: PublicSessions
    streams: Streams
    guards: StreamGuards
    timings: TurnTimings
    metrics: Metrics
    objects: Objects
    refresh_turns: RefreshTurns
    probes: CredentialProbes


CONTEXT = web.AppKey("context", Context)


def context_of(request: web.Request) -> Context:
    """Return the parts that a request's handler works with."""
    return request.app[CONTEXT]  # not `config_dict`, which is built anew at each look
