"""What a user must be allowed: from deploy/kubernetes/permissions.yaml to reviews, checks and the
Role that grants what is missing. Pure.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deployctl import assets
from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion, Document, Right
from deployctl.doctor.facts import Check, Topic
from deployctl.render import yamltext

_RBAC = "rbac.authorization.k8s.io"
_FIX = "an administrator applies this (kubectl apply -f -), or --as another user"
_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


def needed(kinds: Iterable[str] = (), besides: Iterable[str] = ()) -> list[Right]:
    """What every service takes, and its objects of these kinds; `besides` are other parts of the
    table: `upload`, `probe`.
    """
    table = _table()
    chart = table["chart"]
    made = {kind for kind, about in chart.items() if about.get("always")} | set(kinds)
    rights = list(_rights(table["target"]))
    for part in besides:
        rights += _rights(table[part])
    for kind in sorted(made & chart.keys()):
        rights += _of_kind(chart[kind])
    return list(dict.fromkeys(rights))


def optional(kinds: Iterable[str] = ()) -> dict[str, list[Right]]:
    """The same of the other kinds that the chart can make, by kind; and of load from pods."""
    have, table = set(needed(kinds)), _table()
    more = {kind: _of_kind(about) for kind, about in table["chart"].items()}
    more["load"] = [*_rights(table["load"])]
    found = {kind: [r for r in rights if r not in have] for kind, rights in more.items()}
    return {kind: rights for kind, rights in found.items() if rights}


def looks() -> list[Right]:
    """What is looked at to explain, and nowhere needed."""
    table = _table()["looks"]
    return [*_rights(table["namespace"]), *_rights(table["cluster"], everywhere=True)]


def all_rights() -> list[Right]:
    """Whatever is worth a question."""
    more = [right for rights in optional().values() for right in rights]
    return list(dict.fromkeys([*needed((), ("upload", "probe")), *more, *looks()]))


def review(right: Right, namespace: str) -> Document:
    """The SelfSubjectAccessReview that asks for a right."""
    resource, _, part = right.resource.partition("/")
    asked = {"verb": right.verb, "group": right.group, "resource": resource}
    if part:
        asked["subresource"] = part
    if not right.everywhere:
        asked["namespace"] = namespace
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }


def access_checks(facts: ClusterFacts, question: ClusterQuestion) -> Iterator[Check]:
    """What the user may not do, and the Role for it."""
    kinds = question.needs.kinds if question.needs.planned else frozenset()
    asked = {"upload": question.upload, "probe": question.probe}
    yield _needed(facts, needed(kinds, [part for part, wanted in asked.items() if wanted]))
    known = facts.apis or {}
    wanted = [
        right
        for rights in optional(kinds).values()
        for right in rights
        if not right.group or right.group in known
    ]
    yield from _some(
        facts,
        Topic("permissions-optional", "Permissions: options"),
        wanted,
        "only for what the chart's values turn on (autoscaling, ingress, monitoring, router), and "
        "for load from pods",
        "deployctl-options",
    )
    told = "deployctl goes on without, but explains less, or learns later what is wrong"
    have = [r for r in looks() if not r.group or r.group in known]
    it = Topic("permissions-looks", "Permissions: looks")
    yield from _some(facts, it, have, told, "deployctl-looks")


def _needed(facts: ClusterFacts, rights: list[Right]) -> Check:
    it = Topic("permissions", "Permissions")
    unknown = [right for right in rights if right not in facts.rights]
    if unknown:
        why = facts.untold.get("rights", "the API server did not say")
        return it.warn(f"unknown: {why}", "kubectl auth can-i --list -n " + facts.namespace)
    missing = [right for right in rights if not facts.rights[right]]
    if not missing:
        return it.good(f"all {len(rights)} that a service takes in namespace {facts.namespace}")
    return it.fail(_told(missing, facts), _FIX, manifest(rights, facts, "deployctl"))


def _some(
    facts: ClusterFacts, it: Topic, rights: list[Right], told: str, name: str
) -> Iterator[Check]:
    missing = [right for right in rights if facts.rights.get(right) is False]
    if missing:
        text = f"{_told(missing, facts)}: {told}"
        yield it.warn(text, _FIX, manifest(rights, facts, name))
    elif any(right in facts.rights for right in rights):
        yield it.good("all")


def _told(rights: list[Right], facts: ClusterFacts) -> str:
    """`ann may not create, patch deployments.apps in namespace llm; nor list nodes …`."""
    lines = []
    for everywhere in (False, True):
        verbs: dict[str, set[str]] = defaultdict(set)
        for right in rights:
            if right.everywhere == everywhere:
                verbs[right.kind].add(right.verb)
        together: dict[str, list[str]] = defaultdict(list)
        for kind, names in verbs.items():
            together[", ".join(v for v in _VERBS if v in names)].append(kind)
        if together:
            text = "; ".join(f"{names} {', '.join(kinds)}" for names, kinds in together.items())
            where = "in the cluster" if everywhere else f"in namespace {facts.namespace}"
            lines.append(f"{text} {where}")
    return f"{facts.user or 'this user'} may not " + "; nor ".join(lines)


def manifest(rights: Iterable[Right], facts: ClusterFacts, name: str) -> str:
    """A Role and a ClusterRole that grant rights, bound to the user."""
    rights = list(rights)
    objects: list[Document] = []
    for everywhere in (False, True):
        rules = _rules(right for right in rights if right.everywhere == everywhere)
        if rules:
            objects += _role(rules, facts, name, everywhere=everywhere)
    return "---\n".join(yamltext.write(document, "") for document in objects)


def _role(
    rules: list[Document], facts: ClusterFacts, name: str, *, everywhere: bool
) -> list[Document]:
    kind = "ClusterRole" if everywhere else "Role"
    place = {} if everywhere else {"namespace": facts.namespace}
    who = re.sub(r"[^a-z0-9.-]+", "-", (facts.user or "user").lower()).strip("-.")
    return [
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": kind,
            "metadata": {"name": name, **place},
            "rules": rules,
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": {"name": f"{name}-{who}", **place},
            "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
            "subjects": [_subject(facts.user)],
        },
    ]


def _subject(user: str | None) -> Document:
    account = (user or "").removeprefix("system:serviceaccount:")
    if user and account != user:
        namespace, _, name = account.partition(":")
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return {"apiGroup": _RBAC, "kind": "User", "name": user or "USER"}


def _rules(rights: Iterable[Right]) -> list[Document]:
    """A rule for each group of resources with the same verbs."""
    verbs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for right in rights:
        verbs[(right.group, right.resource)].add(right.verb)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource), names in sorted(verbs.items()):
        together[(group, tuple(v for v in _VERBS if v in names))].append(resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(names)}
        for (group, names), resources in together.items()
    ]


def _of_kind(about: Mapping[str, Any]) -> list[Right]:
    helm = {**about, "verbs": _table()["helm"]}
    return [*_rights([helm]), *_rights(about.get("holds") or ())]


def _rights(rules: Iterable[Mapping[str, Any]], *, everywhere: bool = False) -> Iterator[Right]:
    for rule in rules:
        for verb in rule["verbs"]:
            yield Right(verb, rule.get("group", ""), rule["resource"], everywhere)


def _table() -> Any:
    return assets.table("deploy", "kubernetes", "permissions.yaml")
