"""The server's own figures of a load test: /metrics before, during and after."""

from collections.abc import Sequence
from itertools import pairwise

from deployctl import metrics
from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.load import agreement
from deployctl.load.watch import Watch, every
from deployctl.metrics import Snapshot, between
from deployctl_loadtest.result import Server, ServerMoment
from deployctl_loadtest.sample import Sample

# For one look. Late is better than never: it is stamped with when it was asked.
_PATIENCE_S = 15.0


def watch(endpoint: Endpoint, planned_s: float) -> Watch[Snapshot]:
    """Watches the service's /metrics; sees nothing if it has none: other engines are welcome."""
    verify = endpoint.trust()

    def look() -> Snapshot | None:
        try:
            return metrics.scrape(
                endpoint.url,
                endpoint.api_key,
                timeout=_PATIENCE_S,
                headers=endpoint.headers,
                verify=verify,
            )
        except TargetError:
            return None

    return Watch(look, every(planned_s))


def moments(seen: Sequence[tuple[float, Snapshot]], started_s: float) -> list[ServerMoment]:
    """What happened between each scrape and the next. `started_s`: the run's start on the
    watch's clock."""
    found = []
    for (_, earlier), (at, now) in pairwise(seen):
        delta = between(earlier, now)
        ttft, itl = delta.ttft, delta.itl
        found.append(
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
    return found


def server(
    seen: Sequence[tuple[float, Snapshot]],
    looks: Sequence[ServerMoment],
    samples: Sequence[Sample],
    window: tuple[float, float],
    *,
    to_the_end: bool = True,
) -> Server | None:
    """The run as the server saw it; None where it does not tell.

    `to_the_end`: whether the last look was after the run's end.
    """
    if len(seen) < 2:
        return None
    delta = between(seen[0][1], seen[-1][1])
    restarted = any(between(a, b).restarted for (_, a), (_, b) in pairwise(seen))
    if delta.generation_tokens is None or delta.prompt_tokens is None:
        return None
    inside = [look for look in looks if window[0] <= look.at_s <= window[1]]
    running = [look.running for look in inside if look.running is not None]
    waiting = [look.waiting for look in inside if look.waiting is not None]
    usage = [look.kv_cache_usage for look in inside if look.kv_cache_usage is not None]
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
        agreement=[]
        if restarted or not to_the_end
        else agreement.compare(
            samples,
            delta.ttft.buckets if delta.ttft else None,
            delta.itl.buckets if delta.itl else None,
        ),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
