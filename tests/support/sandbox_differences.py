"""Where our tools differ from `anthropic.lib.tools.agent_toolset` on purpose, and why. Anything else is a bug.

tests/contract/sandbox/test_toolset_differences.py shows each row.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One deliberate difference from the SDK's toolset."""

    id: str
    tool: str
    sdk: str
    ours: str
    reason: str
    shown_by: str  # a test of test_toolset_differences.py; empty: the reason says why not


DIFFERENCES = (
    Difference(
        "shell-restarts",
        "bash",
        "after a timeout or an exit of the shell each call fails with `bash session terminated; restart required`",
        "the next call runs in a new shell, and its result begins with a line that says so",
        "a model loses a turn, or gives up, over a state that one line explains",
        "test_the_call_after_a_timeout",
    ),
    Difference(
        "syntax-error",
        "bash",
        "an open quote waits for the timeout; another syntax error, or a blank command, ends the shell",
        "an error fails at once with bash's own message, a blank command does nothing; the shell lives",
        "120 s and the shell's state are a high price for a typing error",
        "test_a_syntax_error",
    ),
    Difference(
        "partial-output",
        "bash",
        "a timed-out command's output is lost",
        "the same message, followed by the output until then",
        "what a command printed before it hung says why",
        "test_the_call_after_a_timeout",
    ),
    Difference(
        "whole-session-killed",
        "bash",
        "on a timeout only the shell is killed; what it started goes on",
        "SIGTERM, 0.7 s, SIGKILL for the whole session of the shell",
        "a runaway process must not outlive the call that is reported as ended",
        "test_a_timeout_ends_what_the_command_started",
    ),
    Difference(
        "shell-killed",
        "bash",
        "a killed shell yields the output so far",
        "the same, and a line that says so; OOMKilled where the kernel counted it",
        "the model must learn that memory ran out",
        "test_a_killed_shell",
    ),
    Difference(
        "long-output",
        "*",
        "bash keeps the last 100 KiB, grep the first, read up to 256 KiB",
        "over 100,000 characters, or 100 KiB of bash output: a preview, and the path of a file with the whole",
        "the hosted service's rule; the SDK's own truncation applies below it only to a grep of 100 KiB",
        "test_output_over_the_limit",
    ),
    Difference(
        "timeout-bounds",
        "bash",
        "a negative timeout_ms times out at once; one over 150 s is cut by the session runner",
        "a negative one is refused; the most is 600 s",
        "an argument's error must not cost the shell; ten minutes of a test run are a reasonable wish",
        "test_a_negative_timeout",
    ),
    Difference(
        "argument-named",
        "*",
        "`ValueError('Invalid arguments for function X')`",
        "the same words, then the argument and what was expected",
        "a model corrects what it is told about",
        "test_an_invalid_argument",
    ),
    Difference(
        "write-special-file",
        "write",
        "opening a FIFO for writing blocks until the call's timeout",
        "refused: not a regular file",
        "as read and edit do",
        "test_writing_to_a_fifo",
    ),
    Difference(
        "unpaired-surrogate",
        "write, edit",
        "the text of an internal UnicodeEncodeError",
        "an error that names the argument and the position; the file is untouched",
        "clear message",
        "test_an_unpaired_surrogate",
    ),
    Difference(
        "xtrace",
        "bash",
        "`set -x` left on traces the command and the end marker's printf",
        "it traces an `eval` of the command before it, and that printf",
        "the price of `syntax-error`",
        "test_a_trace_left_on",
    ),
    Difference(
        "roots",
        "*",
        "the working directory and what its host allows",
        "/workspace, /mnt/session/outputs, /mnt/memory; read-only: /mnt/session/uploads and the folder of long outputs",
        "the paths of the hosted sandbox; the messages are the SDK's for a context with these roots",
        "",
    ),
    Difference(
        "exit-code-split",
        "bash",
        "an end marker that arrives apart from its exit code reads as a failure",
        "waits for the whole line",
        "a race in the SDK",
        "",
    ),
)
