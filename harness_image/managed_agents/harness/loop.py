"""The agent loop: decide the next step from the log, do it, write down what happened, again.

Everything it knows is in the log, so it may be killed between any two lines and another one goes on. The order of the
writes is what makes that true: intent before effect, result before acknowledgement (design §2.6).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

from managed_agents.contracts import causes
from managed_agents.contracts.errors import RejectedError
from managed_agents.harness.ending import finish, give_up
from managed_agents.harness.events import EventWriter
from managed_agents.harness.files import Files
from managed_agents.harness.history.compaction import policy_for
from managed_agents.harness.history.request import head_for
from managed_agents.harness.log import SessionLog
from managed_agents.harness.mcp.keeping import KeepingHand
from managed_agents.harness.mcp.servers import McpServers
from managed_agents.harness.model import Model
from managed_agents.harness.platform import Lease
from managed_agents.harness.sampling import Brief, Sampler
from managed_agents.harness.session import session_for
from managed_agents.harness.settings import Settings
from managed_agents.harness.step import (
    Compact,
    Fail,
    Finish,
    Reject,
    Resume,
    RunTool,
    Sample,
    Step,
    Stop,
    Wait,
    next_step,
)
from managed_agents.harness.tools.early import EarlyHand
from managed_agents.harness.tools.hand import Hand, error_result
from managed_agents.harness.tools.hands import Hands
from managed_agents.harness.tools.repositories import RepositoryFailure, RepositoryHand
from managed_agents.harness.tools.url_sources import SourcedHand
from managed_agents.harness.tools.web import ConfigOf

WebHandFor = Callable[[ConfigOf], Hand]


class Loop:
    """One lease's work on a session. `new_id` makes event ids, `random` numbers in [0, 1)."""

    def __init__(
        self,
        *,
        lease: Lease,
        log: SessionLog,
        model: Model,
        hand: Hand,
        web_hand_for: WebHandFor,
        files: Files,
        settings: Settings,
        servers: McpServers,
        new_id: Callable[[], str],
        random: Callable[[], float],
    ) -> None:
        self._lease, self._log = lease, log
        self._early = EarlyHand(hand)
        self._prepared = RepositoryHand(
            self._early,
            epoch=lease.epoch,
            repositories=lambda: self._brief.session.repositories,
            report=self._report,
            turn=lambda: self._log.state.turn_opened_at,
        )
        web = SourcedHand(web_hand_for(self._web_config), self._web_config, log.walk)
        self._hands = Hands(sandbox=self._prepared, web=web, server=self._server, stopwatch=log.stopwatch)
        self._settings, self._servers, self._new_id = settings, servers, new_id
        self._policy = policy_for(settings.compaction_policy, fill=settings.compaction_fill)
        self._sampler = Sampler(
            log=log,
            model=model,
            files=files,
            policy=self._policy,
            hand=self._early,
            settings=settings,
            new_id=new_id,
            random=random,
        )
        self._config = self._latest = lease.config
        self._brief = self._brief_for(lease.config)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Use this config from the next step on, but its agent only from the next turn on."""
        self._latest = config
        self._log.notify()

    async def run(self) -> None:
        """Work until the session has ended. Cancel it at any time; the log makes it resumable."""
        try:
            await self._run()
        finally:
            await self._early.close()
            await self._servers.close()

    async def _run(self) -> None:
        while True:
            self._adopt()
            step = next_step(self._log.state, self._brief.session, self._settings, self._policy)
            if isinstance(step, Stop):
                return
            if isinstance(step, Sample | Compact) and self._brief.session.mcp_servers and not self._asked_servers:
                await self._ask_servers()
                continue
            try:
                await self._take(step)
            except RejectedError as refused:
                await self._refused(step, refused)

    async def give_up(self) -> None:
        """End what is open with an error, and return once there is something to try again for."""
        await give_up(self._log, self._brief.write)

    @property
    def _turn(self) -> int:
        """Return the number of the open turn, or of the one that the next request opens."""
        return self._log.state.turns + (not self._log.state.turn_open)

    @property
    def _asked_servers(self) -> bool:
        return self._servers.is_ready(self._turn)

    async def _ask_servers(self) -> None:
        """Learn what MCP servers offer before the turn's first request; write down which of them cannot be asked."""
        preparing = self._servers.prepare(self._turn, self._brief.session.mcp_servers)
        failures = await self._log.uninterrupted(preparing)
        self._brief = self._brief_for(self._config)
        if failures:
            write, opening = self._brief.write, not self._log.state.turn_open
            missing = [write.server_missing(failure) for failure in failures]
            await self._log.append([*write.abandoned(self._log.state), *(write.opening() if opening else []), *missing])

    async def _take(self, step: Step) -> None:
        write = self._brief.write
        match step:
            case Sample():
                await self._sampler.sample(self._brief, step, self._lease.preview)
            case Compact():
                await self._sampler.compact(self._brief, step)
            case RunTool():
                await self._run_tool(step)
            case Reject(use=use, message=message, settles=settles):
                result = write.tool_result(use, error_result(message), processed=settles)
                await self._log.append([result], processed=settles)
            case Resume(confirmations=confirmations):
                opening = write.opening({"processed": confirmations, "sandbox": self._hands.generation})
                await self._log.append(opening, processed=confirmations)
            case Fail(cause=cause, message=message, withdraws=withdraws):
                await self._log.append([write.exhausted(cause, message, withdraw=withdraws)])
            case Finish():
                await finish(self._log, write, step)
            case Wait():
                await self._news()
            case Stop():
                pass
            case never:
                assert_never(never)

    async def _news(self) -> None:
        head, config = self._log.state.head, self._latest
        await self._log.until(lambda: self._log.state.head != head or self._latest is not config)

    def _adopt(self) -> None:
        """Use the latest config; an agent that changes in the middle of a turn waits for its end.

        A budget counts from its event on: the log may tell of it before the config arrives, or refuse an end by it.
        """
        state = self._log.state
        if self._config is self._latest and state.updates.items() <= self._config.items():
            return
        config = {**self._latest, **state.updates}
        if state.turn_open:
            config["agent"] = self._config["agent"]
        if config != self._config:
            self._brief = self._brief_for(config)
        self._config = self._latest if config == self._latest else config

    def _web_config(self, tool: str) -> Mapping[str, Any]:
        return self._brief.session.toolset.web.get(tool, {})

    def _brief_for(self, config: Mapping[str, Any]) -> Brief:
        session = session_for(config, self._settings)
        if session.mcp_servers:
            session = replace(session, toolset=session.toolset.offering(self._servers.offered))
        write = EventWriter(session=session, new_id=self._new_id)
        return Brief(session=session, write=write, head=head_for(session, max_tokens=self._settings.max_tokens))

    async def _run_tool(self, step: RunTool) -> None:
        use = step.use
        # What lies before the lease may have been started by a predecessor.
        recovers = use.position <= self._lease.head
        work = self._hands.perform(use, recovers=recovers, last_generation=self._log.state.sandbox)
        result = await self._log.uninterrupted(work)
        if result is None:
            await self._hands.cancel(use)
            return
        write = self._brief.write
        event = write.tool_result(use, result, sandbox=self._hands.generation, processed=step.settles)
        refusals = [write.server_missing(failure) for failure in self._servers.refusals()]
        unreachable = [write.credential_unreachable(one) for one in self._prepared.unreachable()]
        missing = [write.repository_missing(one.cause, one.url, one.message) for one in self._prepared.without_token()]
        await self._log.append([event, *refusals, *unreachable, *missing], processed=step.settles)

    def _server(self, name: str) -> Hand:
        """Return the hand that an MCP server is; what its results are too long for goes into the sandbox."""
        sandbox = self._prepared if self._brief.session.has_sandbox else None
        return KeepingHand(self._servers.hand(name), sandbox)

    async def _report(self, failures: Sequence[RepositoryFailure]) -> None:
        await self._log.append(
            [self._brief.write.repository_missing(one.cause, one.url, one.message) for one in failures]
        )

    async def _refused(self, step: Step, refused: RejectedError) -> None:
        """Write something smaller where the log refuses what a step brought, so that no repeat of it follows (F10).

        Raises: RejectedError when what would end the turn is refused itself.
        """
        write, state = self._brief.write, self._log.state
        message = f"The session's log refused what was to be written: {refused.message}"
        match step:
            case RunTool(use=use) if use.id in state.uses:
                result = error_result(f"The call ended, but its result can not be kept. {message}")
                await self._log.append([write.tool_result(use, result)])
            case Finish() | Fail():
                raise refused
            case _:
                await self._log.append([*write.abandoned(state), write.exhausted(causes.UNKNOWN, message)])
