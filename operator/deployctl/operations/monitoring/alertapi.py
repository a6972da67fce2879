"""The few things that are asked of an Alertmanager, by its API v2 and its metrics."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl.boundedyaml import parse
from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.metrics.snapshot import families_of
from deployctl.render.monitoring.alertmanager import RECEIVER_LABEL, TEST_LABEL
from deployctl_loadtest import foreign

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 10.0
_TRIED = "alertmanager_notification_requests_total"
_FAILED = "alertmanager_notification_requests_failed_total"
_SUFFIX = "_configs"
_RUNS = (
    "start it, or name another with --alertmanager; deployctl up --with-monitoring brings one of "
    "your own"
)


class Status(NamedTuple):
    """What an Alertmanager says of itself."""

    version: str
    receivers: Mapping[str, tuple[str, ...]]  # by name: the kinds that tell somebody
    routes_tests: bool  # a test of one receiver has a route


class SeenAlert(NamedTuple):
    """What Alertmanager makes of an alert."""

    receivers: tuple[str, ...]
    muted: str | None  # silenced, inhibited, muted


class Counts(NamedTuple):
    """Attempts to tell somebody so far, by kind of receiver: all, and those that failed."""

    tried: Mapping[str, float]
    failed: Mapping[str, float]

    def since(self, before: "Counts", kind: str) -> tuple[bool, bool]:
        """Whether there were attempts since, and failed ones."""
        tried, failed = (
            now.get(kind, 0.0) > then.get(kind, 0.0) for now, then in zip(self, before, strict=True)
        )
        return tried, failed


class Alertmanager:
    """A connection. Use it as a context manager.

    Every method raises TargetError where it does not answer, or answers with what no Alertmanager
    does.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        from deployctl import web

        self._where = endpoint.url
        self._client = web.client(endpoint, TIMEOUT_S)

    def __enter__(self) -> "Alertmanager":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def status(self) -> Status:
        """Its version, and its receivers."""
        told = self._json("GET", "/api/v2/status")
        try:
            version = foreign.message(str(told["versionInfo"]["version"]))
            documents, _ = parse(str(told["config"]["original"]), tags=False)
            config = documents[0].data
            receivers = {_name(each): _kinds(each) for each in config["receivers"]}
            return Status(version, receivers, RECEIVER_LABEL in str(config["route"]))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise self._none() from error

    def send(
        self,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        now: datetime,
        lasts_s: float,
    ) -> None:
        """Hands it an alert that ends by itself."""
        alert = {
            "labels": dict(labels),
            "annotations": dict(annotations),
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(seconds=lasts_s)).isoformat(),
        }
        self._ask("POST", "/api/v2/alerts", json=[alert])

    def find(self, test: str) -> SeenAlert | None:
        """The test alert of that number, once it is there and its receivers are known."""
        listed = self._json("GET", "/api/v2/alerts", params={"filter": f'{TEST_LABEL}="{test}"'})
        try:
            if not listed:
                return None
            status = listed[0]["status"]
            if status["state"] == "unprocessed":
                return None
            names = tuple(_name(each) for each in listed[0]["receivers"])
            why = {"silencedBy": "silenced", "inhibitedBy": "inhibited", "mutedBy": "muted"}
            muted = next((word for field, word in why.items() if status.get(field)), None)
            return SeenAlert(names, muted)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise self._none() from error

    def told(self) -> Counts:
        """How often it has tried to tell somebody."""
        text = self._ask("GET", "/metrics").content.decode("utf-8", "replace")
        try:
            families = families_of(text, (_TRIED, _FAILED))
            return Counts(*(_by_kind(families, name) for name in (_TRIED, _FAILED)))
        except (ValueError, OverflowError, LookupError, TypeError, AttributeError) as error:
            raise self._none() from error

    def _json(self, method: str, path: str, **more: Any) -> Any:
        try:
            return foreign.document(self._ask(method, path, **more).content)
        except ValueError as error:
            raise self._none() from error

    def _ask(self, method: str, path: str, **more: Any) -> "httpx.Response":
        import httpx

        from deployctl import web

        try:
            response = self._client.request(method, path, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TargetError(
                f"Alertmanager does not answer: {web.problem(error, TIMEOUT_S)}",
                where=self._where,
                hint=_RUNS,
            ) from error
        if response.status_code == 404:
            raise self._none()
        if response.status_code != 200:
            said = foreign.message(response.text)
            raise TargetError(
                f"Alertmanager answers with HTTP {response.status_code}: {said}",
                where=f"{self._where}{path}",
                hint="its log says more",
            )
        return response

    def _none(self) -> TargetError:
        return TargetError(
            "this is no Alertmanager of release 0.16 or newer", where=self._where, hint=_RUNS
        )


def _name(receiver: Mapping[str, Any]) -> str:
    """A receiver's name, as it may be shown: the same wherever it comes from."""
    return foreign.message(str(receiver["name"]))


def _kinds(receiver: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of a receiver, by the names that Alertmanager counts them by."""
    return tuple(
        foreign.message(str(name).removesuffix(_SUFFIX))
        for name, listed in receiver.items()
        if str(name).endswith(_SUFFIX) and listed
    )


def _by_kind(families: Mapping[str, Any], name: str) -> dict[str, float]:
    found: dict[str, float] = {}
    family = families.get(name.removesuffix("_total"))
    for sample in family.samples if family is not None else ():
        kind = sample.labels.get("integration", "")
        found[kind] = found.get(kind, 0.0) + sample.value
    return found
