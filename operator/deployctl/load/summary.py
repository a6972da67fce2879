"""From raw samples to a LoadResult. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from deployctl.load import aggregate, verdicts
from deployctl.load import client as clients
from deployctl.load.locust import TO_THE_END, Ended
from deployctl_loadtest.result import (
    VERSION,
    Failure,
    LoadResult,
    Requests,
    Server,
    Setup,
)
from deployctl_loadtest.sample import Sample, WorkerReport


def summarize(
    setup: Setup,
    samples: Sequence[Sample],
    reports: Sequence[WorkerReport],
    *,
    lost: int,
    started: str,
    tools: dict[str, str],
    server: Server | None,
    ended: Ended = TO_THE_END,
) -> LoadResult:
    """Computes every figure, and marks in `samples` those that the warm-up cuts.

    `server` comes without `client_output_tokens` known: it is filled in here.
    """
    for sample in samples:
        sample.warmup = sample.begun_at_s < setup.cut_s
    measured = [sample for sample in samples if not sample.warmup]
    window = _window(setup, samples, reports)
    requests = _requests(measured, warmup=len(samples) - len(measured))
    latency = aggregate.latency(measured)
    tokens = aggregate.tokens(measured)
    client = clients.describe(setup, samples, reports, window, lost)
    if ended.unwritten is not None or ended.lost is not None:
        # A process whose last word could not be written, or did not come, was not killed.
        client = replace(client, died=[])
    if server is not None:
        server = replace(server, client_output_tokens=client_output_tokens(samples))
    known = verdicts.judge(
        setup, requests, latency, tokens, client, server, interrupted=ended.interrupted
    )
    if ended.unwritten is not None:
        known.insert(0, verdicts.unwritten(ended.unwritten, window[1]))
    if ended.lost is not None:
        known.insert(0, verdicts.load_lost(ended.lost, window[1]))
    return LoadResult(
        version=VERSION,
        started=started,
        tools=tools,
        setup=setup,
        interrupted=ended.interrupted,
        window_s=window,
        requests=requests,
        latency=latency,
        throughput=aggregate.throughput(samples, window),
        tokens=tokens,
        client=client,
        server=server,
        verdicts=known,
        trustworthy=all(verdict.level == "note" for verdict in known),
    )


def client_output_tokens(samples: Sequence[Sample]) -> int:
    """Output tokens that the client received in the whole run."""
    per_chunk = aggregate.tokens_a_chunk(samples)
    return round(sum(aggregate.output_tokens(sample, per_chunk) for sample in samples))


def _window(
    setup: Setup, samples: Sequence[Sample], reports: Sequence[WorkerReport]
) -> tuple[float, float]:
    """From the warm-up's end to the run's. A killed worker's run ends with its last sample."""
    planned = setup.cut_s + setup.duration_s
    if reports:
        early = clients.left_early(setup, reports)
        ended = min(report.ran_for_s for report in reports if report not in early)
    else:
        ended = max((s.started_at_s + s.duration_s for s in samples), default=0.0)
    end = min(planned, ended)
    return (round(min(setup.cut_s, end), 3), round(end, 3))


def _requests(measured: Sequence[Sample], *, warmup: int) -> Requests:
    kinds: Counter[tuple[str, int | None]] = Counter()
    examples: dict[tuple[str, int | None], str] = {}
    for sample in measured:
        if sample.failed:
            status = sample.http_status if sample.outcome == "http_error" else None
            kinds[sample.outcome, status] += 1
            examples.setdefault((sample.outcome, status), sample.error or "")
    return Requests(
        total=len(measured),
        ok=sum(sample.outcome == "ok" for sample in measured),
        failed=sum(kinds.values()),
        incomplete=sum(sample.outcome == "incomplete" for sample in measured),
        warmup=warmup,
        failures=[
            Failure(outcome=kind[0], http_status=kind[1], count=count, example=examples[kind])
            for kind, count in kinds.most_common()
        ],
    )
