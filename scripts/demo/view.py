"""Renders session events for a terminal, a line or a short block each."""

import json
import textwrap
from typing import Any

_DIM, _BOLD, _RED, _GREEN, _RESET = "\033[2m", "\033[1m", "\033[31m", "\033[32m", "\033[0m"
_RESULT_LINES_MAX = 14


class View:
    """Turns events into text; `colour` off gives plain text for logs."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def paint(self, text: str, *codes: str) -> str:
        """Wrap a text in terminal codes, or leave it plain."""
        return f"{''.join(codes)}{text}{_RESET}" if self._colour else text

    def heading(self, text: str) -> str:
        """Render the name of a step of the demo."""
        return self.paint(f"\n== {text}", _BOLD)

    def failure(self, text: str) -> str:
        """Render why the demo did not hold."""
        return self.paint(f"FAILED: {text}", _BOLD, _RED)

    def render(self, event: dict[str, Any]) -> str | None:
        """Render one event of the API, or None for those a reader need not see."""
        match event["type"]:
            case "user.message":
                return self.paint("user   ", _BOLD) + _first_line(_text(event))
            case "agent.message":
                return self.paint("agent  ", _BOLD, _GREEN) + _indent(_text(event))
            case "agent.tool_use":
                return self.paint("call   ", _BOLD) + f"{event['name']} {_input(event['input'])}"
            case "agent.tool_result":
                return self._result(event)
            case "session.status_running":
                return self.paint("       session is running", _DIM)
            case "session.status_idle":
                return self.paint(f"       session is idle: {event['stop_reason']['type']}", _DIM)
            case "session.error":
                return self.paint(f"error  {event['error']['type']}: {event['error']['message']}", _RED)
            case "session.usage":
                return self.paint("       " + _usage(event["usage"]), _DIM)
        return None

    def _result(self, event: dict[str, Any]) -> str:
        lines = _text(event).rstrip().splitlines() or ["(no output)"]
        shown = lines[:_RESULT_LINES_MAX]
        if len(lines) > len(shown):
            shown.append(f"… {len(lines) - len(shown)} more lines")
        code = _RED if event.get("is_error") else _DIM
        return "\n".join(self.paint(f"       {line}", code) for line in shown)


def _text(event: dict[str, Any]) -> str:
    return "\n".join(block.get("text", f"[{block['type']}]") for block in event.get("content") or [])


def _first_line(text: str) -> str:
    prose = text.split("```", maxsplit=1)[0].strip()
    return textwrap.shorten(prose, 300, placeholder=" …")


def _indent(text: str) -> str:
    return text.strip().replace("\n", "\n       ")


def _input(value: dict[str, Any]) -> str:
    text = value.get("command") if set(value) == {"command"} else json.dumps(value, ensure_ascii=False)
    return textwrap.shorten(str(text), 160, placeholder=" …")


def _usage(usage: dict[str, Any]) -> str:
    cost = usage.get("list_cost") or {"amount": "0", "currency": "USD"}
    return (
        f"usage so far: {usage['input_tokens']} input, {usage['output_tokens']} output tokens, "
        f"{int(cost['amount']) / 100:.2f} {cost['currency']}, {usage.get('active_seconds', 0):.1f} s active"
    )
