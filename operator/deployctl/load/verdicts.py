"""What to know before the figures are believed. Pure."""

from deployctl_loadtest.result import Client, Latency, Requests, Server, Setup, Tokens, Verdict

# One Locust process on one core: above this its own work shows up in what it measures.
CPU_MEAN_LIMIT, CPU_PEAK_LIMIT = 0.85, 0.98
# A timer this late (p99) is within the noise of a busy desktop; more is in the latencies.
LAG_LIMIT_S = 0.010
LAG_SHARE_OF_ITL = 0.5  # … or if it is a good part of what is measured


def bottleneck(cpu_mean: float | None, cpu_peak: float | None) -> bool:
    """Whether the load process had no CPU left of its core."""
    return (cpu_mean or 0) >= CPU_MEAN_LIMIT or (cpu_peak or 0) >= CPU_PEAK_LIMIT


def judge(
    setup: Setup,
    requests: Requests,
    latency: Latency,
    tokens: Tokens,
    client: Client,
    server: Server | None,
    *,
    interrupted: bool,
    died: bool,
) -> list[Verdict]:
    """The verdicts, worst first. `died`: the load process ended without its last word."""
    found = [
        *_about_requests(setup, requests, interrupted),
        *_about_client(latency, client, died),
        *_about_tokens(setup, tokens),
        *_about_server(requests, server),
    ]
    order = {"bad": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda verdict: order[verdict.level])


def _about_requests(setup: Setup, requests: Requests, interrupted: bool) -> list[Verdict]:
    found: list[Verdict] = []
    if interrupted:
        found.append(
            Verdict(
                "warning", "interrupted", "The run was interrupted; this is what it had so far."
            )
        )
    if not requests.ok:
        found.append(
            Verdict("bad", "no_success", "No request succeeded, so there is no latency to report.")
        )
    elif requests.failed:
        share = requests.failed / (requests.ok + requests.failed)
        found.append(
            Verdict(
                "warning",
                "failures",
                f"{requests.failed} of {requests.ok + requests.failed} requests failed "
                f"({share:.1%}); the latencies are of those that succeeded.",
            )
        )
    if 0 < requests.ok < 20:
        found.append(
            Verdict(
                "warning",
                "few_samples",
                f"Only {requests.ok} requests were measured: the percentiles are single requests. "
                "Run longer, or with more users.",
            )
        )
    elif 20 <= requests.ok < 100:
        found.append(
            Verdict(
                "note",
                "few_samples",
                f"{requests.ok} requests: a p99 is about the slowest one. "
                "For tails, measure 100 or more.",
            )
        )
    if requests.incomplete > max(1, 0.25 * requests.total):
        found.append(
            Verdict(
                "warning",
                "many_incomplete",
                f"{requests.incomplete} of {requests.total} requests were still under way at the "
                f"end: {setup.duration_s:g} s is short for them, and the slow ones are missing.",
            )
        )
    return found


def _about_client(latency: Latency, client: Client, died: bool) -> list[Verdict]:
    found: list[Verdict] = []
    if died:
        found.append(
            Verdict(
                "bad",
                "client_died",
                "The load process was killed, or crashed, before the end: this is what it had "
                "written until then.",
            )
        )
    if client.lost_samples:
        found.append(
            Verdict("bad", "samples_lost", f"{client.lost_samples} raw samples were lost.")
        )
    if client.bottleneck:
        found.append(
            Verdict(
                "bad",
                "client_bottleneck",
                f"The client was the bottleneck: its process used {client.cpu_mean or 0:.0%} of a "
                f"core on average, {client.cpu_peak or 0:.0%} at worst. The figures say how fast "
                "the client is; use fewer users, or shorter answers.",
            )
        )
    elif client.lag_p99_s is not None and client.lag_p99_s > LAG_LIMIT_S:
        typical = latency.itl_s.mean if latency.itl_s else 0.0
        serious = client.lag_p99_s > LAG_SHARE_OF_ITL * typical
        found.append(
            Verdict(
                "warning" if serious else "note",
                "client_late",
                f"The client was woken up to {client.lag_p99_s * 1000:.0f} ms late (p99) though "
                f"its CPU use was {client.cpu_mean or 0:.0%}: something else keeps this machine's "
                "cores busy, and that delay is in the latencies. Run the client elsewhere.",
            )
        )
    return found


def _about_tokens(setup: Setup, tokens: Tokens) -> list[Verdict]:
    found: list[Verdict] = []
    if tokens.output_mean is None:
        return found
    if tokens.counted_by == "chunks":
        found.append(
            Verdict(
                "warning",
                "no_usage",
                "The server did not tell every answer's usage: tokens are partly counted as "
                "chunks, which is too few where a chunk holds several.",
            )
        )
    elif tokens.per_chunk is not None and tokens.per_chunk > 1.05:
        found.append(
            Verdict(
                "note",
                "chunk_gaps",
                f"A chunk holds {tokens.per_chunk:.2f} tokens on average: ITL is the gap between "
                "chunks. TPOT is per token.",
            )
        )
    if (tokens.coalesced_share or 0) > 0.10:
        found.append(
            Verdict(
                "note",
                "coalesced",
                f"{tokens.coalesced_share:.0%} of chunks came in one read with the one before "
                "(a gap of 0): the server's front end sends in bursts. Judge by TPOT.",
            )
        )
    if setup.ignore_eos and tokens.output_mean < 0.95 * setup.output_tokens:
        found.append(
            Verdict(
                "note",
                "short_answers",
                f"Answers had {tokens.output_mean:.0f} tokens on average, not the "
                f"{setup.output_tokens} asked for.",
            )
        )
    return found


def _about_server(requests: Requests, server: Server | None) -> list[Verdict]:
    found: list[Verdict] = []
    if server is None:
        return found
    ours, theirs = server.client_output_tokens, server.output_tokens
    # What a request cut by the end had generated and not sent is theirs alone.
    slack = max(0.02 * theirs, 16.0 * (requests.incomplete + requests.failed + 1))
    if abs(ours - theirs) > slack:
        why = "something else uses the service too" if theirs > ours else "its counters were reset"
        found.append(
            Verdict(
                "warning",
                "server_differs",
                f"The server generated {theirs} tokens and the client received {ours}: {why}.",
            )
        )
    if (server.prefix_cache_hit_rate or 0) > 0.5:
        found.append(
            Verdict(
                "warning",
                "prefix_cache",
                f"{server.prefix_cache_hit_rate:.0%} of the prompts' tokens came from the prefix "
                "cache: TTFT is better than it is for new prompts. Leave --seed out.",
            )
        )
    return found
