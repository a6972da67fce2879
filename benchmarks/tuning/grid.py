"""python -m benchmarks.tuning.grid --model DIR --try NAME=V,V --out FILE.json

Measures every configuration of a grid on the real engine, at a ladder of loads, and writes it as
a surface file. Each configuration is started several times, in a fresh random order each round,
so that the noise between starts is seen and no drift is taken for an effect of a setting.

What was measured is appended to FILE.runs.jsonl; a grid that was cut goes on where it stopped.
"""

import argparse
import dataclasses
import itertools
import json
import random
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.tuning.gridsurface import TAILS, Meta, assemble

from deployctl.errors import DeployctlError
from deployctl.events import silent
from deployctl.load import slo as slos
from deployctl.load.folder import SUMMARY
from deployctl.operations.fetch import bring
from deployctl.operations.prepare import prepare
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets.guards import interruptible
from deployctl.tuning.enginebench import EngineBench
from deployctl.tuning.plans import Plans
from deployctl.tuning.space import now
from deployctl.tuning.trial import Configuration, Failure, Load, Observation, Value
from deployctl_loadtest.result import Setup

# A load that later starts measure twice: what differs then is the run, not the start.
_TWICE = 1  # place in the ladder


def main() -> int:
    """Reads the command line; returns 0, or the exit code of what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning.grid")
    parser.add_argument("--model", required=True)
    parser.add_argument("--try", dest="space", action="append", required=True, metavar="NAME=V,V")
    parser.add_argument("--users", default="2,4,8,16", metavar="N,N")
    parser.add_argument("--slo", required=True)
    parser.add_argument("--input-tokens", type=int, default=600)
    parser.add_argument("--output-tokens", type=int, default=16)
    parser.add_argument("--window", type=float, default=6.0, metavar="SECONDS")
    parser.add_argument("--warmup", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--starts", type=int, default=2, help="of each configuration")
    parser.add_argument("--minutes", type=float, help="stop early; the same command goes on")
    parser.add_argument("--eager", action="store_true", help="no torch.compile")
    parser.add_argument("--port", type=int)
    parser.add_argument("--raw", type=Path, default=Path("results/grid"), metavar="DIR")
    parser.add_argument("--title", default="")
    parser.add_argument("--hardware", required=True, help="in words")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    given = parser.parse_args()
    try:
        with interruptible():
            return run(given)
    except DeployctlError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code


def run(given: argparse.Namespace) -> int:
    """Measures what is missing, then writes the surface from all there is."""
    space = [_values(text) for text in given.space]
    prepared = prepare(
        ServiceSpec(model=given.model, gpu="cpu", name="grid", enforce_eager=given.eager)
    )
    current = {name: now(name, prepared.spec, prepared.plan) for name, _ in space}
    record = Record(given.out.with_suffix(".runs.jsonl"))
    loads = [float(n) for n in given.users.split(",")]
    setup = Setup(
        service=None,
        url="",
        model="",
        api="chat",
        users=1,
        duration_s=given.window,
        warmup_s=given.warmup,
        input_tokens=given.input_tokens,
        output_tokens=given.output_tokens,
        ignore_eos=True,
        seed=0,
        request_timeout_s=60.0,
    )
    request_tokens = float(given.input_tokens + given.output_tokens)
    with EngineBench(
        Plans(prepared.spec, prepared.facts, prepared.profile, request_tokens),
        setup=setup,
        slo=slos.parse(given.slo),
        folder=given.raw,
        settings=Settings(),
        bring=partial(bring, tell=silent),
        port=given.port,
    ) as bench:
        _fill(bench, record, _order(space, current, given.starts), loads, given)
    meta = Meta(
        name=given.out.stem,
        title=given.title or given.out.stem,
        model=Path(given.model).name,
        engine=prepared.plan.engine.version,
        hardware=given.hardware,
        parameters=[(name, values, current[name]) for name, values in space],
        slo=given.slo,
        input_tokens=given.input_tokens,
        output_tokens=given.output_tokens,
        window_s=given.window,
        eager=given.eager,
    )
    document = assemble(meta, record.lines)
    given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _fill(
    bench: EngineBench,
    record: "Record",
    order: Sequence[tuple[int, Configuration]],
    loads: Sequence[float],
    given: argparse.Namespace,
) -> None:
    begun, longest = time.monotonic(), 0.0
    for number, configuration in order:
        if record.has(number, configuration):
            continue
        if given.minutes and time.monotonic() - begun + longest > 60 * given.minutes:
            print("stopped early; the same command goes on", file=sys.stderr)
            return
        at = time.monotonic()
        record.add(_one(bench, number, configuration, loads, given))
        longest = max(longest, time.monotonic() - at)


def _one(
    bench: EngineBench,
    number: int,
    configuration: Configuration,
    loads: Sequence[float],
    given: argparse.Namespace,
) -> dict[str, Any]:
    """One start with all its measurements."""
    started = bench.start(configuration)
    line: dict[str, Any] = {"settings": configuration.settings, "start": number}
    line["at_unix_s"] = round(time.time())
    if isinstance(started, Failure):
        return {**line, "failure": {"at": "start", **dataclasses.asdict(started)}}
    line["startup_s"] = started.seconds
    line["runs"] = runs = []
    seeds = random.Random(f"{configuration} {number}")
    for load in [*loads, *([loads[_TWICE]] if number > 1 else [])]:
        seen = bench.measure(Load("users", load), given.window, seeds.getrandbits(47))
        if isinstance(seen, Failure):
            failure = {"at": "load", "above": load - 0.5, **dataclasses.asdict(seen)}
            return {**line, "failure": failure}
        if isinstance(seen, Observation):
            runs.append(_plain(seen, given.raw))
        print(f"{configuration} start {number}, {load:g} users: {seen}", file=sys.stderr)
    return line


def _plain(seen: Observation, raw: Path) -> dict[str, Any]:
    values = dataclasses.asdict(seen)
    del values["folder"], values["why"]
    assert seen.folder is not None
    latency = json.loads((raw / seen.folder / SUMMARY).read_text(encoding="utf-8"))["latency"]
    for column, (measure, percentile) in TAILS.items():
        spread = latency[measure]
        values[column] = spread and spread[percentile]
    return {**values, "load": seen.load.value, "spent_s": round(seen.spent_s, 2)}


def _values(text: str) -> tuple[str, tuple[Value, ...]]:
    name, _, values = text.partition("=")
    return name, tuple(int(v) if v.isdigit() else v for v in values.split(","))


def _order(
    space: Sequence[tuple[str, tuple[Value, ...]]], current: dict[str, Value | None], starts: int
) -> list[tuple[int, Configuration]]:
    """Rounds over the whole grid, each in an order of its own, always the same."""
    names = [name for name, _ in space]
    grid = [
        Configuration.of({n: v for n, v in zip(names, row, strict=True) if v != current[n]})
        for row in itertools.product(*(values for _, values in space))
    ]
    order = []
    for number in range(1, starts + 1):
        mixed = sorted(grid, key=str)
        random.Random(number).shuffle(mixed)
        order += [(number, configuration) for configuration in mixed]
    return order


class Record:
    """The file of what was measured: a line a start, appended when it is complete."""

    def __init__(self, file: Path) -> None:
        self._file = file
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    def has(self, number: int, configuration: Configuration) -> bool:
        """Whether that start is done."""
        wanted = configuration.settings
        return any(x["start"] == number and x["settings"] == wanted for x in self.lines)

    def add(self, line: dict[str, Any]) -> None:
        """Keeps a start."""
        self.lines.append(line)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
