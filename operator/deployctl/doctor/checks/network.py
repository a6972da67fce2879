"""The port, the Hub and its token."""

from collections.abc import Iterator

from deployctl.doctor.facts import HostFacts, Hub, Question
from deployctl.doctor.report import Check, fail, good, warn


def network_checks(facts: HostFacts, question: Question) -> Iterator[Check]:
    """Where the service listens and where checkpoints come from."""
    yield _port(facts, question)
    if facts.hub is not None:
        yield _hub(facts.hub)
        yield _token(facts.hub)


def _port(facts: HostFacts, question: Question) -> Check:
    id, title, text = "port", "Port", f"{question.port} on 127.0.0.1"
    if facts.port_free is None:
        return warn(id, title, f"{text}: cannot be told", "choose one with --port")
    if not facts.port_free and question.holder:
        return good(id, title, f"{text} is held by the service {question.holder}")
    if not facts.port_free:
        return fail(
            id,
            title,
            f"{text}: {facts.port_error or 'taken'}",
            f"deployctl status and ss -ltnp 'sport = :{question.port}' say who; or --port another",
        )
    return good(id, title, f"{text} is free")


def _hub(hub: Hub) -> Check:
    id, title = "hub", "Hub"
    if hub.offline:
        return warn(
            id,
            title,
            "HF_HUB_OFFLINE is set: only folders and cached checkpoints can be served",
            "unset HF_HUB_OFFLINE to fetch others",
        )
    if hub.status is None:
        return warn(
            id,
            title,
            f"cannot be reached: {hub.error}",
            "check network and HTTPS_PROXY, or name a mirror with HF_ENDPOINT; "
            "--model FOLDER needs no Hub",
        )
    if hub.status >= 500 or hub.status == 429:
        return warn(id, title, f"answers {hub.status}", "try again later")
    return good(id, title, "reachable")


def _token(hub: Hub) -> Check:
    id, title = "hub-token", "Hub token"
    if hub.token_source is None:
        return good(id, title, "none: enough for open models, not for gated ones")
    if hub.token_problem:
        return warn(
            id,
            title,
            f"{hub.token_source}: {hub.token_problem}",
            "write the token alone there, or unset it: a wrong one is refused for open models too",
        )
    return good(id, title, f"from {hub.token_source}, of the right shape")
