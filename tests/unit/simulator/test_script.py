"""Scripts: what is read from a message, and what a bad one is told."""

from pathlib import Path

import pytest
import yaml

from managed_agents.simulator.script import parse_script, script_in, steps_from, without_scripts
from managed_agents.simulator.script_fields import ScriptError
from managed_agents.simulator.steps import Condition, Cut, Failure, Pace, Step, ToolCall

SAMPLES = Path(__file__).resolve().parents[3] / "manifests" / "samples"


def test_every_form_of_a_step_is_read() -> None:
    steps = parse_script(
        """
- text: "Hello {{i}}"
- {tool: bash, input: {command: "ls"}}
- tools: [{name: bash, input: {command: "a"}}, {name: read}]
  text: Both.
  thinking: Let me see.
- error: {status: 529, type: overloaded_error, message: Busy, retry_after: 1}
  times: 2
- {error: {status: 429}}
- {delay_seconds: 1, first_token_delay_seconds: 2, chunk_delay_seconds: 0.5, cut: {after_chars: 10}, times: 3}
- {cut: {after_chars: 3, error: {type: api_error}}}
- {stop_reason: refusal, category: cyber, explanation: No.}
- {hang_seconds: 60}
- text: Yes.
  if: {last_tool_result_contains: passed}
  unless: {last_user_text_contains: stop}
"""
    )

    assert steps == (
        Step(text="Hello {{i}}"),
        Step(tools=(ToolCall(name="bash", input={"command": "ls"}),)),
        Step(
            text="Both.",
            thinking="Let me see.",
            tools=(ToolCall(name="bash", input={"command": "a"}), ToolCall(name="read", input={})),
        ),
        Step(
            error=Failure(status=529, error_type="overloaded_error", message="Busy", retry_after_seconds=1.0), times=2
        ),
        Step(error=Failure(status=429, error_type="rate_limit_error", message="Simulated rate_limit_error")),
        Step(pace=Pace(delay=1.0, first_token=2.0, chunk=0.5), cut=Cut(after_chars=10), times=3),
        Step(
            cut=Cut(after_chars=3, failure=Failure(status=500, error_type="api_error", message="Simulated api_error"))
        ),
        Step(stop_reason="refusal", category="cyber", explanation="No."),
        Step(pace=Pace(hang=60.0)),
        Step(
            text="Yes.",
            when=Condition(last_tool_result_contains="passed"),
            unless=Condition(last_user_text_contains="stop"),
        ),
    )


def test_repeat_writes_the_step_out_numbered_from_one() -> None:
    steps = parse_script("- {text: a, repeat: 3}\n- {text: b}\n")

    assert [(step.text, step.i) for step in steps] == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", "a script is a YAML list of steps"),
        ("text: hi", "a script is a YAML list of steps"),
        ("[]", "a script has at least one step"),
        ("- text: a\n- txt: b", "line 2: unknown key 'txt'; allowed are text, thinking, tool, input"),
        ("- text: a\n\n- just words", "line 3: expected a mapping with text"),
        ("- {text: {{i}}}", "line 1, column"),
        ("- {text: 5}", "line 1: `text` is a text that is not empty; found 5; quote numbers and booleans"),
        ('- {text: ""}', "line 1: `text` is a text that is not empty"),
        ("- {if: {last_tool_result_contains: a}}", "line 1: the step says nothing"),
        ("- {text: a, if: {}}", "line 1: if: the condition is empty"),
        ("- {text: a, if: {result: b}}", "line 1: if: unknown key 'result'; allowed are last_tool_result_contains"),
        ("- {input: {a: 1}}", "line 1: `input` belongs to `tool`"),
        ("- {tool: bash, tools: []}", "line 1: a step has `tool` or `tools`, not both"),
        ("- {tools: []}", "line 1: `tools` is a list of {name, input}; found []"),
        ("- {tools: [{input: {}}]}", "line 1: tools[0]: the tool's name is a text such as `bash`; found None"),
        ("- {tool: bash, input: ls}", "line 1: tool: `input` is a mapping such as"),
        ("- {tool: bash, stop_reason: end_turn}", "line 1: a step with tools ends with `tool_use`"),
        ("- {stop_reason: tired}", "line 1: `stop_reason` is one of end_turn, max_tokens, refusal; found 'tired'"),
        ("- {stop_reason: refusal, category: bad}", "line 1: `category` is one of cyber, bio"),
        ("- {text: a, explanation: b}", "line 1: `category` and `explanation` belong to `stop_reason: refusal`"),
        ("- {error: {}}", "line 1: error: give a `status` such as 529"),
        ("- {error: {status: 200}}", "line 1: error: `status` is a number from 400 to 599; found 200"),
        ("- {error: {status: 500}, text: a}", "line 1: a step with `error` has no `text`; make that the next step"),
        ("- {error: {status: 500}, times: 0}", "line 1: `times` is a whole number from 1 to 1000000; found 0"),
        ("- {text: a, times: 2}", "line 1: `times` belongs to `error`, `cut` or `hang_seconds`"),
        ("- {cut: {after: 1}}", "line 1: cut: unknown key 'after'; allowed are after_chars, error"),
        ("- {text: a, delay_seconds: -1}", "line 1: `delay_seconds` is a number of seconds from 0 to 3600; found -1"),
        ("- {text: a, repeat: 6000}\n- {text: b, repeat: 6000}", "line 2: the script has more than 10000 steps"),
    ],
)
def test_bad_script_is_refused_saying_where_and_what_is_allowed(script: str, message: str) -> None:
    with pytest.raises(ScriptError) as refusal:
        parse_script(script)

    assert message in str(refusal.value)


def test_script_is_the_last_fenced_block_of_a_message() -> None:
    text = "Do:\n```script\n- {text: a}\n```\nor\n  ```script\n  - text: b\n    thinking: c\n  ```\nthanks"

    assert script_in(text) == "- text: b\n  thinking: c\n"
    assert without_scripts(text) == "Do:\n\nor\n\nthanks"


def test_backticks_inside_a_script_do_not_end_it() -> None:
    assert script_in('```script\n- {text: "```diff"}\n```') == '- {text: "```diff"}\n'
    assert script_in("````script\n- text: |\n    ```\n    x\n    ```\n````") == "- text: |\n    ```\n    x\n    ```\n"


def test_other_fences_are_no_scripts() -> None:
    assert script_in("```bash\nls\n```") is None
    assert script_in("the word ```script in a line") is None


def test_open_script_is_refused() -> None:
    with pytest.raises(ScriptError, match="not closed"):
        script_in("```script\n- {text: a}\n")


def test_json_steps_are_named_by_position() -> None:
    with pytest.raises(ScriptError, match=r"steps\[1\]: unknown key 'foo'"):
        steps_from([{"text": "a"}, {"foo": 1}], ["steps[0]", "steps[1]"])


def test_scripts_of_the_sample_manifests_are_valid() -> None:
    documents = [doc for path in SAMPLES.glob("*.yaml") for doc in yaml.safe_load_all(path.read_text()) if doc]
    events = [event for doc in documents for event in (doc.get("spec") or {}).get("events", [])]
    scripts = [script_in(part["text"]) for event in events for part in event["content"]]

    assert any(scripts)
    for script in scripts:
        assert script is None or parse_script(script)
