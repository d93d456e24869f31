"""Model requests: for the next response, or for a smaller conversation. Each is written down before it is sent."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from managed_agents.contracts.turn_timing import Step
from managed_agents.harness.events import EventWriter, NewEvent
from managed_agents.harness.files import Files
from managed_agents.harness.history.compaction import CompactionPolicy
from managed_agents.harness.history.request import Body, body_for
from managed_agents.harness.log import SessionLog
from managed_agents.harness.model import Model, Preview, no_preview
from managed_agents.harness.reply import Reply
from managed_agents.harness.retry import ModelFailureError, verdict_for
from managed_agents.harness.session import Session
from managed_agents.harness.settings import Settings
from managed_agents.harness.step import Compact, Sample
from managed_agents.harness.timing import TimedReply
from managed_agents.harness.tools.early import EarlyHand


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a config leads to: the session, the writer of its events, and the head of its requests."""

    session: Session
    write: EventWriter
    head: bytes


class Sampler:
    """One lease's requests. `new_id` makes event ids, `random` numbers in [0, 1)."""

    def __init__(
        self,
        *,
        log: SessionLog,
        model: Model,
        files: Files,
        policy: CompactionPolicy,
        hand: EarlyHand,
        settings: Settings,
        new_id: Callable[[], str],
        random: Callable[[], float],
    ) -> None:
        self._log, self._model, self._files, self._policy, self._hand = log, model, files, policy, hand
        self._settings, self._new_id, self._random = settings, new_id, random

    async def sample(self, brief: Brief, step: Sample, preview: Preview) -> None:
        """Ask for the next response and write it down; calls note the sandbox in which they may start at once."""
        start = brief.write.request_start(step.inputs)
        if not await self._begin(brief, start, step.delay_seconds, step.inputs):
            return
        state = self._log.state
        reply = await self._answer(brief, start, lambda: body_for(brief.head, state.conversation), preview)
        if reply is not None:
            response = brief.write.response(start["id"], reply, self._hand.generation)
            await self._log.append([*self._again(brief), *response])

    async def compact(self, brief: Brief, step: Compact) -> None:
        """Ask for what the policy makes the conversation smaller with, and write down what is left of it."""
        start = brief.write.compaction_start()
        if not await self._begin(brief, start, step.delay_seconds):
            return
        state, window = self._log.state, brief.session.window_tokens
        body = self._policy.body_for(brief.head, state, window_tokens=window)
        reply = await self._answer(brief, start, lambda: body, no_preview)
        if reply is None:
            return
        if not reply.text.strip():
            await self._log.append(brief.write.stopped(start["id"], reply, "compaction"))
            return
        context = self._policy.context_for(state.conversation, reply.text)
        await self._log.append([*self._again(brief), *brief.write.compacted(start["id"], reply, context)])

    async def _begin(self, brief: Brief, start: NewEvent, delay_seconds: float, inputs: Sequence[str] = ()) -> bool:
        """Wait, then write down the request's start. False: an interrupt came first."""
        if delay_seconds and not await self._log.uninterrupted(asyncio.sleep(delay_seconds, result=True)):
            return False
        if delay_seconds:
            self._log.stopwatch.mark(Step.PAUSED)
        state = self._log.state
        opening = [] if state.turn_open else brief.write.opening()
        self._log.stopwatch.mark(Step.CONTEXT)
        await self._log.append([*brief.write.abandoned(state), *opening, start], processed=inputs)
        return True

    async def _answer(self, brief: Brief, start: NewEvent, body: Callable[[], Body], preview: Preview) -> Reply | None:
        """Send a request and return its whole response; None when there is none, and the log says why."""

        def call_begins(tool: str) -> None:
            if brief.session.runs_in_sandbox(tool):
                self._hand.expect()

        reply = TimedReply(self._log.stopwatch, self._new_id, call_begins)
        try:
            if await self._log.uninterrupted(self._stream(body, reply, preview)):
                return reply
        except ModelFailureError as failure:
            await self._log.append(self._failed(brief, start, reply, failure))
            return None
        await self._log.append(brief.write.stopped(start["id"], reply))
        return None

    async def _stream(self, body: Callable[[], Body], reply: Reply, preview: Preview) -> bool:
        await self._files.fetch(self._log.state.conversation)
        encoded = body()
        self._log.stopwatch.sent()
        try:
            await self._model.stream(encoded, reply, preview)
        finally:
            self._log.stopwatch.stopped()
        return True

    def _failed(self, brief: Brief, start: NewEvent, reply: Reply, failure: ModelFailureError) -> list[NewEvent]:
        write, state = brief.write, self._log.state
        if failure.overflows:
            is_compaction = bool(start.get("internal", {}).get("compaction"))
            return write.stopped(start["id"], reply, "compaction" if is_compaction else "overflow")
        end = write.stopped(start["id"], reply)
        verdict = verdict_for(failure, retries=state.retries, settings=self._settings, random=self._random)
        if verdict.delay_seconds is None:
            return [*end, write.exhausted(failure.cause, failure.message, withdraw=verdict.withdraws)]
        retrying = write.retrying(failure.cause, failure.message, verdict.delay_seconds)
        return [*end, retrying, *([] if state.rescheduled else write.rescheduled())]

    def _again(self, brief: Brief) -> list[NewEvent]:
        return brief.write.opening() if self._log.state.rescheduled else []
