"""`python -m bench`: run stages, render the report, judge the last run; raw samples stay in the user's cache folder."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import gate, log, results, runner
from bench.figures import figures_of
from bench.registry import PEERS, STAGES, chosen
from bench.report.page import lines_of, write
from bench.scale import run as scale
from bench.soak import run as soak
from bench.stage import Order, Stage
from bench.stats import table
from bench.streams import run as streams

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
RECORDED = DOCS / "benchmarks" / "recorded.json"
_started = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one of the commands, or run the stages named; 0 when all of it went well."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else a run that is ended leaves its namespace behind
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]](words[1:])
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, epilog=f"commands: {', '.join(COMMANDS)}")
    parser.add_argument("stage", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; the quick ones if none")
    parser.add_argument("--samples", type=int, help="of each line, in place of the stage's own number")
    parser.add_argument("--warm", action="store_true", help="ask for warm harnesses and sandboxes where a row has them")
    parser.add_argument("--pin", action="store_true", help="generator and model on one core, the cluster elsewhere")
    asked = parser.parse_args(words)
    unknown = [name for name in asked.stage if name not in STAGES]
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}, and {', '.join(COMMANDS)}")
    order = Order(samples=asked.samples, warm=asked.warm, pin=asked.pin)
    return _measured(chosen(asked.stage, warm=asked.warm), order)


def _measured(stages: Sequence[Stage], order: Order) -> int:
    failed = asyncio.run(runner.run(stages, order, _say))
    last = results.latest()
    print("\n".join(lines_of(figures_of({s.id: last[s.id].samples for s in stages if s.id in last.keys() - failed}))))
    for stage, why in failed.items():
        print(f"{stage} failed: {why}")
    print(f"raw samples: {results.folder()}")
    return 1 if failed else 0


def _report(_: Sequence[str]) -> int:
    last = results.latest()
    every = {**STAGES, **PEERS}
    write(DOCS, every, last)
    print(f"{DOCS / 'benchmarks.md'}: {', '.join(stage for stage in every if stage in last)}")
    return 0


def _gate(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench gate", description=gate.__doc__)
    parser.add_argument("--record", action="store_true", help="make the last run the one to compare with")
    asked = parser.parse_args(words)
    last = results.latest()
    figures = figures_of({name: last[name].samples for name in STAGES if name in last})  # peers promise nothing
    if asked.record:
        gate.record(RECORDED, figures, results.machine())
        print(f"recorded in {RECORDED}")
        return 0
    found = gate.verdicts(figures, gate.recorded_at(RECORDED))
    print("\n".join(verdict.line() for verdict in found))
    return 1 if any(verdict.is_worse for verdict in found) else 0


def _peers(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench peers", description="Peers beside us; installs them on its first run.")
    parser.add_argument("--samples", type=int, help="of each line, in place of the stage's own number")
    return _measured([*PEERS.values()], Order(samples=parser.parse_args(words).samples))


def _streams(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench streams", description=streams.__doc__)
    parser.add_argument("--phase", action="append", choices=tuple(streams.PHASES), default=[], help="only this one")
    print(streams.measure(streams.Plan(), parser.parse_args(words).phase))
    return 0


def _log(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench log", description=log.__doc__)
    parser.add_argument("--samples", type=int, default=3200, help="appends of a load, and reads of a place")
    parser.add_argument("--events", type=int, default=200_000, help="how long the log is that is read")
    asked = parser.parse_args(words)
    rows, rates = asyncio.run(log.appends(asked.samples))
    print(table([*rows, *asyncio.run(log.reads(asked.events, asked.samples))]))
    print("".join(f"  {rate.line()}\n" for rate in rates), end="")
    return 0


def _say(text: str) -> None:
    print(f"bench: {time.monotonic() - _started:>5.0f} s  {text}", flush=True)


Command = Callable[[Sequence[str]], int]
COMMANDS: Mapping[str, Command] = {
    "report": _report,
    "gate": _gate,
    "peers": _peers,
    "streams": _streams,
    "log": _log,
    "soak": soak.main,
    "scale": scale.main,
}

if __name__ == "__main__":
    sys.exit(main())
