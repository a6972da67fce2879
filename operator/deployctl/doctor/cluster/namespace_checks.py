"""The namespace: is it there, what does it forbid, and how much does it allow."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion, Document
from deployctl.doctor.cluster.needs import Needs, named_secrets
from deployctl.doctor.cluster.room import own
from deployctl.doctor.cluster.telling import refused, unknown, values
from deployctl.doctor.facts import Check, Topic
from deployctl.targets.kubernetes.nodes import asked
from deployctl.units import quantity, size

_LEVEL = "pod-security.kubernetes.io/enforce"
_BYTES = re.compile(r"memory|storage")
_ALSO = {"requests.cpu": "cpu", "requests.memory": "memory"}  # names of the same
# Resource of a quota -> kind whose objects it counts.
_COUNTED = {
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "services": "Service",
    "configmaps": "ConfigMap",
    "count/deployments.apps": "Deployment",
    "count/jobs.batch": "Job",
}


def namespace_checks(facts: ClusterFacts, question: ClusterQuestion) -> Iterator[Check]:
    """The namespace itself, its levels, quotas, ranges, and the Secrets that are named."""
    yield _there(facts)
    if facts.namespace_there is False:
        return
    yield _security(facts, question.needs)
    yield _quota(facts, question.needs)
    yield _ranges(facts, question.needs)
    yield from _admission(facts)
    yield from _secrets(facts, question.needs)


def _there(facts: ClusterFacts) -> Check:
    it, name = Topic("namespace", "Namespace"), facts.namespace
    if facts.namespace_there is False:
        return it.fail(f"there is no namespace {name}", f"kubectl create namespace {name}")
    phase = ((facts.namespace_object or {}).get("status") or {}).get("phase")
    if phase == "Terminating":
        return it.fail(f"{name} is being deleted", "wait until it is gone and make it anew")
    if facts.namespace_there is None:
        return it.warn(f"{name}: unknown whether it exists", f"kubectl get namespace {name}")
    return it.good(name)


def _security(facts: ClusterFacts, needs: Needs) -> Check:
    it = Topic("pod-security", "Pod security")
    if facts.namespace_object is None:
        return unknown(it, facts, "namespace_object", "the chart's pods keep to restricted")
    labels = facts.namespace_object["metadata"].get("labels") or {}
    level = labels.get(_LEVEL)
    if level in (None, "privileged"):
        return it.good(f"{level or 'no level is set'}; the chart's pods keep to restricted")
    hosts = [pod.name for pod in needs.pods if _host_path(pod.spec)]
    if hosts and needs.planned:
        yaml = values({"model": {"hostPath": "", "claim": "NAME"}})
        text = f"{level} forbids the folder of a node that {', '.join(hosts)} mounts"
        fix = "put the model on a claim, --values with this; or kubectl label namespace "
        return it.fail(text, f"{fix}{facts.namespace} {_LEVEL}=privileged --overwrite", yaml)
    return it.good(f"{level}, which the chart's pods keep to")


def _host_path(spec: Document) -> bool:
    return any("hostPath" in volume for volume in spec.get("volumes") or ())


def _quota(facts: ClusterFacts, needs: Needs) -> Check:
    it = Topic("quota", "Quota")
    if facts.quotas is None:
        return unknown(it, facts, "quotas")
    if not facts.quotas:
        return it.good("none")
    bounds = list(_bounds(facts, needs))
    over = [bound for bound in bounds if bound.wrong]
    if not over:
        return it.good("; ".join(bound.left for bound in bounds))
    fix = "raise it: kubectl edit resourcequota; or ask for less: resources in --values"
    yaml = values({"resources": {"cpuLimit": "4"}}) if any(b.unset for b in over) else ""
    return refused(it, needs, "; ".join(bound.wrong for bound in over), fix, yaml)


class _Bound(NamedTuple):
    """A resource of a quota."""

    left: str
    wrong: str = ""  # nothing where it is kept to
    unset: bool = False  # whether what is wrong is that pods have no limit


def _bounds(facts: ClusterFacts, needs: Needs) -> Iterator[_Bound]:
    wanted, handed_back = _wanted(needs), _held(facts, needs)
    for quota in facts.quotas or ():
        status = quota.get("status") or {}
        used = status.get("used") or {}
        for name, hard in (status.get("hard") or quota["spec"].get("hard") or {}).items():
            key = _ALSO.get(name, name)
            most, now = quantity(hard) or 0.0, quantity(used.get(name, 0)) or 0.0
            asks, left = wanted.get(key, 0.0), most - now + handed_back.get(key, 0.0)
            text = f"{name} {_amount(name, max(left, 0))} left of {hard}"
            limits = key.startswith("limits.") and needs.pods and not _defaulted(facts, key)
            if asks > left + 1e-9:
                where = f"{_amount(name, asks)} asked for ({quota['metadata']['name']})"
                yield _Bound(text, f"{text}, {where}")
            elif limits and asks == 0.0:
                must = "is limited, so each pod must have one, and the chart sets none"
                yield _Bound(text, f"{name} {must}", unset=True)
            else:
                yield _Bound(text)


def _wanted(needs: Needs) -> dict[str, float]:
    """What services take of a quota, under its names."""
    total: dict[str, float] = {}
    for pod in needs.pods:
        _add(total, pod.spec, pod.replicas)
    for claim in needs.of_kind("PersistentVolumeClaim"):
        _more(total, "requests.storage", _storage(claim))
    for name, kind in _COUNTED.items():
        _more(total, name, len(needs.of_kind(kind)))
    return total


def _held(facts: ClusterFacts, needs: Needs) -> dict[str, float]:
    """What these services hold already of the same quota, and would hand back."""
    total: dict[str, float] = {}
    for pod in facts.pods or ():
        if own(pod, facts, needs):
            _add(total, pod["spec"], 1)
    have = {c["metadata"]["name"] for c in facts.claims or ()}
    for claim in needs.of_kind("PersistentVolumeClaim"):
        if claim["metadata"]["name"] in have:
            _more(total, "requests.storage", _storage(claim))
            _more(total, "persistentvolumeclaims", 1)
    return total


def _add(total: dict[str, float], spec: Document, pods: int) -> None:
    for name, amount in asked(spec).items():
        _more(total, name if name in ("cpu", "memory") else f"requests.{name}", amount * pods)
    for name, amount in asked(spec, "limits").items():
        _more(total, f"limits.{name}", amount * pods)
    _more(total, "pods", pods)
    _more(total, "count/pods", pods)


def _more(total: dict[str, float], name: str, amount: float) -> None:
    total[name] = total.get(name, 0.0) + amount


def _storage(claim: Document) -> float:
    return quantity(claim["spec"]["resources"]["requests"]["storage"]) or 0.0


def _defaulted(facts: ClusterFacts, key: str) -> bool:
    """Whether a LimitRange gives each container that limit."""
    name = key.removeprefix("limits.")
    return any(name in (limit.get("default") or {}) for limit in _limits(facts))


def _limits(facts: ClusterFacts) -> list[Document]:
    return [
        limit for each in facts.limit_ranges or () for limit in each["spec"].get("limits") or ()
    ]


def _ranges(facts: ClusterFacts, needs: Needs) -> Check:
    """Bounds of a container or pod, and limits that are given to who has none."""
    it = Topic("limit-range", "Limit ranges")
    if facts.limit_ranges is None:
        return unknown(it, facts, "limit_ranges")
    broken: list[str] = []
    given: list[str] = []
    for limit in _limits(facts):
        for pod in needs.pods:
            broken += _broken(limit, pod.name, pod.spec)
        if limit.get("type") == "Container" and "cpu" in (limit.get("default") or {}):
            given.append(str(limit["default"]["cpu"]))
    for claim in needs.of_kind("PersistentVolumeClaim"):
        for limit in (
            each for each in _limits(facts) if each.get("type") == "PersistentVolumeClaim"
        ):
            wanted = claim["spec"]["resources"]["requests"]
            broken += _outside(limit, claim["metadata"]["name"], wanted, "max", above=True)
    if broken:
        fix = "kubectl edit limitrange; or other resources in --values"
        text = "; ".join(dict.fromkeys(broken))
        return refused(it, needs, text, fix)
    if given:
        yaml = values({"resources": {"cpuLimit": "8"}})
        text = f"containers without a CPU limit are given {', '.join(given)}: it stalls the engine"
        return it.warn(text, "a limit of your own, --values with this, or another namespace", yaml)
    return it.good("none" if not facts.limit_ranges else "kept to")


def _broken(limit: Document, name: str, spec: Document) -> Iterator[str]:
    kind = limit.get("type")
    if kind == "Pod":
        yield from _outside(limit, name, asked(spec, "limits"), "max", above=True)
    elif kind == "Container":
        for container in spec.get("containers") or ():
            alone = {"containers": [container]}
            yield from _outside(limit, name, asked(alone, "limits"), "max", above=True)
            yield from _outside(limit, name, asked(alone), "min", above=False)


def _outside(
    limit: Document, name: str, wanted: Mapping[str, object], bound: str, *, above: bool
) -> Iterator[str]:
    for resource, most in (limit.get(bound) or {}).items():
        edge, asks = quantity(most) or 0.0, quantity(wanted.get(resource))
        if asks is not None and (asks > edge if above else asks < edge):
            told = _amount(resource, asks)
            yield f"{name} asks for {told} {resource}, {bound} of a {limit.get('type')} is {most}"


def _admission(facts: ClusterFacts) -> Iterator[Check]:
    for name, why in facts.admission.items():
        it = Topic("admission", f"Admission of {name}")
        yield it.fail(why, "its text says who refuses: a quota, pod security, or a webhook's owner")


def _secrets(facts: ClusterFacts, needs: Needs) -> Iterator[Check]:
    for name, by in named_secrets(needs).items():
        it = Topic("secret", f"Secret {name}")
        if facts.secrets is None:
            yield unknown(it, facts, "secrets", "see Permissions")
        elif name in facts.secrets:
            yield it.good("there")
        else:
            fix = f"kubectl create secret -n {facts.namespace} …; or take it out of --values"
            yield it.fail(f"{by} names it, and it is not there", fix)


def _amount(name: str, value: float) -> str:
    return size(value) if _BYTES.search(name) else f"{value:g}"
