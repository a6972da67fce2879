"""deploy/kubernetes/permissions.yaml is what the chart, the target and the doctor really do."""

import ast
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.unit.doctor.cluster_parts import RecordedCluster, check, checks, deployment, question

from deployctl import assets
from deployctl.doctor.cluster import access
from deployctl.doctor.cluster.facts import Right

TABLE = assets.table("deploy", "kubernetes", "permissions.yaml")
TEMPLATES = assets.path("charts", "vllm", "templates")
OPERATOR = Path(access.__file__).parents[2]
TARGET = sorted((OPERATOR / "targets/kubernetes").glob("*.py"))
UPLOAD = sorted((OPERATOR / "targets/kubernetes/checkpoint").glob("*.py"))
LOAD = sorted((OPERATOR / "targets/kubernetes/load").glob("*.py"))
PARTS = {file.parent for file in (OPERATOR / "targets/kubernetes").rglob("*.py")}
DOCTOR = [OPERATOR / "doctor/cluster/probes.py"]
# Methods of Cluster, and the verbs that the API server asks for; a `put_secret` is of Secrets.
VERBS = {
    "get": {"get"},
    "items": {"list"},
    "metadata": {"list"},
    "create": {"create"},
    "replace": {"update"},
    "patch": {"patch"},
    "apply": {"patch", "create"},
    "delete": {"delete"},
    "text": {"get"},
    "follow": {"get"},
    "stream": {"get", "create"},
}
ANYBODY = {"authorization.k8s.io", "authentication.k8s.io"}  # what every user may ask
ANY = ("*", "*", False)  # of a path whose kind is an object's own: one of the chart's


def assignments(node):
    """Names and what an assignment gives them, one by one."""
    if not isinstance(node, ast.Assign):
        return []
    to, what = node.targets[0], node.value
    if isinstance(to, ast.Tuple) and isinstance(what, ast.Tuple):
        return [(ast.unparse(t), v) for t, v in zip(to.elts, what.elts, strict=False)]
    return [(ast.unparse(to), what)]


