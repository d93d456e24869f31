import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.figures import figures_of
from bench.registry import PEERS, STAGES, chosen
from bench.report.cost import Machine, Need, needs, section
from bench.report.lines import bounded, shown
from bench.report.page import lines_of, page_of, write
from bench.report.plot import plot_of
from bench.results import Run, begin, end, keep, latest
from bench.stage import Order, Sample, Side, Stage
from bench.stats import Estimate

STAGE = Stage(id="B99", title="a row", path="a → b", floor="nothing", target="fast", seconds_max=1, note="Beware.")


def samples() -> list[Sample]:
    values = [float(value) for value in range(1, 41)]
    line = [Sample(case="first", value=3 * value) for value in values]
    line += [Sample(case="first", value=value, side=Side.FLOOR) for value in values]
    line += [Sample(case="first", value=value, side=Side.TWIN) for value in values]
    return [*line, Sample(case="cost of it", value=7.0, unit="cpu-ms")]


def run() -> Run:
    return Run(stage="B99", header={"header": "B99", "taken": "then", "cores": 2}, samples=samples())


def test_figures_are_by_line_and_unit_with_the_ratio_to_the_floor() -> None:
    first, cost = figures_of({"B99": samples()})
    assert (first.case, first.count) == ("first", 40)
    assert first.ratios[0.5].value == 3.0
    assert first.twin is not None
    assert first.twin.value == 1.0
    assert (cost.case, cost.unit, cost.ratios, cost.twin) == ("cost of it", "cpu-ms", {}, None)


def test_a_line_without_samples_of_the_path_is_no_figure() -> None:
    assert figures_of({"B99": [Sample(case="only a floor", value=1.0, side=Side.FLOOR)]}) == []


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (float("nan"), "-")]
)
def test_numbers_have_the_digits_that_matter(value: float, text: str) -> None:
    assert shown(value) == text


def test_a_single_figure_has_no_interval() -> None:
    assert bounded(Estimate(value=2.0, low=2.0, high=2.0)) == "2.00"
    assert bounded(Estimate(value=2.0, low=1.0, high=3.0)) == "2.00 [1.00, 3.00]"


def test_the_page_has_a_section_for_each_row_that_was_run_and_names_the_others() -> None:
    other = Stage(id="B98", title="not run", path="", floor="", target="", seconds_max=1)
    text = page_of({"B98": other, "B99": STAGE}, {"B99": run()}, plots=["B99"])
    assert "## B99 a row" in text
    assert "| first | ms | 40 |" in text
    assert "![B99 a row](benchmarks/B99.svg)" in text
    assert "Beware." in text
    assert "Not measured in this page: B98 not run." in text
    assert "## B98" not in text


def test_the_terminal_shows_the_same_figures() -> None:
    heading, first, cost = lines_of(figures_of({"B99": samples()}))
    assert heading.split()[0] == "row"
    assert first.startswith("B99  first")
    assert "7.00" in cost


def test_the_plot_is_well_formed_and_draws_the_lines_of_one_unit() -> None:
    image = plot_of(figures_of({"B99": samples()}))
    root = ElementTree.fromstring(image)  # noqa: S314 - made by the code under test
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "first" in texts
    assert "cost of it" not in texts
    assert len([element for element in root.iter() if element.tag.endswith("circle")]) == 2


def test_a_plot_of_zeros_is_none() -> None:
    assert plot_of(figures_of({"B99": [Sample(case="writes", value=0.0, unit="writes")]})) == ""


def test_a_name_that_is_no_xml_is_escaped_in_the_plot() -> None:
    ElementTree.fromstring(plot_of(figures_of({"B99": [Sample(case="a < b & c", value=1.0)]})))  # noqa: S314 - our own


def test_writing_makes_the_page_and_its_plots(tmp_path: Path) -> None:
    write(tmp_path, {"B99": STAGE}, {"B99": run()})
    assert (tmp_path / "benchmarks.md").read_text().startswith("# Benchmarks")
    assert (tmp_path / "benchmarks" / "B99.svg").exists()


def test_raw_samples_come_back_as_they_were_and_the_newest_run_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second, value in (("10", 1.0), ("11", 2.0)):
        monkeypatch.setattr(time, "strftime", lambda *_, at=second: f"20260101T0000{at}Z")
        with begin("B99", {"warm": True}, tmp_path) as file:
            keep(file, "B99", Sample(case="first", value=value, side=Side.FLOOR, unit="KB"))
            end(file, "B99")
    with begin("B98", {}, tmp_path) as file:
        keep(file, "B98", Sample(case="of a run that broke off", value=1.0))
    found = latest(tmp_path)
    assert set(found) == {"B99"}
    assert found["B99"].samples == [Sample(case="first", value=2.0, side=Side.FLOOR, unit="KB")]
    assert found["B99"].header["warm"] is True


def test_the_scarcer_of_cpu_and_memory_makes_the_price() -> None:
    machine = Machine(vcpus=4, memory_gb=16, usd_an_hour=0.2, fill=0.5)
    assert Need(name="n", vcpus=1, memory_gb=1).usd_an_hour(machine) == pytest.approx(0.1)
    assert Need(name="n", vcpus=0, memory_gb=8).usd_an_hour(machine) == pytest.approx(0.2)


def test_the_price_is_told_of_what_was_measured_and_of_nothing_else() -> None:
    idle = Sample(case="memory, all processes", value=16.0, unit="KB a session")
    cpu = Sample(case="CPU of an active session", value=100.0, unit="mCPU")
    memory = Sample(case="memory of an active session", value=200.0, unit="MB")
    assert needs(figures_of({"B18": [idle]})) == [Need(name="idle", vcpus=0.0, memory_gb=16e-6)]
    assert section([], Machine()) == []
    text = "\n".join(section(figures_of({"B18": [idle], "B19": [cpu, memory]}), Machine()))
    assert "| idle |" in text
    assert "| active, a step a second | 0.100 | 200 MB |" in text


def test_every_row_is_known_by_its_own_id_and_can_be_run() -> None:
    for name, stage in {**STAGES, **PEERS}.items():
        assert name == stage.id
        assert (stage.measure is None) != (stage.alone is None)
        assert stage.target


def test_the_quick_run_leaves_out_what_takes_long_and_what_needs_warm_pods() -> None:
    names = {stage.id for stage in chosen([], warm=False)}
    assert {"B1", "B2", "B3", "B11", "B12", "B17", "B18", "B25"} <= names
    assert "B13" not in names
    assert "B13" in {stage.id for stage in chosen([], warm=True)}
    assert [stage.id for stage in chosen(["B19"], warm=False)] == ["B19"]


def test_the_quick_run_is_bounded_by_a_quarter_of_an_hour_of_what_is_usual() -> None:
    assert Order().count(20) == 20
    assert Order(samples=1000).count(20) == 1000
