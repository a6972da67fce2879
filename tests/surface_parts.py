"""Small surfaces for tests: a capacity by settings, and what follows from it."""

from benchmarks.tuning.surface.bench import SurfaceBench
from benchmarks.tuning.surface.file import Surface
from benchmarks.tuning.surface.truth import Truth

from deployctl.tuning.search.stepwise import Stepwise
from deployctl.tuning.trial import Configuration, Start

COLUMNS = [
    "load", "requests_per_s", "output_tokens_per_s", "ttft_p50_s", "ttft_p95_s", "itl_p50_s",
    "itl_p95_s", "e2e_p50_s", "e2e_p95_s",
]  # fmt: skip
SHARES = (0.1, 0.3, 0.5, 0.7, 0.85, 0.93, 0.98, 1.04)
BATCH = {"max_num_seqs": (32, 64, 128, 256), "max_num_batched_tokens": (512, 2048, 8192)}
CURRENT = {"max_num_seqs": 128, "max_num_batched_tokens": 2048}


def row(capacity, share):
    """An M/M/1 of sorts: waiting grows as 1 ÷ (1 − load), and without end beyond it."""
    rate = capacity * min(share, 1.0)
    ttft = 0.05 / max(0.02, 1 - min(share, 0.98)) + 20 * max(0.0, share - 1)
    itl = 0.02 * (1 + share)
    e2e = ttft + 32 * itl
    return [
        capacity * share, rate, rate * 32, ttft * 0.5, ttft * 1.5, itl * 0.9, itl * 1.4,
        e2e * 0.9, e2e * 1.4,
    ]  # fmt: skip


def document(capacity, *, space=None, current=None, failures=(), **changes):
    """A surface document. `capacity(settings)` in requests a second; None refuses the point."""
    space, current = space or BATCH, current or CURRENT
    points = [{}]
    for name, values in space.items():
        points = [{**p, name: v} for p in points for v in values]
    found = []
    for settings in points:
        point = {"settings": settings, "startup_s": 40.0}
        failure = next((f for given, f in failures if given.items() <= settings.items()), None)
        if failure:
            point["failure"] = failure
        speed = capacity(settings)
        if speed is None:
            continue
        point["rows"] = [row(speed, share) for share in SHARES]
        found.append(point)
    problem = {
        "goal": "goodput",
        "parameters": [
            {"name": n, "values": list(v), "current": current.get(n)} for n, v in space.items()
        ],
        "first": {"kind": "rate", "value": 2.0},
        "slo": {"ttft_p95_s": 1.0, "itl_p95_s": 0.08},
        "budget_s": 7200,
        "output_tokens": 32,
        **changes.pop("problem", {}),
    }
    return {
        "version": 1,
        "name": "test",
        "kind": "synthetic",
        "problem": problem,
        "noise": {"between_starts": 0.02, "between_runs": 0.01},
        "overhead_s": 5,
        "columns": [*COLUMNS],
        "points": found,
        **changes,
    }


def truth(capacity, **about):
    """A checked surface with its true values."""
    return Truth(Surface.model_validate(document(capacity, **about)))


def peak(settings):
    """Best at 64 sequences and 8192 tokens, 40% above the defaults."""
    seqs = {32: 0.9, 64: 1.15, 128: 1.0, 256: 0.9}[settings["max_num_seqs"]]
    tokens = {512: 0.8, 2048: 1.0, 8192: 1.22}[settings["max_num_batched_tokens"]]
    return 20 * seqs * tokens


def flat(_):
    """Nothing matters."""
    return 20.0


def play(about, seed=0, *, stop=None, problem=None):
    """Plays a search to its end, or for `stop` steps: the search, its bench, (step, result)s."""
    bench = SurfaceBench(about.surface, seed, about)
    search = Stepwise(problem or about.problem(seed))
    told = []
    while (step := search.ask()) is not None and len(told) != stop:
        if isinstance(step, Start):
            result = bench.start(step.configuration)
        else:
            result = bench.measure(step.load, step.seconds, len(told))
        search.tell(step, result)
        told.append((step, result))
    return search, bench, told


def named(**settings):
    """A configuration."""
    return Configuration.of(settings)
