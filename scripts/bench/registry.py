"""All rows, in the order in which a run takes them. A new row is a file in `rows/` and a line here."""

from collections.abc import Mapping, Sequence

from bench.peers.model_proxies import STAGE as P2
from bench.peers.steps import STAGE as P1
from bench.rows.b01_create import STAGE as B1
from bench.rows.b02_create_object import STAGE as B2
from bench.rows.b03_first_token import STAGE as B3
from bench.rows.b04_steps import STAGE as B4
from bench.rows.b05_b06_log import B5, B6
from bench.rows.b07_b09_streams import B7, B8, B9
from bench.rows.b10_model_proxy import STAGE as B10
from bench.rows.b11_tool_round_trip import STAGE as B11
from bench.rows.b12_sandbox_cold import STAGE as B12
from bench.rows.b13_sandbox_warm import STAGE as B13
from bench.rows.b14_sandbox_resume import STAGE as B14
from bench.rows.b16_operator_recovery import STAGE as B16
from bench.rows.b17_reconcile_cost import STAGE as B17
from bench.rows.b18_idle_density import STAGE as B18
from bench.rows.b19_active_density import STAGE as B19
from bench.rows.b20_harness_footprint import STAGE as B20
from bench.rows.b21_noisy_neighbour import STAGE as B21
from bench.rows.b24_security_cost import STAGE as B24
from bench.rows.b25_admission import STAGE as B25
from bench.rows.burst import STAGE as C2
from bench.rows.coupling import STAGE as C1
from bench.stage import Stage

# B22 is `python -m bench soak`; B15 and B23 with durability.
_ROWS = (
    *(B1, B2, B3, B4, B5, B6, B7, B8, B9),
    *(B10, B11, B12, B13, B14, B16, B17, B18, B19, B20, B21, B24, B25),
    *(C1, C2),
)
STAGES: Mapping[str, Stage] = {stage.id: stage for stage in _ROWS}


def chosen(names: Sequence[str], *, warm: bool) -> list[Stage]:
    """Return the stages named, or those of the quick run. Raises: KeyError with the name that is none."""
    if names:
        return [STAGES[name] for name in names]
    return [stage for stage in STAGES.values() if stage.is_quick or (warm and stage.needs_warm)]


PEERS: Mapping[str, Stage] = {stage.id: stage for stage in (P1, P2)}
"""Run by `python -m bench peers`."""
