"""The model without a script: it says what it heard, and runs the lines that start with `$ `."""

from collections.abc import Collection, Sequence
from typing import Final

from managed_agents.simulator.answer import Part, TextPart, ToolUsePart
from managed_agents.simulator.conversation import Turn, last_tool_result, last_user_text
from managed_agents.simulator.script import without_scripts
from managed_agents.simulator.templates import RESULT_CHARS_MAX

ECHO_CHARS_MAX: Final = 500
PROMPT: Final = "$ "


def unscripted_parts(turns: Sequence[Turn], tool_names: Collection[str], tool_use_id: str) -> tuple[Part, ...]:
    """One `bash` call per `$ ` line of the latest user text, each in a request of its own, then what they gave."""
    text = without_scripts(last_user_text(turns))
    commands = [line[len(PROMPT) :].strip() for line in text.splitlines() if line.startswith(PROMPT)]
    commands = [command for command in commands if command]
    if not commands or "bash" not in tool_names:
        return (TextPart(text=f"You said: {text[:ECHO_CHARS_MAX]}"),)
    done = _answers_since_text(turns)
    if done < len(commands):
        return (ToolUsePart(id=tool_use_id, name="bash", input={"command": commands[done]}),)
    result = last_tool_result(turns)[:RESULT_CHARS_MAX]
    return (TextPart(text=f"The command gave:\n{result}" if result else "The command gave no output."),)


def _answers_since_text(turns: Sequence[Turn]) -> int:
    answers = 0
    for turn in reversed(turns):
        if turn.role == "user" and turn.of_kind("text"):
            break
        answers += turn.role == "assistant"
    return answers
