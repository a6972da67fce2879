"""What changes between two sides, and what each change does to what runs."""

import copy

import pytest
import yaml

from deployctl.checking.difference import compare, worst
from deployctl.checking.effects import Effect


def one(old, new, target="manifests", file="m.yaml"):
    """The changes of one file, as {where: (old, new, effect)}."""
    found = compare({file: old}, {file: new}, target)
    return {c.where: (c.old, c.new, c.effect) for c in found}


@pytest.fixture
def change(good_documents, spoilt):
    """`change(function)`: the changes that a function makes to the good set."""
    before = yaml.safe_dump_all(copy.deepcopy(good_documents))

    def changed(function):
        function(spoilt)
        return one(before, spoilt.text)

    return changed


POD = "Deployment/chat: spec.template.spec"
ENGINE = f"{POD}.containers[engine]"


def test_the_same_is_the_same(good_documents):
    text = yaml.safe_dump_all(good_documents)
    assert compare({"m.yaml": text}, {"m.yaml": "# a word\n" + text}, "manifests") == []
    assert worst([]) is None


def test_a_flag_is_one_change_wherever_it_stands(change):
    def shuffle(m):
        m.flag("max-model-len", 16384)
        m.args.reverse()

    assert change(shuffle) == {f"{ENGINE}.args --max-model-len": ("8192", "16384", Effect.restarts)}


def test_a_variable_goes_by_its_name(change):
    found = change(lambda m: m.variable("HF_HOME", "/cache/models"))
    assert found == {f"{ENGINE}.env.HF_HOME": ("/cache/hub", "/cache/models", Effect.restarts)}


def test_pods_roll_where_another_serves_meanwhile(change):
    def several(m):
        m.workload["replicas"] = 2
        m.engine["image"] = "vllm/vllm-openai:v0.31.0"

    found = change(several)
    assert found[f"{ENGINE}.image"][2] is Effect.rolls
    assert found["Deployment/chat: spec.replicas"][2] is Effect.in_place


def test_a_surge_rolls_even_one_replica(change):
    def surge(m):
        m.workload["strategy"]["rollingUpdate"]["maxSurge"] = 1
        m.engine["image"] = "vllm/vllm-openai:v0.31.0"

    found = change(surge)
    assert found[f"{ENGINE}.image"][2] is Effect.rolls
    assert found["Deployment/chat: spec.strategy.rollingUpdate.maxSurge"][2] is Effect.nothing


def test_recreate_restarts(change):
    def recreate(m):
        m.workload["strategy"] = {"type": "Recreate"}
        m.workload["replicas"] = 3
        m.engine["image"] = "vllm/vllm-openai:v0.31.0"

    assert change(recreate)[f"{ENGINE}.image"][2] is Effect.restarts


@pytest.mark.parametrize(
    ("spoil", "where", "effect"),
    [
        (
            lambda m: m.workload["selector"]["matchLabels"].update(tier="gpu"),
            "Deployment/chat: spec.selector.matchLabels.tier",
            Effect.refused,
        ),
        (
            lambda m: m["PersistentVolumeClaim"]["spec"].update(accessModes=["ReadWriteOnce"]),
            "PersistentVolumeClaim/chat-cache: spec.accessModes",
            Effect.refused,
        ),
        (
            lambda m: m["PersistentVolumeClaim"]["spec"]["resources"]["requests"].update(
                storage="120Gi"
            ),
            "PersistentVolumeClaim/chat-cache: spec.resources.requests.storage",
            Effect.in_place,
        ),
        (
            lambda m: m["PersistentVolumeClaim"]["spec"]["resources"]["requests"].update(
                storage="20Gi"
            ),
            "PersistentVolumeClaim/chat-cache: spec.resources.requests.storage",
            Effect.refused,
        ),
        (
            lambda m: m["Service"]["spec"]["ports"][0].update(port=8080),
            "Service/chat: spec.ports[http].port",
            Effect.in_place,
        ),
        (
            lambda m: m["Deployment"]["metadata"]["labels"].update(team="nlp"),
            "Deployment/chat: metadata.labels.team",
            Effect.nothing,
        ),
        (
            lambda m: m.workload.update(progressDeadlineSeconds=3600),
            "Deployment/chat: spec.progressDeadlineSeconds",
            Effect.nothing,
        ),
        (lambda m: m.drop("NetworkPolicy"), "NetworkPolicy/chat", Effect.in_place),
    ],
)
def test_what_each_field_does(spoil, where, effect, change):
    found = change(spoil)
    assert list(found) == [where]
    assert found[where][2] is effect


def test_a_secret_shows_in_no_difference():
    def compose(key):
        return yaml.safe_dump(
            {"services": {"a": {"image": "x", "environment": {"API_KEY": key}, "command":
             ["--model", "m", "--api-key", key]}}}
        )  # fmt: skip

    found = compare({"c.yaml": compose("hunter1")}, {"c.yaml": compose("hunter2")}, "docker")
    assert len(found) == 2
    assert "hunter" not in repr(found)


def compose(digest=None, **engine):
    service = {"image": "vllm/vllm-openai:v0.32.0", "command": ["--model", "m"], **engine}
    if digest:
        service["labels"] = {"io.deployctl.digest": digest}
    return yaml.safe_dump({"name": "p", "services": {"engine": service}, "x-deployctl": {}})


def test_the_digest_label_tells_exactly_what_restarts():
    old, new = compose("1"), compose("2", stop_grace_period="90s")
    found = one(old, new, "docker", "compose.yaml")
    assert found == {"services.engine.stop_grace_period": (None, "90s", Effect.restarts)}


def test_a_digest_that_differs_restarts_even_where_nothing_else_shows():
    (found,) = compare({"c.yaml": compose("1")}, {"c.yaml": compose("2")}, "docker")
    assert found.where == "services.engine.labels.io.deployctl.digest"
    assert found.effect is Effect.restarts


def test_a_file_of_anybody_goes_by_what_compose_looks_at():
    old, new = compose(), compose(depends_on=["x"], environment={"A": "1"})
    found = one(old, new, "docker", "compose.yaml")
    assert found["services.engine.depends_on"][2] is Effect.nothing
    assert found["services.engine.environment.A"][2] is Effect.restarts


def test_comments_and_pages_do_not_matter():
    old = {"compose.yaml": "# old\n" + compose("1"), "README.md": "a", "secrets/.gitignore": "*"}
    new = {"compose.yaml": "# new\n" + compose("1"), "README.md": "b", "secrets/.gitignore": "*"}
    assert compare(old, new, "docker") == []


def test_the_gravest_comes_first(change):
    def several(m):
        m.engine["image"] = "vllm/vllm-openai:v0.31.0"
        m.workload["selector"]["matchLabels"]["tier"] = "gpu"
        m["Service"]["spec"]["ports"][0]["port"] = 81
        m["Service"]["metadata"]["labels"]["a"] = "b"

    effects = [effect for _, _, effect in change(several).values()]
    assert effects == [Effect.refused, Effect.restarts, Effect.in_place, Effect.nothing]
