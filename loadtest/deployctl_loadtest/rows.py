"""Shows samples in Locust's own tables and web UI: a row for each measure."""

from typing import Any

from deployctl_loadtest.sample import Sample


def show(request_event: Any, sample: Sample, path: str, *, gaps: bool) -> None:
    """Fires Locust's events, so that its UI and statistics have a row for each measure.

    Its "Aggregated" row mixes them all and means nothing.
    """
    failure = RuntimeError(f"{sample.outcome}: {sample.error}") if sample.failed else None
    request_event.fire(
        request_type="E2E",
        name=path,
        response_time=1000 * (sample.e2e_s if sample.e2e_s is not None else sample.duration_s),
        response_length=sample.output_tokens or sample.chunks,
        exception=failure,
        context={},
    )
    measures: list[tuple[str, float]] = []
    if sample.ttft_s is not None:
        measures.append(("TTFT", sample.ttft_s))
    if sample.tpot_s is not None:
        measures.append(("TPOT", sample.tpot_s))
    if gaps:
        measures.extend(("ITL", gap) for gap in sample.chunk_gaps_s)
    for name, seconds in measures:
        request_event.fire(
            request_type=name,
            name=path,
            response_time=1000 * seconds,
            response_length=0,
            exception=None,
            context={},
        )
