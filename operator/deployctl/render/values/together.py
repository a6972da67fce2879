"""Values that fit each by itself and not together: what charts/vllm/templates/_checks.tpl refuses.

Said here too, so that a render is refused without helm, and with the path of the value. The words
are the chart's; a test holds the two lists equal.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from deployctl.render.values import Values

_TAGGED = re.compile(r":[^/]+$")
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_OWN = re.compile(r"--(model|host|port|api-key|hf-token|revision|uds)(?==|$)")
_SECRET = re.compile(r"(TOKEN|API_?KEY|SECRET|PASSWORD)$", re.IGNORECASE)
_WRITER = "ReadWriteOnce"


class Refusal(NamedTuple):
    """Why values do not fit together: the value to change, what is wrong, how to mend it."""

    path: str  # cache.accessMode
    message: str
    hint: str = ""


def refusals(values: "Values") -> Iterator[Refusal]:
    """Everything that the chart would refuse, in its order."""
    yield from _images(values)
    yield from _model(values)
    yield from _cache(values)
    if values.rollout.max_surge == 0 and values.rollout.max_unavailable == 0:
        yield Refusal(
            "rollout",
            "maxSurge and maxUnavailable are both 0, so that no pod could ever be replaced",
        )
    yield from _download(values)
    if values.drain.grace_period_seconds < values.drain.pre_stop_seconds + 10:
        yield Refusal(
            "drain.gracePeriodSeconds", "give requests at least 10 s after drain.preStopSeconds"
        )
    yield from _scaling(values)
    yield from _exposed(values)
    yield from _secrets(values)
    if values.gpu.count > 0 and values.security.read_only_root_filesystem:
        yield Refusal(
            "security.readOnlyRootFilesystem",
            "NVIDIA's hook writes into the root of a pod with cards",
            "use false",
        )


def _images(values: "Values") -> Iterator[Refusal]:
    engine = values.engine.image
    if "@sha256:" not in engine and not _TAGGED.search(engine):
        yield Refusal("engine.image", f"{engine} is not pinned", "add a tag or a digest")
    images = {"engine": engine, "router": values.router.image, "download": values.download.image}
    for owner, image in images.items():
        if image.endswith(":latest"):
            yield Refusal(
                f"{owner}.image",
                f"{image}: latest is another image tomorrow",
                "pin a release or a digest",
            )


def _model(values: "Values") -> Iterator[Refusal]:
    model = values.model
    if model.claim and model.host_path:
        yield Refusal("model", "claim and hostPath are both set", "a checkpoint lies in one place")
    if _from_hub(values) and not _HUB_ID.fullmatch(model.id):
        yield Refusal(
            "model.id", f'"{model.id}" is no Hub id', "for a folder name its claim or hostPath"
        )


def _from_hub(values: "Values") -> bool:
    return not (values.model.claim or values.model.host_path)


def _most_replicas(values: "Values") -> int:
    scaled = values.autoscaling.kind != "none"
    return values.autoscaling.max_replicas if scaled else values.replicas


def _access_mode(values: "Values") -> str:
    return values.cache.access_mode or ("ReadWriteMany" if _most_replicas(values) > 1 else _WRITER)


def _cache(values: "Values") -> Iterator[Refusal]:
    cache, most = values.cache, _most_replicas(values)
    if not cache.enabled:
        return
    mode = _access_mode(values)
    if mode == _WRITER and most > 1 and not cache.existing_claim:
        yield Refusal(
            "cache.accessMode",
            f"ReadWriteOnce is one node's, and there may be {most} replicas",
            "use ReadWriteMany, or cache.enabled: false",
        )
    if cache.existing_claim and most > 1 and cache.access_mode != "ReadWriteMany":
        yield Refusal(
            "cache.existingClaim",
            "for several replicas it must be ReadWriteMany",
            "say so with cache.accessMode",
        )
    if mode == _WRITER and values.rollout.max_surge > 0:
        yield Refusal(
            "rollout.maxSurge",
            "a new pod would wait for the ReadWriteOnce cache of the old one",
            "use 0",
        )


def _download(values: "Values") -> Iterator[Refusal]:
    path = "download.enabled"
    if not values.download.enabled:
        return
    if not _from_hub(values):
        yield Refusal(path, "the model is not from the Hub")
    if not values.cache.enabled:
        yield Refusal(path, "there is no cache to download into", "use cache.enabled: true")
    if _access_mode(values) != "ReadWriteMany":
        yield Refusal(
            path,
            "the Job and the engine run on different nodes",
            "use cache.accessMode: ReadWriteMany",
        )


def _scaling(values: "Values") -> Iterator[Refusal]:
    scaling = values.autoscaling
    if scaling.kind == "none":
        return
    if scaling.max_replicas < scaling.min_replicas:
        yield Refusal("autoscaling.maxReplicas", "fewer than minReplicas")
    if scaling.kind == "keda" and not scaling.prometheus_url:
        yield Refusal(
            "autoscaling.prometheusUrl",
            "keda asks Prometheus",
            "say where it is, e.g. http://prometheus.monitoring:9090",
        )


def _exposed(values: "Values") -> Iterator[Refusal]:
    ingress, route = values.ingress, values.http_route
    if ingress.enabled and not ingress.host:
        yield Refusal("ingress.host", "an Ingress without a host takes everyone's requests")
    if ingress.enabled and not ingress.tls_secret:
        yield Refusal("ingress.tlsSecret", "keys and prompts would travel in the clear")
    if route.enabled and not route.parents:
        yield Refusal("httpRoute.parents", "name a Gateway")
    outside = ingress.enabled or route.enabled or values.service.type != "ClusterIP"
    if outside and not values.api_key.enabled:
        yield Refusal(
            "apiKey.enabled", "a service that is reached from outside the cluster needs a key"
        )


def _secrets(values: "Values") -> Iterator[Refusal]:
    for name, secret in (("apiKey", values.api_key), ("hubToken", values.hub_token)):
        if secret.value and secret.existing_secret:
            yield Refusal(name, "value and existingSecret are both set")
    for word in values.engine.args:
        found = _OWN.match(word)
        if found:
            yield Refusal(
                "engine.args",
                f"{found[0]} is the chart's own",
                "see model, engine.port and apiKey",
            )
    for name in values.engine.env:
        if _SECRET.search(name):
            yield Refusal(f"engine.env.{name}", "looks like a secret", "use apiKey or hubToken")
