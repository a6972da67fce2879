"""The server beside the client: looks, agreement, the timeline."""

import csv
import io
import math
import threading
import time

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.load import server as serverside
from deployctl.load import timeline
from deployctl.load.server import Watch, agreements, every
from deployctl.metrics import parse
from deployctl_loadtest.result import ServerMoment
from deployctl_loadtest.sample import Sample


def sample(start=0.0, *, ttft=0.1, gaps=(0.02,) * 4, outcome="ok", **values):
    timing = {"ttft_s": ttft, "chunk_gaps_s": list(gaps), "duration_s": (ttft or 0) + sum(gaps)}
    if outcome == "ok":
        timing |= {"e2e_s": timing["duration_s"], "output_tokens": 1 + len(gaps)}
        timing["tokens_per_chunk"] = 1.0
    return Sample(worker="w", started_at_s=start, outcome=outcome, **{**timing, **values})


class Clock:
    """Looks again three times, at once."""

    def __init__(self):
        self.now = 100.0
        self.waits = []
        self.done = threading.Event()

    def __call__(self):
        self.now += 1
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        if len(self.waits) > 3:
            self.done.set()
            return True
        return False


def giving(*answers):
    """Asks for one answer after the other; None is none."""
    left = iter(answers)

    def ask():
        if (answer := next(left)) is None:
            raise TargetError("no answer")
        return answer

    return ask


def test_a_watch_looks_before_during_and_after():
    clock = Clock()
    with Watch(giving(1, 2, None, 4, 5), 7.0, clock=clock, wait=clock.wait) as watch:
        assert clock.done.wait(60)
    # What could not be seen is apart, with why; the last look is after the end.
    assert watch.seen == [(101.0, 1), (102.0, 2), (104.0, 4), (105.0, 5)]
    assert watch.missed == [(103.0, "no answer")]
    assert watch.to_the_end
    assert clock.waits == [7.0] * 4


@pytest.mark.parametrize(
    ("last", "seen", "to_the_end"),
    [([None, 7], [1, 7], True), ([None, None], [1], False)],
)
def test_the_last_look_is_tried_more_than_once(last, seen, to_the_end):
    ask = giving(1, *last)
    with Watch(ask, 1.0, wait=lambda _: True) as watch:
        pass
    assert [what for _, what in watch.seen] == seen
    assert watch.to_the_end is to_the_end
    with pytest.raises(StopIteration):  # no answer is left over
        ask()


def test_a_watch_that_sees_nothing_at_first_never_looks_again():
    with Watch(giving(None), 1.0) as watch:
        pass
    assert (watch.seen, len(watch.missed)) == ([], 1)


