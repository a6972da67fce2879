"""Waits until an engine answers a real completion, and tells the phases on the way.

`/health` answers before, and after, an engine can do its work; a completion does not lie.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from deployctl.endpoint import Endpoint
from deployctl.engines.vllm import log
from deployctl.errors import EngineError
from deployctl.events import Event, Tell
from deployctl.targets.driver import Driver, EngineState, Room
from deployctl.targets.history import Release
from deployctl.units import duration
from deployctl_loadtest import foreign
from deployctl_loadtest.foreign import MAX_METRICS

POLL_S = 0.5
WAIT_S = 2.0  # between two looks at what a target waits for
STILL_S = 1200.0  # beside the start-up budget, while a target tells nothing new: the chart's too
ASK_TIMEOUT_S = 60.0  # the first completion may still compile; a later one waits in a queue
METRICS_TIMEOUT_S = 1.0  # an engine that works answers in milliseconds
LOG_WINDOW = 400  # lines of log looked through for phases
FAILURE_WINDOW = 4000  # and for causes: each worker writes its own traceback
GIVEN_UP_S = 20.0  # for an engine that says that its start failed to end by itself
TAIL_SHOWN = 12  # lines of log shown when a start fails
# The last one: what stands before it is the engine's.
_UNDER_WAY = re.compile(r"^deployctl_door_requests_under_way (\d{1,9})$", re.MULTILINE)


class Reply(NamedTuple):
    """What a question to the engine brought."""

    ok: bool
    detail: str = ""
    refused: bool = False  # it answers, and asking again will not help


Ask = Callable[[Endpoint, float], Reply]
UnderWay = Callable[[Endpoint], int | None]


class Takeover(NamedTuple):
    """How a release may come up beside the one that runs, behind a gateway."""

    asked: bool  # it is to: what does not let it is no reason to have requests wait
    room: Callable[[Release, EngineState, Release], Room]  # for it, beside one in that state


class Tools(NamedTuple):
    """The world, so that tests can bring their own."""

    ask: Ask
    under_way: UnderWay
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    beside: Takeover | None = None  # None: it never has


def ask(endpoint: Endpoint, timeout: float) -> Reply:
    """Asks for one token; `ok` when the engine gives a completion within `timeout` seconds.

    Goes straight to the endpoint: no proxy of the environment stands between.
    """
    import httpx

    from deployctl import web

    body = {"model": endpoint.model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    headers = {"Content-Type": "application/json"}
    try:
        with web.client(endpoint, timeout) as client:
            response = client.post("/v1/completions", content=json.dumps(body), headers=headers)
    except httpx.TimeoutException:
        return Reply(False, f"no answer in {duration(timeout)}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if isinstance(error, httpx.ConnectError) and "refused" in str(error):
            return Reply(False, "nothing listens there yet")
        return Reply(False, f"no answer: {web.problem(error)}")
    return _judge(response.status_code, response.content)


def under_way(endpoint: Endpoint) -> int | None:
    """How many requests of users have not ended, as the door counts them; None where nobody says
    so within a second: it loads, hangs, or has no door.
    """
    import httpx

    from deployctl import web

    try:
        with web.client(endpoint, METRICS_TIMEOUT_S, most=MAX_METRICS) as client:
            response = client.get("/metrics")
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    told = response.content.decode("utf-8", "replace")
    counts = _UNDER_WAY.findall(told) if response.status_code == 200 else []
    return int(counts[-1]) if counts else None


def _judge(status: int, content: bytes) -> Reply:
    try:
        document = foreign.document(content)
    except ValueError:
        document = None
    if status == 200 and isinstance(document, dict) and document.get("choices"):
        return Reply(True)
    said = content[: foreign.MAX_REFUSAL].decode("utf-8", "replace")
    if isinstance(document, dict):
        inner = document.get("error")
        said = str(inner.get("message") if isinstance(inner, dict) else inner or said)
    refused = 400 <= status < 500 and status not in (408, 425, 429)
    return Reply(False, f"HTTP {status}: {foreign.message(said)}", refused)


def wait_until_answers(
    driver: Driver, release: Release, tell: Tell, tools: Tools, *, begun: float
) -> None:
    """Returns when `release` answers. `begun` is when its start began, by `tools.clock`.

    Raises:
        EngineError: it died, refuses, did not answer within its start-up budget, or its target
            waits for the same for longer; with the engine's own words, what they mean, and what to
            do.
    """
    budget = release.spec.startup_timeout or release.plan.startup_budget_s
    told: set[str] = set()
    moved = begun  # when anything new was told
    gave_up: float | None = None
    while True:
        state = driver.state(release)
        lines = _lines(driver, release)
        news = {phase.key: phase.title for phase in map(log.phase, lines) if phase}
        news |= {each: each for each in state.waits_for}
        for each in [key for key in news if key not in told]:
            told.add(each)
            moved = tools.clock()
            tell(Event("phase", news[each]))
        if state.condition != "running":
            raise failed(driver, release, _died(state), hint=state.hint)
        if log.waits_for_turn(lines):  # its budget begins with its turn
            begun = tools.clock()
        if state.waits_for:  # the target knows how long it waits for what, but not of all of it
            if tools.clock() - moved > budget + STILL_S:
                raise _still(driver, release, lines, state, budget + STILL_S)
            tools.sleep(WAIT_S)
            continue
        if gave_up is None and any(map(log.given_up, lines)):
            gave_up = tools.clock()
        if gave_up is not None and tools.clock() - gave_up > GIVEN_UP_S:
            raise failed(driver, release, "the engine gave up and hangs")
        left = budget - (tools.clock() - begun)
        answer = tools.ask(driver.endpoint(release), max(1.0, min(ASK_TIMEOUT_S, left)))
        if answer.ok:
            return
        if answer.refused:
            raise failed(driver, release, f"the engine refuses to answer: {answer.detail}")
        if tools.clock() - begun > budget:
            raise _too_slow(driver, release, lines, budget, answer)
        tools.sleep(POLL_S)


def _died(state: EngineState) -> str:
    if state.condition == "absent":
        return "the engine is gone"
    if state.hint is not None:
        return state.detail
    return f"the engine died ({state.detail})" if state.detail else "the engine died"


def _too_slow(
    driver: Driver, release: Release, lines: Sequence[str], budget: float, answer: Reply
) -> EngineError:
    reached = [phase.title for phase in map(log.phase, lines) if phase]
    where = f"the last phase being {reached[-1]}" if reached else "without reporting a phase"
    return EngineError(
        f"the engine did not answer within {duration(budget)}, {where} ({answer.detail})",
        where=_where(driver, release),
        hint="give it more time with --startup-timeout SECONDS, or look for the cause in the log",
        log_tail=tuple(log.tail(lines, TAIL_SHOWN)),
        timed_out=True,
    )


def _still(
    driver: Driver, release: Release, lines: Sequence[str], state: EngineState, waited_s: float
) -> EngineError:
    return EngineError(
        f"nothing has changed for {duration(waited_s)}: {'; '.join(state.waits_for)}",
        where=_where(driver, release),
        hint="mend what it waits for, or give it more time with --startup-timeout SECONDS",
        log_tail=tuple(log.tail(lines, TAIL_SHOWN)),
        timed_out=True,
    )


def failed(driver: Driver, release: Release, what: str, *, hint: str | None = None) -> EngineError:
    """Makes the error of an engine that is no more, from the last lines of its log."""
    lines = _lines(driver, release, FAILURE_WINDOW)
    cause = log.diagnose(lines)
    tail = log.tail(lines, TAIL_SHOWN)
    if cause is None:
        if hint is None:
            hint = "see the engine's log" if lines else "the engine wrote no log"
        return EngineError(what, where=_where(driver, release), hint=hint, log_tail=tuple(tail))
    if cause.line and not any(cause.line in line for line in tail):
        tail = [cause.line, "…", *tail]
    return EngineError(
        f"{what}: {cause.message}",
        where=_where(driver, release),
        hint=cause.hint,
        log_tail=tuple(tail),
    )


def _lines(driver: Driver, release: Release, count: int = LOG_WINDOW) -> list[str]:
    return list(driver.logs(release, tail=count, follow=False))


def _where(driver: Driver, release: Release) -> str:
    path = driver.log_path(release)
    return str(path) if path else f"{release.service}, revision {release.revision}"
