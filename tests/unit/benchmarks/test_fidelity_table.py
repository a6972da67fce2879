"""The report: what stands in it, and that nothing is left out of it."""

from benchmarks.fidelity import table

SPREAD = {"p50_ms": 0.1, "p99_ms": 0.5, "max_ms": 1.0, "count": 9}


def result(client, **fields):
    return {
        "client": client, "scenario": "truncated", "streams": 8, "valid": True, "reasons": [],
        "ttft": SPREAD, "ttft_by_text": SPREAD, "gap": SPREAD, "mean_gap": SPREAD, "lag": SPREAD,
        "misread": 0, "unknown": 0, "role_counted": 0, "merged": 0, "faults": 2, "missed": 0,
        "invented": 0, "requests_sent": 16, "requests_told": 16, "tokens_told": 5,
        "tokens_sent": 5, "rate_asked": None, "rate_got": None, "cpu_share": 0.2,
        "cpu_ms_per_stream": 2.0, **fields,
    }  # fmt: skip


def test_ours_is_first_and_held_against_the_best_of_the_others():
    worse = {**SPREAD, "p99_ms": 2.0}
    text = table.markdown([result("aiperf", gap=worse, cpu_ms_per_stream=8.0), result("ours")], [])
    rows = [line for line in text.partition("## truncated")[2].splitlines() if line[:2] == "| "]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| ours", "| aiperf", "| ours ÷ best peer"]
    ratios = [cell.strip() for cell in rows[-1].split("|")[2:]]
    assert (ratios[1], ratios[4], ratios[8]) == ("**1.00**", "**0.25**", "**0.25**")


def test_in_short_the_best_of_the_others_is_beside_ours():
    late = result("vllm", gap={**SPREAD, "p99_ms": 0.1}, valid=False, reasons=["late"])
    others = [
        result("aiperf", gap=None, cpu_ms_per_stream=1.5),
        result("guidellm", gap={**SPREAD, "p99_ms": 0.75}, streams=1024),
        result("locust", gap={**SPREAD, "p99_ms": 2.5}),
    ]
    ours = [result("ours"), result("ours", streams=1024)]
    short = table.markdown([late, *others, *ours], []).partition("## truncated")[0]
    tables = short.split("**Gaps")[1].split("**CPU")
    assert "| scenario | 8 | 1,024 |" in tables[0]
    assert "| `truncated` | **0.5** / 2.5 locust | **0.5** / 0.75 guidellm |" in tables[0]
    assert "| `truncated` | 2 / 1.5 aiperf | 2 / 2 guidellm |" in tables[1]


def test_of_ours_alone_there_is_nothing_in_short():
    assert "by streams" not in table.markdown([result("ours")], [])


def test_what_is_odd_is_said():
    odd = result(
        "vllm", valid=False, reasons=["a write was 30.0 ms late"], missed=2, role_counted=3,
        requests_told=15, misread=1, tokens_told=4,
    )  # fmt: skip
    text = table.markdown([odd], ["aiperf"])
    for words in (
        "`aiperf` was not to be had",
        "**invalid**: a write was 30.0 ms late",
        "2 of 2",
        "role chunk",
        "tells of 15 of 16 requests",
        "1 streams have gaps of no known kind",
        "4 of 5",
    ):
        assert words in text


def test_a_client_that_broke_has_a_row():
    broken = {
        "client": "vllm", "scenario": "stall", "streams": 8, "valid": False, "broken": True,
        "reasons": ["did not end in 150 s"],
    }  # fmt: skip
    assert "did not end in 150 s" in table.markdown([broken], [])
    assert "did not end" in table.line(broken)


def test_a_run_is_a_line():
    assert "lag p99 0.500 ms" in table.line(result("ours"))
    assert "INVALID: late" in table.line(result("ours", valid=False, reasons=["late"]))
