"""The server's own figures of a load test: /metrics before, during and after."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import TracebackType
from typing import Generic, TypeVar

from deployctl import metrics
from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.load import aggregate
from deployctl.load.pooled import Ordered
from deployctl.metrics import Snapshot, between
from deployctl_loadtest.result import Agreement, Server, ServerMoment
from deployctl_loadtest.sample import Sample

# For one scrape. Late is better than never: it is stamped with when it was asked.
_TIMEOUT_S = 15.0
AT_MOST = 600  # scrapes a run: enough for a plot, and little work for the server
LAST_TRIES = 2  # without a last scrape, all that was seen is of a part
_SHARES = (0.5, 0.95)  # that client and server are compared at
_ONE_EACH = 1.05  # tokens a chunk: above it, gaps between chunks are none between tokens

Answer = TypeVar("Answer")
Buckets = Sequence[tuple[float, float]]  # (upper bound in seconds, count at or below)


def every(planned_s: float) -> float:
    """Seconds between two scrapes of a run of that length."""
    return max(1.0, planned_s / AT_MOST)


class Watch(Generic[Answer]):
    """Asks once at its beginning, every `every_s` seconds in a thread, and once at its end.

    `ask` raises TargetError when there is no answer just then; if that is so at the beginning, it
    is asked no more; at the end up to `LAST_TRIES` times, and `to_the_end` says whether there was
    an answer then. Answers are in `seen`, as (seconds of a monotonic clock, answer), and why there
    was none in `missed`. Each is stamped with the clock when it was asked, for an answer takes its
    time.
    """

    def __init__(
        self,
        ask: Callable[[], Answer],
        every_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.seen: list[tuple[float, Answer]] = []
        self.missed: list[tuple[float, str]] = []
        self.to_the_end = False
        self._ask = ask
        self._every_s = every_s
        self._clock = clock
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Watch[Answer]":
        self._once()
        if self.seen:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self.to_the_end = any(self._once() for _ in range(LAST_TRIES))

    def _run(self) -> None:
        while not self._wait(self._every_s):
            self._once()

    def _once(self) -> bool:
        at = self._clock()
        try:
            answer = self._ask()
        except TargetError as error:
            self.missed.append((at, error.message))
            return False
        self.seen.append((at, answer))
        return True


def watch(endpoint: Endpoint, planned_s: float) -> Watch[Snapshot]:
    """Watches the service's /metrics, of several replicas all; sees nothing if it has none: other
    engines are welcome."""
    engines = endpoint.replicas or (endpoint,)

    def scrape() -> Snapshot:
        return metrics.together([metrics.scrape(each, timeout_s=_TIMEOUT_S) for each in engines])

    return Watch(scrape, every(planned_s))


def moments(seen: Sequence[tuple[float, Snapshot]], started_s: float) -> list[ServerMoment]:
    """What happened between each scrape and the next. `started_s`: the run's start on the
    watch's clock."""
    made = []
    for (_, earlier), (at, now) in pairwise(seen):
        delta = between(earlier, now)
        ttft, itl = delta.ttft, delta.itl
        made.append(
            ServerMoment(
                at_s=round(at - started_s, 3),
                running=now.running,
                waiting=now.waiting,
                kv_cache_usage=_round(now.kv_cache_usage),
                preemptions=_whole(delta.preemptions),
                prefix_cache_hit_rate=_round(delta.prefix_hit_rate),
                output_tokens=_whole(delta.generation_tokens),
                input_tokens=_whole(delta.prompt_tokens),
                ttft_mean_s=_round(ttft.mean()) if ttft else None,
                itl_mean_s=_round(itl.mean()) if itl else None,
            )
        )
    return made


