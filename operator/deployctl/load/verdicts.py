"""What to know before the figures are believed. Pure."""

from collections.abc import Iterator

from deployctl.load import client as clients
from deployctl_loadtest.result import Client, Latency, Requests, Server, Setup, Tokens, Verdict


def judge(
    setup: Setup,
    requests: Requests,
    latency: Latency,
    tokens: Tokens,
    client: Client,
    server: Server | None,
    *,
    interrupted: bool,
) -> list[Verdict]:
    """The verdicts, worst first."""
    known = [
        *_about_requests(setup, requests, interrupted),
        *clients.verdicts(setup, latency, client),
        *_about_tokens(setup, tokens),
        *_about_server(requests, server, client),
    ]
    order = {"bad": 0, "warning": 1, "note": 2}
    return sorted(known, key=lambda verdict: order[verdict.level])


def unwritten(reason: str, until_s: float) -> Verdict:
    """Raw samples could not be kept to the end."""
    return Verdict(
        "bad",
        "disk_full",
        f"The samples could not be written: {reason}. The run ended there: these are the first "
        f"{until_s:.1f} s of it, as far as the disk took them.",
    )


def load_lost(reason: str, until_s: float) -> Verdict:
    """What made the load elsewhere was lost before its end."""
    return Verdict(
        "bad",
        "load_lost",
        f"The load was lost before its end: {reason}. These are its first {until_s:.1f} s, as far "
        "as samples had come home.",
    )


def _about_requests(setup: Setup, requests: Requests, interrupted: bool) -> Iterator[Verdict]:
    if interrupted:
        yield Verdict(
            "warning", "interrupted", "The run was interrupted; these are the results until then."
        )
    if not requests.ok:
        yield Verdict(
            "bad", "no_success", "No request succeeded, so there is no latency to report."
        )
    elif requests.failed:
        share = requests.failed / (requests.ok + requests.failed)
        yield Verdict(
            "warning",
            "failures",
            f"{requests.failed} of {requests.ok + requests.failed} requests failed "
            f"({share:.1%}); the latencies are of those that succeeded.",
        )
    if 0 < requests.ok < 20:
        yield Verdict(
            "warning",
            "few_samples",
            f"Only {requests.ok} requests were measured: the percentiles are single requests. "
            "Run longer, or with more users.",
        )
    elif 20 <= requests.ok < 100:
        yield Verdict(
            "note",
            "few_samples",
            f"{requests.ok} requests: a p99 is about the slowest one. "
            "For tails, measure 100 or more.",
        )
    if requests.incomplete > max(1, 0.25 * requests.total):
        why = f"{setup.duration_s:g} s is short for them"
        if setup.mode != "closed":
            why = f"the server cannot hold this rate, or {why}"
        yield Verdict(
            "warning",
            "many_incomplete",
            f"{requests.incomplete} of {requests.total} requests were still in flight at the end: "
            f"{why}, and the slow requests are missing.",
        )


def _about_tokens(setup: Setup, tokens: Tokens) -> Iterator[Verdict]:
    if tokens.output_mean is None:
        return
    if tokens.counted_by == "chunks":
        yield Verdict(
            "warning",
            "no_usage",
            "The server did not report the usage of every answer: tokens are partly counted as "
            "chunks, which is too few where a chunk holds several.",
        )
    elif tokens.per_chunk is not None and tokens.per_chunk > 1.05:
        yield Verdict(
            "note",
            "chunk_gaps",
            f"A chunk holds {tokens.per_chunk:.2f} tokens on average: ITL is the gap between "
            "chunks. TPOT is per token.",
        )
    if (tokens.coalesced_share or 0) > 0.10:
        yield Verdict(
            "note",
            "coalesced",
            f"{tokens.coalesced_share:.0%} of chunks came in one read with the one before "
            "(a gap of 0): the server's front end sends in bursts. Judge by TPOT.",
        )
    if setup.ignore_eos and setup.output_fixed and tokens.output_mean < 0.95 * setup.output_tokens:
        yield Verdict(
            "note",
            "short_answers",
            f"Answers had {tokens.output_mean:.0f} tokens on average, not the "
            f"{setup.output_tokens} asked for.",
        )


def _about_server(requests: Requests, server: Server | None, client: Client) -> Iterator[Verdict]:
    if server is None:
        return
    if server.restarted:
        yield Verdict(
            "warning",
            "server_restarted",
            "The engine restarted during the run: its own figures cover only part of it.",
        )
    if not server.to_the_end:
        yield Verdict(
            "note",
            "server_silent",
            "/metrics did not answer at the end of the run: the server's own figures are of "
            "the time until its last answer, and not held against the client's.",
        )
    if server.scrapes_failed and server.running_max is None:
        yield Verdict(
            "note",
            "server_unseen",
            f"{server.scrapes_failed} of {server.scrapes} requests for /metrics had no answer, and "
            "none in the measured window had one: what ran and waited there is not known "
            f"({server.scrape_error}).",
        )
    apart = [a for a in server.agreement if not a.agrees and a.name.startswith("ttft")]
    if apart:
        worst = max(apart, key=lambda each: abs(each.gap_s))
        yield Verdict(
            "note",
            "server_gap",
            f"The client's {worst.name} is {worst.client_s * 1000:.1f} ms, "
            f"{abs(worst.gap_s) * 1000:.1f} ms {'above' if worst.gap_s > 0 else 'below'} the "
            "bucket that the server's own is in: what lies between them (network, proxy, "
            "front end, this client) takes that long.",
        )
    ours, theirs = server.client_output_tokens, server.output_tokens
    # What a request cut by the end had generated and not sent is theirs alone.
    slack = max(0.02 * theirs, 16.0 * (requests.incomplete + requests.failed + 1))
    if server.to_the_end and abs(ours - theirs) > slack:
        if theirs > ours:
            why = "something else uses the service too"
            if client.died or client.lost_samples:
                why = "some were for requests whose samples were lost"
        elif server.restarted:
            why = "its counters were reset"
        else:
            why = "its /metrics covers one of several servers behind the address"
        yield Verdict(
            "warning",
            "server_differs",
            f"The server generated {theirs} tokens and the client received {ours}: {why}.",
        )
    if (server.prefix_cache_hit_rate or 0) > 0.5:
        yield Verdict(
            "warning",
            "prefix_cache",
            f"{server.prefix_cache_hit_rate:.0%} of the prompts' tokens came from the prefix "
            "cache: TTFT is lower than for new prompts. Leave out --seed.",
        )
