"""The events that a harness writes, in the order of API reference §5.7. Pure but for the ids it is given."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from managed_agents.contracts.causes import CREDENTIAL_HOST, Cause
from managed_agents.contracts.events import types
from managed_agents.harness.history.compaction import context_tokens
from managed_agents.harness.history.conversation import Context
from managed_agents.harness.history.fold import active_seconds
from managed_agents.harness.history.state import Ending, State, ToolUse
from managed_agents.harness.mcp.servers import McpFailure
from managed_agents.harness.reply import Call, Part, Reply, Text, Thinking
from managed_agents.harness.session import Session
from managed_agents.harness.tools.hand import ToolResult, UnreachableCredential

NewEvent = dict[str, Any]
"""An event before it is logged: `id`, `type`, fields, and `internal` where the fold needs more than the API shows."""

Stopped = Literal["overflow", "compaction"]
"""Why a request brought nothing, where the next step depends on it: it was too large, or brought no summary."""

_RETRYING = {"type": "retrying"}
NO_USAGE = {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWriter:
    """Builds the events of one session. `new_id` makes event ids."""

    session: Session
    new_id: Callable[[], str]

    def event(self, event_type: str, internal: Mapping[str, Any] | None = None, **fields: Any) -> NewEvent:
        """Build an event of any type; empty internals are left out."""
        kept = {key: value for key, value in (internal or {}).items() if value}
        return {"id": self.new_id(), "type": event_type, **fields} | ({types.INTERNAL: kept} if kept else {})

    def opening(self, internal: Mapping[str, Any] | None = None) -> list[NewEvent]:
        """Open a turn, or say that one runs again."""
        return [self.event(types.STATUS_RUNNING, internal), self._thread(types.THREAD_RUNNING)]

    def request_start(self, inputs: Sequence[str]) -> NewEvent:
        """Begin a model request that takes in these messages."""
        return self.event(types.REQUEST_START, {"processed": list(inputs)})

    def compaction_start(self) -> NewEvent:
        """Begin a model request whose answer is no part of the conversation."""
        return self.event(types.REQUEST_START, {"compaction": True})

    def compacted(self, start_id: str, reply: Reply, context: Context) -> list[NewEvent]:
        """Write down a compaction: from here on, the conversation is this context."""
        internal = {"context": dict(context), "tokens": context_tokens(context)}
        end = self._request_end(start_id, reply.usage, is_error=False, internal={"compaction": True})
        return [end, self.event(types.CONTEXT_COMPACTED, internal)]

    def abandoned(self, state: State) -> list[NewEvent]:
        """End the request that a harness left behind when it died, if there is one."""
        if state.span is None:
            return []
        return [self._request_end(state.span, NO_USAGE, is_error=True, internal={"abandoned": True})]

    def stopped(self, start_id: str, reply: Reply, why: Stopped | None = None) -> list[NewEvent]:
        """End a request that brought no response; what it used is counted all the same."""
        internal: dict[str, Any] = {why: True} if why else {}
        return [self._request_end(start_id, reply.usage, is_error=True, internal=internal)]

    def response(self, start_id: str, reply: Reply, sandbox: int | None) -> list[NewEvent]:
        """Write down a whole response; calls note the sandbox in which they may start at once."""
        end = {"stop_reason": reply.stop_reason, "stop_details": reply.stop_details}
        return [
            *(self._part(part, sandbox) for part in reply.parts),
            self._request_end(start_id, reply.usage, is_error=False, internal=end),
        ]

    def retrying(self, cause: Cause, message: str, delay_seconds: float) -> NewEvent:
        """Say that a failed request will be repeated."""
        return self._error(cause, message, "retrying", delay_seconds=delay_seconds)

    def repository_missing(self, cause: Cause, url: str, message: str) -> NewEvent:
        """Say that a repository is not in the sandbox; the turn goes on without it."""
        error = {"type": cause.error_type, "message": message, "repository_url": url, "retry_status": _RETRYING}
        return self.event(types.SESSION_ERROR, {"reason": cause.reason, "aside": True}, error=error)

    def credential_unreachable(self, found: UnreachableCredential) -> NewEvent:
        """Say that a credential is of no use in this Environment; the turn goes on, with the placeholder."""
        cause, hosts = CREDENTIAL_HOST, ", ".join(found.hosts)
        text = (
            f"credential {found.credential_id} is for {hosts}, which the session's environment does not allow; add it "
            "to networking.allowed_hosts of the environment and start a new session"
        )
        error = {
            "type": cause.error_type,
            "message": text,
            "credential_id": found.credential_id,
            "vault_id": found.vault_id,
            "retry_status": _RETRYING,
        }
        return self.event(types.SESSION_ERROR, {"reason": cause.reason, "aside": True}, error=error)

    def server_missing(self, failure: McpFailure) -> NewEvent:
        """Say that an MCP server's tools are not there; the turn goes on without them."""
        error = {
            "type": failure.cause.error_type,
            "message": failure.message,
            "mcp_server_name": failure.server,
            "retry_status": _RETRYING,
        }
        return self.event(types.SESSION_ERROR, {"reason": failure.cause.reason, "aside": True}, error=error)

    def exhausted(self, cause: Cause, message: str, *, withdraw: bool = False) -> NewEvent:
        """Say that the turn ends with this failure; with `withdraw`, that its input leaves the conversation."""
        return self._error(cause, message, "exhausted", withdraw=withdraw)

    def rescheduled(self) -> list[NewEvent]:
        """Say that the session waits for its next attempt."""
        return [self._thread(types.THREAD_RESCHEDULED), self.event(types.STATUS_RESCHEDULED)]

    def tool_result(
        self, use: ToolUse, result: ToolResult, *, sandbox: int | None = None, processed: Sequence[str] = ()
    ) -> NewEvent:
        """Write down a call's result, which settles these confirmations."""
        internal = {"sandbox": sandbox, "processed": list(processed), "web_searches": result.web_searches}
        fields = {"content": list(result.content), "is_error": result.is_error}
        if use.server is not None:
            return self.event(types.AGENT_MCP_TOOL_RESULT, internal, mcp_tool_use_id=use.id, **fields)
        return self.event(types.AGENT_TOOL_RESULT, internal, tool_use_id=use.id, **fields)

    def idle(self, state: State, thread: Ending, session: Ending, processed: Iterable[str]) -> list[NewEvent]:
        """End a turn, or repeat its end: thread, usage and session, in this order."""
        price, usage = self.session.list_price, {"budget": self.session.budget} if self.session.budget else {}
        snapshot = state.usage.snapshot(active_seconds=active_seconds(state), price=price)
        return [
            self._thread(types.THREAD_IDLE, **_ending(thread)),
            self.event(types.SESSION_USAGE, usage=snapshot, **usage),
            self.event(types.STATUS_IDLE, {"processed": list(processed)}, **_ending(session)),
        ]

    def _thread(self, event_type: str, **fields: Any) -> NewEvent:
        session = self.session
        return self.event(event_type, session_thread_id=session.thread_id, agent_name=session.agent_name, **fields)

    def _request_end(
        self, start_id: str, usage: Mapping[str, Any], *, is_error: bool, internal: Mapping[str, Any] | None = None
    ) -> NewEvent:
        return self.event(
            types.REQUEST_END, internal, model_request_start_id=start_id, is_error=is_error, model_usage=dict(usage)
        )

    def _error(self, cause: Cause, message: str, retry_status: str, **internal: Any) -> NewEvent:
        error = {"type": cause.error_type, "message": message, "retry_status": {"type": retry_status}}
        return self.event(types.SESSION_ERROR, {"reason": cause.reason, **internal}, error=error)

    def _part(self, part: Part, sandbox: int | None) -> NewEvent:
        match part:
            case Text():
                cited = {types.INTERNAL: {"citations": list(part.citations)}} if part.citations else {}
                content = [{"type": "text", "text": part.text}]
                return {"id": part.id, "type": types.AGENT_MESSAGE, "content": content, **cited}
            case Thinking():
                return {"id": part.id, "type": types.AGENT_THINKING, types.INTERNAL: {"block": dict(part.block)}}
            case Call():
                return self._call(part, sandbox)

    def _call(self, call: Call, sandbox: int | None) -> NewEvent:
        verdict = self.session.toolset.verdict(call.name)
        if call.problem:
            verdict = verdict.refused
        internal: dict[str, Any] = {"problem": call.problem} if call.problem else {}
        if sandbox is not None:
            internal["sandbox"] = sandbox
        if self.session.runs_at_client(call.name) and verdict.server is None and verdict.permission in ("allow", "ask"):
            internal["client"] = True
        event = {
            "id": call.id,
            "type": verdict.event_type,
            "name": verdict.tool or call.name,
            "input": dict(call.input),
        }
        return event | verdict.fields | ({types.INTERNAL: internal} if internal else {})


def _ending(ending: Ending) -> dict[str, Any]:
    return {"stop_reason": dict(ending.stop_reason), "stop_details": ending.stop_details}