def server(
    seen: Sequence[tuple[float, Snapshot]],
    moments: Sequence[ServerMoment],
    samples: Sequence[Sample],
    window: tuple[float, float],
    *,
    missed: Sequence[tuple[float, str]] = (),
    to_the_end: bool = True,
) -> Server | None:
    """The run as the server saw it; None where it does not tell.

    `missed`: scrapes without an answer; `to_the_end`: whether the last was after the run's end.
    """
    if len(seen) < 2:
        return None
    delta = between(seen[0][1], seen[-1][1])
    restarted = any(between(a, b).restarted for (_, a), (_, b) in pairwise(seen))
    if delta.generation_tokens is None or delta.prompt_tokens is None:
        return None
    inside = [m for m in moments if window[0] <= m.at_s <= window[1]]
    running = [m.running for m in inside if m.running is not None]
    waiting = [m.waiting for m in inside if m.waiting is not None]
    usage = [m.kv_cache_usage for m in inside if m.kv_cache_usage is not None]
    return Server(
        output_tokens=round(delta.generation_tokens),
        input_tokens=round(delta.prompt_tokens),
        client_output_tokens=0,  # filled in by `summarize`
        ttft_mean_s=delta.ttft.mean() if delta.ttft else None,
        itl_mean_s=delta.itl.mean() if delta.itl else None,
        queue_mean_s=delta.queue.mean() if delta.queue else None,
        preemptions=_whole(delta.preemptions),
        prefix_cache_hit_rate=delta.prefix_hit_rate,
        running_max=max(running, default=None),
        waiting_max=max(waiting, default=None),
        kv_cache_usage_max=max(usage, default=None),
        restarted=restarted,
        to_the_end=to_the_end,
        scrapes=len(seen) + len(missed),
        scrapes_failed=len(missed),
        scrape_error=missed[-1][1] if missed else None,
        agreement=[]
        if restarted or not to_the_end
        else agreements(
            samples,
            delta.ttft.buckets if delta.ttft else None,
            delta.itl.buckets if delta.itl else None,
        ),
    )


def agreements(
    samples: Sequence[Sample], ttft: Buckets | None, itl: Buckets | None
) -> list[Agreement]:
    """The client's figures held against the server's own histograms.

    A histogram says only in which bucket a percentile lies. The client agrees if its own lies in
    that bucket or within the bucket's width of it: what a server counts begins after its front end
    has read the request, and ends before the network.

    TTFT and ITL of the whole run: everything that the server saw too, failures included.
    """
    seen = [sample for sample in samples if sample.ttft_s is not None]
    firsts = [
        # The server's clock starts when the request comes, however late it was sent.
        (sample.ttft_s or 0.0) - (sample.started_at_s - sample.begun_at_s)
        for sample in seen
    ]
    compared = _percentiles("ttft", sorted(firsts), ttft)
    if aggregate.tokens_a_chunk(seen) <= _ONE_EACH:
        compared += _percentiles("itl", Ordered(s.chunk_gaps_s for s in seen), itl)
    return compared


def _percentiles(name: str, ordered: Sequence[float], buckets: Buckets | None) -> list[Agreement]:
    if not ordered or not buckets or buckets[-1][1] <= 0:
        return []
    return [_agreement(f"{name}_p{share * 100:g}", ordered, buckets, share) for share in _SHARES]


def _agreement(name: str, ordered: Sequence[float], buckets: Buckets, share: float) -> Agreement:
    rank = share * buckets[-1][1]
    index = next(i for i, (_, count) in enumerate(buckets) if count >= rank)
    low = buckets[index - 1][0] if index else 0.0
    high = buckets[index][0]
    client = aggregate.percentile(ordered, share)
    width = high - low
    if math.isinf(high):
        gap, agrees = min(0.0, client - low), client >= low
    else:
        gap = client - min(max(client, low), high)
        agrees = abs(gap) <= width
    return Agreement(
        name=name,
        client_s=round(client, 6),
        server_low_s=low,
        server_high_s=None if math.isinf(high) else high,
        gap_s=round(gap, 6),
        agrees=agrees,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
