"""Runs of load tests that were never made, as they are read back, and as folders."""

import json
import random

from deployctl.load import gate, slo
from deployctl.load.folder import REQUESTS, SUMMARY, SavedRun
from deployctl.load.summary import summarize
from deployctl_loadtest.result import Setup
from deployctl_loadtest.sample import Sample, WorkerReport

SETUP = Setup(None, "http://h:1", "m", "chat", 4, 60, 0, 10, 5, True, 1, 60)


def run(seed=0, *, slower=1.0, fail=0, per_chunk=1, cpu=0.2, count=600, name="x", held_to=None):
    """A run of 60 s; `slower` stretches every latency. `held_to`: an SLO, as a gate."""
    rng = random.Random(seed)
    samples = []
    for i in range(count):
        ttft = 0.1 * slower * rng.lognormvariate(0, 0.2)
        gaps = [0.02 * slower * rng.lognormvariate(0, 0.1) for _ in range(4)]
        samples.append(
            Sample(
                worker="w", started_at_s=i * 59 / count, outcome="ok", ttft_s=ttft,
                chunk_gaps_s=gaps, e2e_s=ttft + sum(gaps), duration_s=ttft + sum(gaps),
                input_tokens=10, output_tokens=5 * per_chunk, tokens_per_chunk=per_chunk,
            )
        )  # fmt: skip
    samples += [Sample("w", 1.0 + i, "refused", duration_s=0.1, error="no") for i in range(fail)]
    report = WorkerReport("w", 1.8e9, 60.0, 0, [(5.0, cpu)], [(5.0, 0.001)])
    result = summarize(
        SETUP, samples, [report], lost=0, started="2026-11-24T00:00:00+00:00", tools={},
        server=None,
    )  # fmt: skip
    if held_to is not None:
        result = gate.hold(result, samples, slo.parse(held_to), gated=True)
    return SavedRun(name, json.loads(json.dumps(result.to_dict())), samples)


def files(saved):
    """The files of a result that are read back."""
    lines = (json.dumps(sample.to_dict()) for sample in saved.samples)
    return {SUMMARY: json.dumps(saved.summary), REQUESTS: "".join(f"{line}\n" for line in lines)}
