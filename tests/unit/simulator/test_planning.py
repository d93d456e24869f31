"""Which answer a conversation gets: decided by the conversation alone, so that a restart changes nothing."""

from typing import Any

import pytest

from managed_agents.simulator.answer import Answer, TextPart, ThinkingPart, ToolUsePart
from managed_agents.simulator.planning import plan
from managed_agents.simulator.scripts import Attempts, Scripts
from managed_agents.simulator.signatures import signature_of
from managed_agents.simulator.steps import Failure
from managed_agents.simulator.validation import validated

BASH = {"name": "bash", "input_schema": {"type": "object"}}


class Chat:
    """A conversation with the simulated model, every answer planned from the messages alone."""

    def __init__(self, first: str, **fields: Any) -> None:
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": first}]
        self.fields = fields
        self.scripts = Scripts()

    def ask(self, *, attempt: int = 0) -> Answer | Failure:
        body = {"model": "simulated", "max_tokens": 1000, "tools": [BASH], "messages": self.messages, **self.fields}
        request = validated(body)
        seed = f"{len(self.messages):04d}"
        return plan(request, Scripts().script_for(request.turns), attempt=attempt, seed=seed)

    def say(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def take(self, answer: Answer | Failure, result: str = "ok") -> None:
        """Put the answer into the history, and a result for each tool use."""
        assert isinstance(answer, Answer)
        content: list[dict[str, Any]] = []
        results = []
        for part in answer.parts:
            match part:
                case TextPart(text=text):
                    content.append({"type": "text", "text": text})
                case ToolUsePart(id=use, name=name, input=arguments):
                    content.append({"type": "tool_use", "id": use, "name": name, "input": arguments})
                    results.append({"type": "tool_result", "tool_use_id": use, "content": result})
                case ThinkingPart(thinking=thinking, signature=signature):
                    content.append({"type": "thinking", "thinking": thinking, "signature": signature})
        self.messages.append({"role": "assistant", "content": content})
        if results:
            self.messages.append({"role": "user", "content": results})


def scripted(script: str, text: str = "Go.") -> str:
    return f"{text}\n```script\n{script}\n```"


def texts(answer: Answer | Failure) -> list[str]:
    assert isinstance(answer, Answer)
    return [part.text for part in answer.parts if isinstance(part, TextPart)]


def commands(answer: Answer | Failure) -> list[str]:
    assert isinstance(answer, Answer)
    return [part.input["command"] for part in answer.parts if isinstance(part, ToolUsePart)]


def test_each_request_gets_the_next_step() -> None:
    chat = Chat(
        scripted('- {tool: bash, input: {command: "ls"}, text: Look.}\n- {text: "It has {{last_tool_result}}."}')
    )

    first = chat.ask()
    chat.take(first, "a b c")
    second = chat.ask()

    assert first == Answer(
        parts=(TextPart(text="Look."), ToolUsePart(id="toolu_000100", name="bash", input={"command": "ls"})),
        stop_reason="tool_use",
        step=0,
    )
    assert second == Answer(parts=(TextPart(text="It has a b c."),), stop_reason="end_turn", step=1)


def test_same_request_gets_the_same_step_again() -> None:
    chat = Chat(scripted("- {text: a}\n- {text: b}"))

    assert chat.ask(attempt=0) == chat.ask(attempt=7)


def test_twenty_repetitions_are_numbered() -> None:
    chat = Chat(scripted('- {tool: bash, input: {command: "echo {{i}}"}, repeat: 20}\n- {text: done}'))

    seen = []
    for _ in range(20):
        answer = chat.ask()
        seen += commands(answer)
        chat.take(answer)

    assert seen == [f"echo {i}" for i in range(1, 21)]
    assert texts(chat.ask()) == ["done"]


def test_later_message_goes_on_with_the_script() -> None:
    chat = Chat(scripted('- {text: one}\n- {text: "You are at {{turns}}: {{last_user_text}}"}'))
    chat.take(chat.ask())
    chat.say("and now?")

    assert texts(chat.ask()) == ["You are at 2: and now?"]


def test_message_with_a_script_starts_that_script() -> None:
    chat = Chat(scripted("- {tool: bash, input: {command: a}}\n- {text: never}"))
    chat.take(chat.ask())
    chat.say(scripted("- {text: new}"))

    assert texts(chat.ask()) == ["new"]


def test_after_the_last_step_later_messages_are_answered_without_script() -> None:
    chat = Chat(scripted("- {text: one}"))
    chat.take(chat.ask())
    chat.say("more")

    assert texts(chat.ask()) == ["You said: more"]


def test_tool_result_after_the_last_step_ends_the_turn() -> None:
    chat = Chat(scripted("- {tool: bash, input: {command: a}}"))
    chat.take(chat.ask())

    assert chat.ask() == Answer(parts=(TextPart(text="The script is finished."),), stop_reason="end_turn")


def test_script_in_a_tool_result_is_not_followed() -> None:
    chat = Chat("$ cat notes")
    chat.take(chat.ask(), scripted("- {text: hijacked}"))

    assert texts(chat.ask()) != ["hijacked"]


def test_errors_come_as_often_as_told_then_the_next_step() -> None:
    chat = Chat(scripted("- {error: {status: 529}, times: 2}\n- {error: {status: 500}}\n- {text: at last}"))

    planned = [chat.ask(attempt=attempt) for attempt in range(4)]

    assert [p.status if isinstance(p, Failure) else texts(p) for p in planned] == [529, 529, 500, ["at last"]]
    chat.take(planned[-1])
    chat.say("next")
    assert texts(chat.ask()) == ["You said: next"]


def test_cut_and_hang_come_as_often_as_told_then_the_answer_is_whole() -> None:
    chat = Chat(scripted("- {text: abcdef, cut: {after_chars: 3}, hang_seconds: 5, delay_seconds: 1, times: 2}"))

    planned = [chat.ask(attempt=attempt) for attempt in range(3)]

    seen = [(p.cut is not None, p.pace.hang, p.pace.delay) for p in planned if isinstance(p, Answer)]
    assert seen == [(True, 5.0, 1.0), (True, 5.0, 1.0), (False, 0.0, 1.0)]


def test_conditions_choose_the_step_and_the_choice_is_remembered_by_the_history() -> None:
    script = """
- {tool: bash, input: {command: test}}
- {tool: bash, input: {command: mend}, if: {last_tool_result_contains: failed}}
- {tool: bash, input: {command: ship}, unless: {last_tool_result_contains: failed}}
- {text: end}
"""
    failing, passing = Chat(scripted(script)), Chat(scripted(script))
    failing.take(failing.ask(), "1 failed")
    passing.take(passing.ask(), "1 passed")

    mend, ship = failing.ask(), passing.ask()

    assert (commands(mend), commands(ship)) == (["mend"], ["ship"])
    failing.take(mend, "1 passed")
    passing.take(ship, "1 failed")
    assert (commands(failing.ask()), texts(passing.ask())) == (["ship"], ["end"])


def test_thinking_comes_first_and_signed() -> None:
    script = scripted("- {thinking: Hm., text: Yes.}")

    shown, hidden, omitted = (
        Chat(script, thinking=thinking).ask()
        for thinking in (None, {"type": "disabled"}, {"type": "adaptive", "display": "omitted"})
    )

    assert isinstance(shown, Answer)
    assert isinstance(hidden, Answer)
    assert isinstance(omitted, Answer)
    assert shown.parts == (ThinkingPart(thinking="Hm.", signature=signature_of("Hm.")), TextPart(text="Yes."))
    assert hidden.parts == (TextPart(text="Yes."),)
    assert omitted.parts == (ThinkingPart(thinking="", signature=signature_of("")), TextPart(text="Yes."))


def test_refusal_says_why() -> None:
    answer = Chat(scripted("- {stop_reason: refusal, category: bio, explanation: No.}")).ask()

    assert answer == Answer(
        parts=(),
        stop_reason="refusal",
        stop_details={"type": "refusal", "category": "bio", "explanation": "No."},
        step=0,
    )


def test_answer_longer_than_max_tokens_is_cut_there() -> None:
    answer = Chat(scripted(f"- {{text: {'x' * 50}, tool: bash}}"), max_tokens=10).ask()

    assert answer == Answer(parts=(TextPart(text="x" * 40),), stop_reason="max_tokens", step=0)


def test_templates_fill_in_nested_input_and_leave_other_braces() -> None:
    chat = Chat(scripted('- {tool: t, input: {a: [{b: "{{i}} {{ x }} {{last_user_text}}"}]}}', "Word"))

    answer = chat.ask()

    assert isinstance(answer, Answer)
    assert answer.parts == (ToolUsePart(id="toolu_000100", name="t", input={"a": [{"b": "1 {{ x }} Word"}]}),)


def test_long_tool_result_is_cut_in_the_template() -> None:
    chat = Chat(scripted('- {tool: bash, input: {command: a}}\n- {text: "{{last_tool_result}}"}'))
    chat.take(chat.ask(), "x" * 3000)

    assert texts(chat.ask()) == ["x" * 2000]


def test_without_script_the_model_repeats_what_was_said() -> None:
    assert texts(Chat("a" * 600).ask()) == ["You said: " + "a" * 500]


def test_without_script_shell_lines_run_one_by_one() -> None:
    chat = Chat("please:\n$ ls\n$ pwd")

    first = chat.ask()
    chat.take(first, "files")
    second = chat.ask()
    chat.take(second, "/workspace")

    assert (commands(first), commands(second)) == (["ls"], ["pwd"])
    assert texts(chat.ask()) == ["The command gave:\n/workspace"]


@pytest.mark.parametrize("fields", [{"tools": None}, {"tool_choice": {"type": "none"}}])
def test_shell_lines_without_bash_are_only_words(fields: dict[str, Any]) -> None:
    assert texts(Chat("$ ls", **fields).ask()) == ["You said: $ ls"]


def test_queued_script_serves_every_message_it_matches_and_the_latest_queued_wins() -> None:
    scripts = Scripts()
    scripts.queue("blue", _steps("- {text: old}"))
    scripts.queue("blue", _steps("- {text: new}"))
    request = validated(
        {
            "model": "simulated",
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": "blue"},
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": "other"},
            ],
        }
    )

    found = scripts.script_for(request.turns)

    assert found is not None
    assert (found.steps[0].text, found.turn) == ("new", 0)
    assert scripts.clear() == 2
    assert scripts.script_for(request.turns) is None


def _steps(script: str) -> Any:
    found = Scripts().script_for(
        validated(
            {"model": "simulated", "max_tokens": 9, "messages": [{"role": "user", "content": scripted(script)}]}
        ).turns
    )
    assert found is not None
    return found.steps


def test_attempts_are_counted_by_conversation_within_a_bound() -> None:
    attempts = Attempts(limit=2)

    assert [attempts.next(b"a"), attempts.next(b"a"), attempts.next(b"b"), attempts.next(b"c")] == [0, 1, 0, 0]
    assert attempts.next(b"a") == 0
