"""What happened second by second: the client's samples beside the server's figures. Pure."""

import csv
import io
from collections.abc import Sequence

from deployctl.load import aggregate
from deployctl_loadtest.result import ServerMoment
from deployctl_loadtest.sample import Sample

_MOST_ROWS = 3600  # of longer runs, a row is several seconds
COLUMNS = (
    "at_s",
    "started",
    "completed",
    "failed",
    "in_flight",
    "output_tokens",
    "ttft_p50_s",
    "ttft_p95_s",
    "e2e_p50_s",
    "server_running",
    "server_waiting",
    "server_kv_cache_usage",
    "server_preemptions",
    "server_prefix_cache_hit_rate",
    "server_output_tokens",
    "server_ttft_mean_s",
    "server_itl_mean_s",
)


def rows(
    samples: Sequence[Sample], moments: Sequence[ServerMoment], end_s: float
) -> list[dict[str, float | int | None]]:
    """One row a bin that begins `at_s` after the run's start. None where there was nothing.

    Requests count where they started and where they ended; `in_flight` is at the bin's end.
    Latencies are of the requests that started in it. The server's gauges are those of the
    last scrape in the bin, its counts and means since the one before.
    """
    width = max(1.0, float(-(-end_s // _MOST_ROWS)))
    count = max(1, int(-(-end_s // width)))
    table: list[dict[str, float | int | None]] = [
        {**dict.fromkeys(COLUMNS), "at_s": i * width, "started": 0, "completed": 0, "failed": 0}
        for i in range(count)
    ]
    tokens = [0.0] * count
    delta = [0] * (count + 1)
    firsts: list[list[float]] = [[] for _ in range(count)]
    wholes: list[list[float]] = [[] for _ in range(count)]

    def bin_of(at: float) -> int:
        return min(count - 1, max(0, int(at // width)))

    per_chunk = aggregate.tokens_a_chunk(samples)
    for sample in samples:
        begin = bin_of(sample.started_at_s)
        end = bin_of(sample.started_at_s + sample.duration_s)
        table[begin]["started"] = (table[begin]["started"] or 0) + 1
        if sample.outcome != "incomplete":
            kind = "failed" if sample.failed else "completed"
            table[end][kind] = (table[end][kind] or 0) + 1
        delta[begin] += 1
        delta[end] -= 1
        each = sample.tokens_per_chunk or per_chunk
        for at in sample.chunk_times():
            tokens[bin_of(at)] += each
        if sample.outcome == "ok" and sample.ttft_s is not None and sample.e2e_s is not None:
            firsts[begin].append(sample.ttft_s)
            wholes[begin].append(sample.e2e_s)
    flying = 0
    for i, row in enumerate(table):
        flying += delta[i]
        row["in_flight"] = flying
        row["output_tokens"] = round(tokens[i], 2)
        if firsts[i]:
            first, whole = sorted(firsts[i]), sorted(wholes[i])
            row["ttft_p50_s"] = round(aggregate.percentile(first, 0.5), 6)
            row["ttft_p95_s"] = round(aggregate.percentile(first, 0.95), 6)
            row["e2e_p50_s"] = round(aggregate.percentile(whole, 0.5), 6)
    for moment in moments:
        if 0 <= moment.at_s < count * width:
            _take(table[bin_of(moment.at_s)], moment)
    return table


def _take(row: dict[str, float | int | None], moment: ServerMoment) -> None:
    for field in ("running", "waiting", "kv_cache_usage", "prefix_cache_hit_rate"):
        row[f"server_{field}"] = getattr(moment, field)
    for field in ("preemptions", "output_tokens"):
        value = getattr(moment, field)
        if value is not None:
            row[f"server_{field}"] = (row[f"server_{field}"] or 0) + value
    for field in ("ttft_mean_s", "itl_mean_s"):
        value = getattr(moment, field)
        if value is not None:
            row[f"server_{field}"] = value


def to_csv(table: Sequence[dict[str, float | int | None]]) -> str:
    """With a header; an empty cell is a figure that was not seen."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
