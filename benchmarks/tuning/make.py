"""Writes surfaces/*.json.gz, the synthetic ones: `python -m benchmarks.tuning.make`.

Cards and models are real, figures come from `model`; where they come from is written into each
file. Nothing is drawn here: the noise is the bench's.
"""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.data import write_compressed
from benchmarks.tuning.model import Engine, Settings, State
from benchmarks.tuning.recipes import RECIPES, Recipe

HERE = Path(__file__).resolve().parent
COLUMNS = (
    "load", "requests_per_s", "output_tokens_per_s", "ttft_p50_s", "ttft_p95_s", "itl_p50_s",
    "itl_p95_s", "e2e_p50_s", "e2e_p95_s", "preemptions", "kv_cache_usage_max", "waiting_max",
)  # fmt: skip
NAMES = {
    "seqs": "max_num_seqs",
    "tokens": "max_num_batched_tokens",
    "tp": "tensor_parallel_size",
    "utilization": "gpu_memory_utilization",
}

CARDS = "memory, bandwidth and TFLOPS of the card: deploy/profiles, from NVIDIA's datasheets"
SHAPE = "layers, heads and sizes of the model: its config.json"
PUBLISHED = (
    "order of magnitude held against the throughputs that GPUStack's documentation gives for "
    "Qwen3-8B with ShareGPT on vLLM 0.9.2, tok/s: RTX 4090 AWQ 5653, A100 BF16 10338, H100 13305"
)
DEFAULTS = "current values: vLLM 0.32's defaults for the API server (engine/arg_utils.py)"


def points(recipe: Recipe) -> list[dict[str, Any]]:
    """Every configuration of the space."""
    found = []
    for values in itertools.product(*recipe.space.values()):
        chosen = dict(zip(recipe.space, values, strict=True))
        settings = {NAMES[k]: v for k, v in chosen.items() if v != recipe.current[k]}
        engine = _engine(recipe, recipe.current if recipe.flat else chosen)
        point: dict[str, Any] = {"settings": settings, **_startup(recipe, engine)}
        point["prior"] = _prior(engine, recipe)
        failure = _failure(recipe, chosen, engine)
        if failure is not None:
            point["failure"] = failure
        if failure is None or failure["at"] == "load":
            point["rows"] = _rows(recipe, engine)
        found.append(point)
    return found


def _engine(recipe: Recipe, chosen: dict[str, Any]) -> Engine:
    given = Settings(seqs=256, tokens=2048, gpus=recipe.gpus)
    return Engine(recipe.card, recipe.model, recipe.traffic, replace(given, **chosen))


def _startup(recipe: Recipe, engine: Engine) -> dict[str, float]:
    """Weights from the page cache at 2 GB/s and a card, graphs by sequences; the first start of
    a configuration compiles as well."""
    seconds = recipe.startup + engine.model.weights_gib / engine.given.tp / 2
    seconds += engine.given.seqs / 100
    return {"startup_s": round(seconds, 1), "first_startup_s": round(seconds + 25, 1)}


def _prior(engine: Engine, recipe: Recipe) -> dict[str, float]:
    """What a plan expects: a roofline, which is 1.3 to 2 times what comes of it."""
    replicas = recipe.gpus // engine.given.tp
    roofline = 1.4 * replicas * engine.capacity() * recipe.traffic.output
    return {
        "concurrency": round(engine.fits * 0.2, 1),
        "decode_tokens_s": float(f"{roofline:.3g}"),
        "prefill_tokens_s": float(f"{replicas / engine.prefill_s:.3g}"),
        "startup_s": 90.0,
    }


def _failure(recipe: Recipe, chosen: dict[str, Any], engine: Engine) -> dict[str, Any] | None:
    if not engine.starts:
        reason = "No available memory for the cache blocks"
        return {"at": "plan", "kind": "refused_by_plan", "reason": reason}
    for settings, failure in recipe.failures:
        if all(chosen[name] == value for name, value in settings.items()):
            return failure
    return None


def _rows(recipe: Recipe, engine: Engine) -> list[list[float]]:
    replicas = recipe.gpus // engine.given.tp
    rows = []
    if recipe.first[0] == "users":
        loads = [float(2**n) for n in range(12)]
        states = [engine.with_users(load / replicas) for load in loads]
    else:
        capacity = engine.capacity() * replicas
        shares = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.78, 0.84, 0.89, 0.93, 0.96, 0.99, 1.03)
        loads = [capacity * share for share in shares]
        states = [engine.at(load / replicas) for load in loads]
    for load, state in zip(loads, states, strict=True):
        rows.append([_round(load), *(_round(v) for v in _figures(state, replicas))])
    return rows


def _figures(state: State, replicas: int) -> list[float]:
    both = replace(
        state,
        requests_per_s=state.requests_per_s * replicas,
        output_tokens_per_s=state.output_tokens_per_s * replicas,
    )
    return [getattr(both, name) for name in COLUMNS[1:]]


def _round(value: float) -> float:
    return 0.0 if not value else round(value, 3 - math.floor(math.log10(abs(value))))


def document(recipe: Recipe) -> dict[str, Any]:
    """The surface file."""
    parameters = [
        {"name": NAMES[k], "values": list(v), "current": recipe.current[k]}
        for k, v in recipe.space.items()
    ]
    problem: dict[str, Any] = {
        "goal": recipe.goal,
        "parameters": parameters,
        "first": {"kind": recipe.first[0], "value": recipe.first[1]},
        "slo": recipe.slo,
        "budget_s": recipe.budget,
        "gpus": recipe.gpus,
        "output_tokens": recipe.traffic.output,
    }
    if recipe.usd is not None:
        problem["usd_per_hour"] = recipe.usd
    return {
        "version": 1,
        "name": recipe.name,
        "title": recipe.title,
        "kind": "synthetic",
        "sources": [
            "benchmarks/tuning/model.py: steps of an engine with continuous batching",
            CARDS,
            SHAPE,
            PUBLISHED,
            DEFAULTS,
            *([recipe.shows] if recipe.shows else []),
        ],
        "problem": problem,
        "noise": recipe.noise,
        "overhead_s": 10,
        "drift": [list(point) for point in recipe.drift],
        "columns": list(COLUMNS),
        "points": points(recipe),
    }


def write(recipe: Recipe, folder: Path) -> Path:
    """One point a line: what differs is then readable."""
    text = document(recipe)
    lines = [json.dumps(point, separators=(",", ":")) for point in text.pop("points")]
    head = json.dumps(text, indent=1)[:-2]
    file = folder / f"{recipe.name}.json.gz"
    write_compressed(file, head + ',\n "points": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n")
    return file


def main() -> int:
    """Writes every recipe's surface."""
    folder = HERE / "surfaces"
    folder.mkdir(exist_ok=True)
    for recipe in RECIPES:
        print(write(recipe, folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
