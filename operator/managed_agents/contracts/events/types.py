"""Event types of the Managed Agents API (API reference §5) and the sets that code decides on."""

USER_MESSAGE = "user.message"
USER_INTERRUPT = "user.interrupt"
USER_TOOL_CONFIRMATION = "user.tool_confirmation"
USER_CUSTOM_TOOL_RESULT = "user.custom_tool_result"
USER_TOOL_RESULT = "user.tool_result"
USER_DEFINE_OUTCOME = "user.define_outcome"
SYSTEM_MESSAGE = "system.message"

AGENT_MESSAGE = "agent.message"
AGENT_THINKING = "agent.thinking"
AGENT_TOOL_USE = "agent.tool_use"
AGENT_TOOL_RESULT = "agent.tool_result"
AGENT_CUSTOM_TOOL_USE = "agent.custom_tool_use"
AGENT_MCP_TOOL_USE = "agent.mcp_tool_use"
AGENT_MCP_TOOL_RESULT = "agent.mcp_tool_result"
CONTEXT_COMPACTED = "agent.thread_context_compacted"

STATUS_RUNNING = "session.status_running"
STATUS_IDLE = "session.status_idle"
STATUS_RESCHEDULED = "session.status_rescheduled"
STATUS_TERMINATED = "session.status_terminated"
THREAD_RUNNING = "session.thread_status_running"
THREAD_IDLE = "session.thread_status_idle"
THREAD_RESCHEDULED = "session.thread_status_rescheduled"
THREAD_TERMINATED = "session.thread_status_terminated"
SESSION_ERROR = "session.error"
SESSION_UPDATED = "session.updated"
SESSION_USAGE = "session.usage"
SESSION_DELETED = "session.deleted"

REQUEST_START = "span.model_request_start"
REQUEST_END = "span.model_request_end"

EVENT_START = "event_start"
EVENT_DELTA = "event_delta"

CLIENT_TYPES = frozenset(
    {
        USER_MESSAGE,
        USER_INTERRUPT,
        USER_TOOL_CONFIRMATION,
        USER_CUSTOM_TOOL_RESULT,
        USER_TOOL_RESULT,
        USER_DEFINE_OUTCOME,
        SYSTEM_MESSAGE,
    }
)
"""Exactly what a client may send (API reference §5.2)."""

PROCESSED_ON_RECEIPT = frozenset({USER_CUSTOM_TOOL_RESULT, USER_TOOL_RESULT, USER_DEFINE_OUTCOME})
"""Client events whose `processed_at` is set when they are accepted (API reference §5.1)."""

INTERNAL = "internal"
"""Key of an event's private part: kept in the log for the harness, removed from every public view."""