def test_looks_are_stamped_with_a_clock_that_nobody_sets(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    before = time.monotonic()
    with Watch(lambda: 1, 1.0, wait=lambda _: True) as watch:
        pass
    assert [before <= at <= time.monotonic() for at, _ in watch.seen] == [True, True]


def test_long_runs_are_looked_at_less_often():
    assert every(30) == 1.0
    assert every(6000) == 10.0


BUCKETS = ((0.05, 0.0), (0.1, 5.0), (0.25, 95.0), (math.inf, 100.0))


def test_the_client_agrees_within_the_buckets_width():
    seen = [sample(ttft=0.2) for _ in range(100)]
    p50, p95 = agreements(seen, BUCKETS, None)
    assert (p50.name, p50.server_low_s, p50.server_high_s) == ("ttft_p50", 0.1, 0.25)
    assert (p50.gap_s, p50.agrees, p95.agrees) == (0, True, True)
    # 390 ms is 140 ms above a bucket that is 150 ms wide.
    near, _ = agreements([sample(ttft=0.39)], BUCKETS, None)
    assert (near.gap_s, near.agrees) == (pytest.approx(0.14), True)
    far, _ = agreements([sample(ttft=0.5)], BUCKETS, None)
    assert (far.gap_s, far.agrees) == (pytest.approx(0.25), False)
    early, _ = agreements([sample(ttft=0.01)], BUCKETS, None)
    assert early.gap_s == pytest.approx(-0.09)


def test_a_bucket_without_an_end_holds_everything_above():
    open_ended = ((0.1, 0.0), (math.inf, 10.0))
    (p50, _) = agreements([sample(ttft=60.0)], open_ended, None)
    assert (p50.server_high_s, p50.agrees, p50.gap_s) == (None, True, 0)
    (low, _) = agreements([sample(ttft=0.05)], open_ended, None)
    assert not low.agrees


def test_the_servers_clock_starts_when_the_request_is_sent():
    late = sample(5.0, ttft=2.2, scheduled_at_s=3.0, lateness_s=2.0)
    (p50, _) = agreements([late], BUCKETS, None)
    assert p50.client_s == pytest.approx(0.2)


def test_gaps_between_chunks_of_several_tokens_are_no_itl():
    four = [sample(output_tokens=20)]
    assert agreements(four, None, BUCKETS) == []
    assert [a.name for a in agreements([sample()], None, BUCKETS)] == ["itl_p50", "itl_p95"]
    assert agreements([sample()], ((0.1, 0.0), (math.inf, 0.0)), None) == []


def moment(at, **values):
    fields = dict.fromkeys(ServerMoment.__dataclass_fields__)
    return ServerMoment(**{**fields, "at_s": at, **values})


def test_the_timeline_puts_both_side_by_side():
    samples = [
        sample(0.2),
        sample(0.9, ttft=0.3),  # its text comes from 1.2 s to 1.28 s
        sample(1.1, outcome="http_error", ttft=None, gaps=(), duration_s=0.2),
        sample(1.5, outcome="incomplete", ttft=None, gaps=(), duration_s=1.0),
    ]
    looks = [
        moment(1.1, running=3, waiting=1, preemptions=2, output_tokens=4),
        moment(1.9, running=2, waiting=0, preemptions=1, output_tokens=6, kv_cache_usage=0.5),
        moment(9.0, running=9),  # after the end
    ]
    table = timeline.rows(samples, looks, 2.5)
    assert [row["at_s"] for row in table] == [0, 1, 2]
    assert [row["started"] for row in table] == [2, 2, 0]
    assert [row["completed"] for row in table] == [1, 1, 0]
    assert [row["failed"] for row in table] == [0, 1, 0]
    assert [row["in_flight"] for row in table] == [1, 1, 0]
    assert [row["output_tokens"] for row in table] == [5, 5, 0]
    assert table[0]["ttft_p50_s"] == pytest.approx(0.2)
    assert table[1]["ttft_p50_s"] is None
    assert (table[1]["server_running"], table[1]["server_waiting"]) == (2, 0)
    assert (table[1]["server_preemptions"], table[1]["server_output_tokens"]) == (3, 10)
    assert (table[0]["server_running"], table[2]["server_running"]) == (None, None)
    again = list(csv.DictReader(io.StringIO(timeline.to_csv(table))))
    assert tuple(again[0]) == timeline.COLUMNS
    assert (again[0]["server_running"], again[1]["server_kv_cache_usage"]) == ("", "0.5")


def test_a_day_has_rows_of_several_seconds():
    table = timeline.rows([sample(86_399.0)], [], 86_400.0)
    assert len(table) <= 3600
    assert sum(row["started"] for row in table) == 1
    assert len(timeline.rows([], [], 0.0)) == 1


def exposition(tokens, running, ttfts, preemptions=0):
    return parse(
        f"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0"}} {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0"}} 1
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="0"}} 0.25
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{{engine="0"}} {2 * tokens}
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{{engine="0"}} {tokens}
# TYPE vllm:num_preemptions counter
vllm:num_preemptions_total{{engine="0"}} {preemptions}
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.1"}} 0
vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.25"}} {ttfts}
vllm:time_to_first_token_seconds_bucket{{engine="0",le="+Inf"}} {ttfts}
vllm:time_to_first_token_seconds_sum{{engine="0"}} {0.2 * ttfts}
vllm:time_to_first_token_seconds_count{{engine="0"}} {ttfts}
""",
        0.0,
    )


def test_the_servers_side_of_a_run():
    seen = [
        (1000.0, exposition(100, 0, 10)),
        (1002.0, exposition(150, 3, 20, preemptions=2)),
        (1009.0, exposition(300, 0, 30, preemptions=2)),
    ]
    looks = serverside.moments(seen, 1000.5)
    assert [look.at_s for look in looks] == [1.5, 8.5]
    assert (looks[0].running, looks[0].output_tokens, looks[0].preemptions) == (3, 50, 2)
    assert looks[0].ttft_mean_s == pytest.approx(0.2)
    server = serverside.server(seen, looks, [sample(ttft=0.5)], (1.0, 5.0))
    assert (server.output_tokens, server.input_tokens) == (200, 400)
    assert (server.running_max, server.waiting_max, server.kv_cache_usage_max) == (3, 1, 0.25)
    assert (server.preemptions, server.restarted) == (2, False)
    assert [each.agrees for each in server.agreement] == [False, False]
    assert serverside.server(seen[:1], [], [], (0, 1)) is None
    missed = [(1003.0, "timed out"), (1010.0, "refused")]
    part = serverside.server(seen, looks, [], (1.0, 5.0), missed=missed, to_the_end=False)
    assert (part.to_the_end, part.agreement) == (False, [])
    assert (part.scrapes, part.scrapes_failed, part.scrape_error) == (5, 2, "refused")


def test_several_replicas_are_watched_as_one(monkeypatch):
    """Their gateway has no /metrics: each engine's are added up."""
    ports = {"http://a:1": 100, "http://a:2": 40}

    def scrape(engine, *, timeout_s):
        return exposition(ports[engine.url], 1, 10)

    monkeypatch.setattr(serverside.metrics, "scrape", scrape)
    engines = tuple(Endpoint(url, "m", None) for url in ports)
    several = Endpoint("http://gateway", "m", None, replicas=engines)
    with serverside.watch(several, 60.0) as watch:
        pass
    assert [(seen.generation_tokens, seen.running) for _, seen in watch.seen] == [(140, 2)] * 2


def test_a_restarted_engine_is_told_and_not_held_against_the_client():
    seen = [
        (0.0, exposition(100, 0, 10)),
        (1.0, exposition(5, 0, 1)),
        (2.0, exposition(400, 0, 30)),  # more than before: only the look between tells
    ]
    looks = serverside.moments(seen, 0.0)
    server = serverside.server(seen, looks, [sample()], (0.0, 2.0))
    assert server.restarted
    assert server.agreement == []
