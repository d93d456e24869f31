"""The client as a hand: custom tools, which the user's own program runs and answers with an event.

Nothing is sent to it: the call's event and the idle event that names it are the request, `user.custom_tool_result` is
the result, and both are in the log. So what this adapter knows is what the log says.
"""

from managed_agents.harness.history.state import State
from managed_agents.harness.tools.hand import Call, HandUnavailableError, Lookup, NeverSeen, Running, ToolResult


class ClientHand:
    """The hand behind custom tools. Its calls are open for as long as the client likes."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def generation(self) -> int | None:
        """Return the one generation there ever is."""
        return 1

    async def provision(self) -> int:
        """Return at once: the client comes by itself."""
        return 1

    async def execute(self, call: Call) -> ToolResult:
        """Refuse: a client's call is answered by the client, not run. Raises: HandUnavailableError."""
        raise HandUnavailableError(message=f"{call.name} is run by the client.")

    async def lookup(self, call_id: str) -> Lookup:
        """Tell whether the client still owes the result; a settled call is not open any more."""
        return Running() if call_id in self._state.uses else NeverSeen()

    async def cancel(self, call_id: str) -> None:
        """Do nothing: the client sees the call's error result and need not answer."""
