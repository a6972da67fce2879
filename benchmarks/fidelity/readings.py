"""What each client said of a run, brought to one form. Reads files; starts nothing.

A client's figures are taken as they are. Where one gives no gap of its own for each chunk,
its mean gap is kept, and only that is compared.
"""

import dataclasses
import json
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Reading:
    """One request that the client calls a success. Seconds."""

    stream: int | None  # the server's number of it, found in its id or text
    ttft_s: float
    started_s: float | None = None  # on any clock that all of the run share
    gaps_s: tuple[float, ...] | None = None
    mean_gap_s: float | None = None  # where it gives no more


@dataclasses.dataclass(frozen=True)
class Account:
    """All that a client said of a run."""

    readings: tuple[Reading, ...]
    failed: int
    tokens: int  # output tokens in total, of successes


_MARK = re.compile(r"(\d{6})\.\d{4}\.\d{7}\.\d{6}")


def number(text: str | None) -> int | None:
    """A stream's number, from a response's id or from its text."""
    if not text:
        return None
    if found := re.fullmatch(r"chatcmpl-(\d{6})", text) or _MARK.search(text):
        return int(found[1])
    return None


def ours(folder: Path) -> Account:
    """Of `deployctl loadtest --out FOLDER`: requests.jsonl."""
    rows = _lines(folder / "requests.jsonl")
    good = [row for row in rows if row["outcome"] == "ok"]
    readings = []
    for row in good:
        # In open loop its clock starts when the request was due; the server knows of the sending.
        late = row["lateness_s"] or 0.0
        readings.append(
            Reading(
                stream=number(row["response_id"]),
                started_s=row["started_at_s"],
                ttft_s=row["ttft_s"] - late,
                gaps_s=tuple(row["chunk_gaps_s"]),
            )
        )
    failed = sum(row["outcome"] not in ("ok", "incomplete") for row in rows)
    return Account(tuple(readings), failed, sum(row["output_tokens"] or 0 for row in good))


def vllm(path: Path) -> Account:
    """Of `vllm bench serve --save-result --save-detailed`."""
    said = json.loads(path.read_text(encoding="utf-8"))
    readings = []
    rows = zip(
        said["errors"], said["generated_texts"], said["start_times"], said["ttfts"], said["itls"],
        strict=True,
    )  # fmt: skip
    for error, text, started, ttft, gaps in rows:
        if not error:
            readings.append(Reading(number(text), ttft, started, tuple(gaps)))
    return Account(tuple(readings), said["failed"], said["total_output_tokens"])


def guidellm(path: Path) -> Account:
    """Of `guidellm run --output kind=json`: the first and the last token's time, no gaps."""
    benchmark = json.loads(path.read_text(encoding="utf-8"))["benchmarks"][0]
    requests = benchmark["requests"]
    readings, tokens = [], 0
    for row in requests["successful"] or []:
        times = row["info"]["timings"]
        tokens += row["output_tokens"] or 0
        first, last = times["first_token_iteration"], times["last_token_iteration"]
        if first is None:
            continue
        count = times["token_iterations"]
        readings.append(
            Reading(
                stream=number(row["response_id"]),
                started_s=times["request_start"],
                ttft_s=first - times["request_start"],
                mean_gap_s=(last - first) / (count - 1) if count > 1 else None,
            )
        )
    return Account(tuple(readings), len(requests["errored"] or []), tokens)


def aiperf(folder: Path) -> Account:
    """Of `aiperf profile --export-level raw`: its records, and the raw ones for the ids."""
    names = {
        row["metadata"]["x_request_id"]: _first_id(row)
        for row in _lines(folder / "profile_export_raw.jsonl")
    }
    readings, failed, tokens = [], 0, 0
    for row in _lines(folder / "profile_export.jsonl"):
        metrics = row["metrics"]
        if row.get("error") or "time_to_first_token" not in metrics:
            failed += 1
            continue
        tokens += int(metrics.get("output_sequence_length", {}).get("value", 0))
        gaps = metrics.get("inter_chunk_latency", {}).get("value")
        readings.append(
            Reading(
                stream=number(names.get(row["metadata"]["x_request_id"])),
                started_s=row["metadata"]["request_start_ns"] / 1e9,
                ttft_s=metrics["time_to_first_token"]["value"] / 1000,
                gaps_s=None if gaps is None else tuple(gap / 1000 for gap in gaps),
            )
        )
    return Account(tuple(readings), failed, tokens)


def _first_id(row: dict[str, Any]) -> str | None:
    for response in row.get("responses") or []:
        for packet in response.get("packets") or []:
            if found := re.search(r"chatcmpl-\d{6}", packet.get("value") or ""):
                return found[0]
    return None


def plain_locust(path: Path) -> Account:
    """Of our locustfile with `requests`: one line a request, the stamps of its text chunks."""
    readings, failed, tokens = [], 0, 0
    for row in _lines(path):
        if row["failed"]:
            failed += 1
            continue
        tokens += row["tokens"] or 0
        stamps = row["stamps"]
        if stamps:
            readings.append(
                Reading(
                    stream=number(row["id"]),
                    started_s=row["started"],
                    ttft_s=stamps[0] - row["started"],
                    gaps_s=tuple(b - a for a, b in pairwise(stamps)),
                )
            )
    return Account(tuple(readings), failed, tokens)


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