class Reader(ast.NodeVisitor):
    """Finds what a module asks a Cluster for: verbs by group, resource and whether everywhere."""

    def __init__(self, tree):
        self.tree, self.used, self.unread = tree, defaultdict(set), []
        every = dict(pair for node in tree.body for pair in assignments(node))
        self.constants = {n: v.value for n, v in every.items() if isinstance(v, ast.Constant)}
        self.functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        self.scope = []

    def visit_FunctionDef(self, node):
        self.scope.append(node)
        self.generic_visit(node)
        self.scope.pop()

    def visit_Call(self, node):
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in VERBS and node.args:
            found = self.path(node.args[0])
            if found is not None:
                self.used[found] |= VERBS[function.attr]
            elif ast.unparse(function.value).endswith("cluster"):
                self.unread.append(f"line {node.lineno}: {ast.unparse(node)[:80]}")
        self.generic_visit(node)

    def path(self, node):
        """(group, resource, everywhere) of an expression that is a path; None of any other."""
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if (called.endswith(".path") or called == "here") and len(node.args) > 1:
                if isinstance(node.args[0], ast.Subscript):
                    return ANY
                group, kind = (self.text(argument) for argument in node.args[:2])
                return (group.rpartition("/")[0], kind, False) if group and kind else None
            made = self.functions.get(called)
            if made is not None:  # a function of the module that gives a path
                returns = [n.value for n in ast.walk(made) if isinstance(n, ast.Return) and n.value]
                return self.path(returns[-1]) if returns else None
        if isinstance(node, ast.BinOp):
            return self.below(self.path(node.left), self.text(node.right))
        if isinstance(node, ast.JoinedStr):
            return self.joined(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.literal(node.value)
        if isinstance(node, ast.Attribute) and node.attr in self.functions:  # a property
            return self.path(ast.parse(f"{node.attr}()", mode="eval").body)
        if isinstance(node, ast.Name):
            return self.assigned(node.id)
        return None

    def joined(self, node):
        first = node.values[0]
        if isinstance(first, ast.FormattedValue):
            rest = "".join(v.value for v in node.values[1:] if isinstance(v, ast.Constant))
            return self.below(self.path(first.value), rest if "?" in rest else "")
        return self.literal(str(first.value))

    def below(self, found, more):
        part = re.match(r"/([a-z]+)", more or "")
        return (found[0], f"{found[1]}/{part[1]}", found[2]) if found and part else found

    def literal(self, text):
        seen = re.match(r"/(?:api/v1|apis/([^/]+)/[^/]+)/([a-z]+)", text)
        return (
            (seen[1] or "", seen[2], True) if seen else ("", "", True) if text[:1] == "/" else None
        )

    def assigned(self, name):
        for scope in reversed(self.scope):
            values = dict(pair for n in ast.walk(scope) for pair in assignments(n))
            if name in values:
                return self.path(values[name])
        return None

    def text(self, node):
        if isinstance(node, ast.Name):
            return self.constants.get(node.id)
        if isinstance(node, ast.JoinedStr):
            return "".join(v.value for v in node.values if isinstance(v, ast.Constant))
        return node.value if isinstance(node, ast.Constant) else None


def used(files):
    """What modules ask for, and what of it could not be read."""
    found, unread = defaultdict(set), []
    for file in files:
        reader = Reader(ast.parse(file.read_text()))
        reader.visit(reader.tree)
        for key, verbs in reader.used.items():
            if key[1] and key[0] not in ANYBODY:
                found[key] |= verbs
        unread += [f"{file.name}, {line}" for line in reader.unread]
    return dict(found), unread


def said(rules, everywhere=False):
    return {(r.get("group", ""), r["resource"], everywhere): set(r["verbs"]) for r in rules}


def test_every_kind_of_the_chart_is_there_and_no_other():
    kinds, always = {}, set()
    for file in TEMPLATES.rglob("*.yaml"):
        if file.parent.name == "tests":
            continue
        text = file.read_text()
        for version, kind in re.findall(r"^apiVersion: (\S+)\nkind: (\S+)$", text, re.MULTILINE):
            kinds[kind] = version.rpartition("/")[0]
    assert {kind: about.get("group", "") for kind, about in TABLE["chart"].items()} == kinds
    always = {kind for kind, about in TABLE["chart"].items() if about.get("always")}
    assert always == {
        "ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim",
        "PodDisruptionBudget", "Service", "ServiceAccount",
    }  # fmt: skip


def test_who_makes_the_charts_role_must_hold_what_it_grants():
    text = (TEMPLATES / "router/role.yaml").read_text()
    rules = yaml.safe_load(text[text.index("rules:") : text.index("{{- end }}")])["rules"]
    granted = [
        {"resource": resource, "verbs": rule["verbs"]}
        for rule in rules
        for resource in rule["resources"]
    ]
    assert TABLE["chart"]["Role"]["holds"] == granted


def test_what_the_target_asks_a_cluster_for():
    found, unread = used(TARGET)
    assert not unread, "write the path where it is asked for, so that this test can read it"
    assert found.pop(ANY, set()) <= set(TABLE["helm"])
    here = {key: verbs for key, verbs in found.items() if not key[2]}
    helm = {("", "secrets", False): {"list", "create", "update", "get", "delete"}}  # its releases
    for key, verbs in helm.items():
        here[key] = here.get(key, set()) | verbs
    spared = said(TABLE["looks"]["namespace"])
    needed = {key: verbs - spared.get(key, set()) for key, verbs in here.items()}
    assert said(TABLE["target"]) == {key: verbs for key, verbs in needed.items() if verbs}
    elsewhere = {key: verbs for key, verbs in found.items() if key[2]}
    looks = said(TABLE["looks"]["cluster"], everywhere=True)
    assert all(verbs <= looks.get(key, set()) for key, verbs in elsewhere.items()), elsewhere


@pytest.mark.parametrize(("part", "files"), [("upload", UPLOAD), ("load", LOAD)])
def test_what_bringing_a_folder_takes_and_load_from_pods(part, files):
    found, unread = used(files)
    assert not unread
    known = defaultdict(set, said(TABLE["target"]))
    for about in TABLE["chart"].values():
        if about.get("always"):
            known[(about.get("group", ""), about["resource"], False)] |= set(TABLE["helm"])
    more = {k: v - known[k] for k, v in found.items() if v - known[k]}
    assert said(TABLE[part]) == more
    names = {folder.name for folder in PARTS}
    assert names == {"kubernetes", "checkpoint", "load"}, "read them here too"


def test_what_the_doctor_looks_at():
    found, unread = used(DOCTOR)
    assert not unread
    known = said(TABLE["target"])
    for key, verbs in said(TABLE["looks"]["namespace"]).items():
        known[key] = known.get(key, set()) | verbs
    looks = said(TABLE["looks"]["cluster"], everywhere=True)
    here = {k: v for k, v in found.items() if not k[2]}
    assert all(verbs <= known.get(key, set()) for key, verbs in here.items()), here
    assert {k: v for k, v in found.items() if k[2]} == looks


def test_what_a_pod_on_trial_takes():
    found, unread = used([OPERATOR / "doctor/cluster/pod_probe.py"])
    assert not unread
    known = said(TABLE["target"])
    assert {k: v for k, v in found.items() if not v <= known.get(k, set())} == said(TABLE["probe"])

    def may(asked):
        return asked["resource"] != "jobs"

    asked = replace(question(), probe=True)
    assert check("permissions", RecordedCluster(may=may), asked).status == "fail"


def test_the_reader_reads():
    tree = ast.parse(
        "GROUP, KIND = 'apps/v1', 'deployments'\n"
        "def where(cluster): return cluster.path('v1', 'pods', 'a') + '/log'\n"
        "def f(cluster, other):\n"
        "    path = cluster.path(GROUP, KIND)\n"
        "    cluster.delete(f'{path}/a')\n"
        "    cluster.text(where(cluster))\n"
        "    cluster.stream(cluster.path('v1', 'pods', 'a') + f'/portforward?ports={1}')\n"
        "    cluster.items('/apis/node.k8s.io/v1/runtimeclasses')\n"
        "    cluster.get(other)\n"
    )
    reader = Reader(tree)
    reader.visit(tree)
    assert dict(reader.used) == {
        ("apps", "deployments", False): {"delete"},
        ("", "pods/log", False): {"get"},
        ("", "pods/portforward", False): {"get", "create"},
        ("node.k8s.io", "runtimeclasses", True): {"list"},
    }
    assert len(reader.unread) == 1


def test_a_user_who_may_all_is_told_nothing_to_apply():
    found = [c for c in checks(RecordedCluster()) if c.id.startswith("permissions")]
    assert [c.status for c in found] == ["pass"] * 3
    assert not any(c.yaml for c in found)


def test_what_is_missing_is_named_with_the_role_that_grants_it():
    def may(asked):
        return not (asked["resource"] == "deployments" and asked["verb"] in ("create", "patch"))

    found = check("permissions", RecordedCluster(may=may))
    assert found.status == "fail"
    assert found.detail == "ann may not create, patch deployments.apps in namespace llm"
    role, binding = yaml.safe_load_all(found.yaml)
    assert (role["kind"], role["metadata"]) == ("Role", {"name": "deployctl", "namespace": "llm"})
    # Whole: applying it over an earlier one takes nothing away.
    assert rights_of(role) == set(access.needed())
    assert binding["roleRef"]["name"] == "deployctl"
    assert binding["subjects"][0]["name"] == "ann"


def test_looks_are_granted_in_the_cluster_and_only_warn():
    found = check("permissions-looks", RecordedCluster(may=lambda asked: "namespace" in asked))
    assert found.status == "warn"
    kinds = [document["kind"] for document in yaml.safe_load_all(found.yaml)]
    assert kinds == ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]


def test_a_part_of_a_resource_is_asked_for_as_one():
    asked = access.review(Right("get", "", "pods/log"), "llm")["spec"]["resourceAttributes"]
    assert (asked["resource"], asked["subresource"]) == ("pods", "log")
    everywhere = access.review(Right("list", "", "nodes", everywhere=True), "llm")
    assert "namespace" not in everywhere["spec"]["resourceAttributes"]


def test_what_values_turn_on_is_needed():
    job = {"kind": "Job", "metadata": {"name": "download"}, "spec": {"template": {"spec": {}}}}

    def may(asked):
        return asked["resource"] != "jobs"

    assert check("permissions", RecordedCluster(may=may)).status == "pass"
    assert check("permissions-optional", RecordedCluster(may=may)).status == "warn"
    asked = question(deployment(), job)
    assert check("permissions", RecordedCluster(may=may), asked).status == "fail"


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("ann", {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}),
        ("system:serviceaccount:ci:deploy",
         {"kind": "ServiceAccount", "name": "deploy", "namespace": "ci"}),
    ],
)  # fmt: skip
def test_whom_a_role_is_bound_to(user, subject):
    assert access._subject(user) == subject


def rights_of(role):
    return {
        Right(verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
