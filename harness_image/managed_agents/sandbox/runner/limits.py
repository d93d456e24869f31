"""The bounds of the tools, with unit and reason. Those marked SDK equal `anthropic.lib.tools.agent_toolset` 2.12."""

from __future__ import annotations

BASH_OUTPUT_BYTES_MAX = 100 * 1024  # SDK: what one bash result may hold
BASH_TIMEOUT_SECONDS = 120.0  # SDK: without `timeout_ms`
BASH_TIMEOUT_SECONDS_MAX = 600.0  # a turn must end; what takes longer belongs into the background
FILE_BYTES_MAX = 256 * 1024  # SDK: whole-file read, and edit
IMAGE_BASE64_BYTES_MAX = 5 * 1024 * 1024  # SDK: the Messages API's limit per image
PDF_BYTES_MAX = 20 * 1024 * 1024  # SDK: keeps a request under the Messages API's size limit
READ_CHUNK_BYTES = 64 * 1024
GREP_OUTPUT_CHARS_MAX = 100 * 1024  # SDK
GREP_LINE_BYTES_MAX = 2000  # SDK: a backtracking expression on a long line takes for ever
GREP_CPU_SECONDS = 30  # SDK
GLOB_RESULTS_MAX = 200  # SDK
WALK_ENTRIES_MAX = 50_000  # SDK
SYMLINK_HOPS_MAX = 40  # SDK, and Linux
FILE_TOOL_SECONDS_MAX = 150.0  # SDK: the session runner's bound on one call

RESULT_CHARS_MAX = 100_000  # the hosted service: longer output goes to a file, the model gets a preview and the path
PREVIEW_HEAD_CHARS = 10_000
PREVIEW_TAIL_CHARS = 20_000  # the end of a build or test log says more than its beginning
SPILL_FILE_BYTES_MAX = 32 * 1024 * 1024  # one output
SPILL_TOTAL_BYTES_MAX = 128 * 1024 * 1024  # all kept outputs; the oldest go first, for a full disk evicts the Pod

KILL_GRACE_SECONDS = 0.7  # SIGTERM to SIGKILL; an interrupt must take effect within two seconds, on a busy node too
UNACKED_RESULTS_MAX = 64  # results kept for a supervisor that restarts
FRAME_BYTES_MAX = 448 * 1024 * 1024  # a 64 MiB request body, every character of which JSON may escape to six
RECONNECT_SECONDS = 0.05
RECONNECT_SECONDS_MAX = 1.0
