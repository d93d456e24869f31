"""Each row of `DIFFERENCES`, shown on both toolsets: when the SDK changes, a row that no longer holds fails here."""

import os
from pathlib import Path

import pytest

from support.sandbox_differences import DIFFERENCES
from support.sandbox_pair import Pair, Result

pytestmark = pytest.mark.slow  # real shells in real processes


def text_of(result: Result) -> str:
    text: str = result[0][0]["text"]
    return text


def is_alive(pid: str) -> bool:
    stat = Path("/proc", pid, "stat")
    return stat.exists() and ") Z " not in stat.read_text()  # a zombie here only waits for this machine's PID 1


async def test_the_call_after_a_timeout(pair: Pair) -> None:
    sdk, ours = await pair.call("bash", command="echo before; sleep 300", timeout_ms=200)
    assert text_of(sdk) == "bash: bash command timed out after 0.2s"
    assert text_of(ours) == text_of(sdk) + "\n[output until then follows]\nbefore"
    assert (sdk[1], ours[1]) == (True, True)
    sdk, ours = await pair.call("bash", command="echo next")
    assert (text_of(sdk), sdk[1]) == ("bash: bash session terminated; restart required", True)
    assert ours[1] is False
    assert text_of(ours) == (
        "[bash session restarted: the previous shell was ended with the command that timed out; "
        "working directory, variables and background jobs were reset]\nnext"
    )


async def test_a_timeout_ends_what_the_command_started(pair: Pair) -> None:
    command = "sh -c 'trap : TERM; echo $$ >BASE/work/pid; while :; do sleep 1; done'"
    await pair.ours.call("bash", {"command": command.replace("BASE", str(pair.ours.base)), "timeout_ms": 300})
    assert not is_alive((pair.ours.base / "work" / "pid").read_text().strip())


@pytest.mark.parametrize(
    "command", ["echo 'open", "echo )", "if true; then", "x=(", "cat <(", "echo a &&\\", "   ", "# only a comment"]
)
async def test_a_syntax_error(pair: Pair, command: str) -> None:
    await pair.ours.call("bash", {"command": "KEPT=1"})
    blocks, _ = await pair.ours.call("bash", {"command": command})
    assert "timed out" not in blocks[0]["text"]
    assert text_of(await pair.ours.call("bash", {"command": "echo $KEPT"})) == "1"


async def test_a_killed_shell(pair: Pair) -> None:
    sdk, ours = await pair.call("bash", command="echo out; kill -9 $$")
    assert text_of(sdk) == "out"
    assert text_of(ours) == "out\n[the shell itself was killed while the command ran]"


async def test_output_over_the_limit(pair: Pair) -> None:
    sdk, ours = await pair.call("bash", command="seq 1 100000")
    assert text_of(sdk).startswith("[output truncated]\n")
    assert text_of(ours).startswith(
        "[output truncated]\n[588895 bytes in all; the whole output is in BASE/spill/call_1.txt"
    )
    assert text_of(ours).endswith("\n99999\n100000")
    assert (pair.ours.base / "spill" / "call_1.txt").read_text() == "".join(f"{n}\n" for n in range(1, 100_001))


async def test_a_file_over_the_limit(pair: Pair) -> None:
    pair.on_both(lambda base: (base / "work" / "f.txt").write_text("x" * 100_001))
    sdk, ours = await pair.call("read", file_path="f.txt")
    assert len(text_of(sdk)) == 100_001
    assert text_of(ours).startswith("[output truncated]\n[100001 characters in all; the whole output is in f.txt")
    pair.on_both(lambda base: (base / "work" / "f.txt").write_text("x" * 100_000))
    await pair.same("read", file_path="f.txt")


async def test_a_negative_timeout(pair: Pair) -> None:
    _, ours = await pair.call("bash", command="true", timeout_ms=-1)
    assert text_of(ours) == "bash: timeout_ms must be positive, not -1"


@pytest.mark.parametrize(
    ("name", "arguments", "more"),
    [
        ("read", {}, "file_path: missing"),
        ("read", {"file_path": None}, "file_path: expected a string"),
        ("read", {"file_path": 1}, "file_path: expected a string"),
        ("read", {"file_path": "a", "view_range": "1"}, "view_range: expected a list of integers"),
        ("read", {"file_path": "a", "view_range": [1.5, 2]}, "view_range: expected an integer"),
        ("read", {"file_path": "a", "limit": 3}, "limit: not a parameter; allowed: file_path, view_range"),
        ("bash", {"command": "true", "restart": "perhaps"}, "restart: expected true or false"),
        ("bash", {"command": "true", "timeout_ms": "soon"}, "timeout_ms: expected an integer"),
        ("edit", {"file_path": "a", "old_string": "x"}, "new_string: missing"),
    ],
)
async def test_an_invalid_argument(pair: Pair, name: str, arguments: dict[str, object], more: str) -> None:
    sdk, ours = await pair.call(name, **arguments)
    assert text_of(sdk) == f"ValueError('Invalid arguments for function {name}')"
    assert text_of(ours) == f"Invalid arguments for function {name}: {more}"
    assert (sdk[1], ours[1]) == (True, True)


async def test_writing_to_a_fifo(pair: Pair) -> None:
    os.mkfifo(pair.ours.base / "work" / "fifo")
    assert text_of(await pair.ours.call("write", {"file_path": "fifo", "content": "x"})) == (
        "write: fifo: not a regular file"
    )


async def test_an_unpaired_surrogate(pair: Pair) -> None:
    pair.on_both(lambda base: (base / "work" / "f").write_text("kept"))
    sdk, ours = await pair.call("write", file_path="f", content="a\ud800")
    assert text_of(sdk).startswith("UnicodeEncodeError(")
    assert text_of(ours) == "write: content is not valid Unicode: an unpaired surrogate at 1"
    assert (pair.ours.base / "work" / "f").read_text() == "kept"


async def test_a_trace_left_on(pair: Pair) -> None:
    for command in ("set -x", "echo hi"):
        _, ours = await pair.call("bash", command=command)
    assert "+ eval $'echo hi'" in text_of(ours) or "+ eval 'echo hi'" in text_of(ours)


def test_every_difference_is_shown_here() -> None:
    assert {row.shown_by for row in DIFFERENCES if row.shown_by} <= set(globals())
