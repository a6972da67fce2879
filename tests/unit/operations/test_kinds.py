"""Which kinds of cards `--gpu any` means, and what does not go with a claim."""

from types import SimpleNamespace

import pytest

from deployctl.errors import ClusterError, PlanRefusedError, SpecError
from deployctl.operations import bundle, kinds
from deployctl.operations.prepare import prepare
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes.cluster import ForbiddenError
from known import tiny_folder


@pytest.fixture
def folder(tmp_path):
    return str(tiny_folder(tmp_path / "tiny"))


def asked(monkeypatch, answer, **settings):
    def products(_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("deployctl.targets.kubernetes.devices.products", products)
    monkeypatch.setattr("deployctl.targets.kubernetes.cluster.cluster_of", lambda settings: None)
    told = []
    spec = ServiceSpec(model="x", **{"gpu": "any", **settings})
    found = kinds.in_cluster(spec, Settings(), lambda event: told.append(event.text))
    return [profile.name for profile in found], told


def test_any_means_the_cards_of_the_cluster(monkeypatch):
    there = {"NVIDIA L4", "Tesla T4", "NVIDIA GB10"}
    assert asked(monkeypatch, there) == (
        ["t4", "l4"],
        ["the cluster has cards without a profile: NVIDIA GB10"],
    )
    assert asked(monkeypatch, there, gpu="l4,t4") == ([], [])
    assert asked(monkeypatch, there, target="docker") == ([], [])


@pytest.mark.parametrize(
    ("answer", "says"), [(ClusterError("no right"), "no right"), (set(), "no node")]
)
def test_a_cluster_that_does_not_tell_means_every_card(monkeypatch, answer, says):
    found, told = asked(monkeypatch, answer)
    assert found == []
    assert says in " ".join(told)


def test_without_a_cluster_every_card_is_planned(folder):
    prepared = prepare(ServiceSpec(model=folder, gpu="any"))
    assert prepared.target == "kubernetes"
    assert len(prepared.plan.cards) > 15
    assert prepared.plan.cards[-1].gpu == "other" or not prepared.plan.cards[-1].fits
    assert prepared.profile.name == prepared.plan.gpu == prepared.plan.cards[0].gpu


def test_one_card_is_claimed_where_that_is_said(folder):
    spec = ServiceSpec(model=folder, gpu="l4")
    assert prepare(spec).plan.cards == ()
    claimed = prepare(spec.model_copy(update={"cards": "claim"}))
    assert [card.gpu for card in claimed.plan.cards] == ["l4"]
    plugged = spec.model_copy(update={"cards": "device-plugin", "target": "kubernetes"})
    assert prepare(plugged).plan.cards == ()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gpu": "any", "target": "docker"}, "the target is docker"),
        ({"gpu": "l4", "cards": "claim", "target": "process"}, "the target is process"),
        ({"gpu": "l4", "cards": "device-plugin", "target": "docker"}, "the target is docker"),
        ({"gpu": "l4,t4", "cards": "device-plugin"}, "does not choose among several"),
        ({"gpu": "l4,t4", "gpu_memory_gib": 20}, "is said for one kind"),
        ({"gpu": "cpu", "cards": "claim"}, "a CPU is no card"),
        ({"gpu": "l4,cpu"}, "a CPU is no card"),
        ({"gpu": ",".join(["l4"] * 9)}, "8 alternatives at most"),
    ],
)
def test_what_does_not_go_with_a_claim(folder, settings, says):
    with pytest.raises(SpecError, match=says) as caught:
        prepare(ServiceSpec(model=folder, **settings))
    assert caught.value.where.startswith("--")
    assert caught.value.hint


def test_a_host_has_the_cards_that_it_has(folder):
    prepared = prepare(ServiceSpec(model=folder, gpu="l4,t4"))
    with pytest.raises(PlanRefusedError, match="a host has the cards"):
        bundle.render("docker", prepared)


def test_which_cards_there_are_is_told_of_a_cluster_alone(monkeypatch):
    spec = ServiceSpec(model="m", target="kubernetes")
    view = SimpleNamespace(cards=lambda claimed: f"n1 has 4 NVIDIA-L4, {claimed}")
    monkeypatch.setattr(kinds, "open_view", lambda target, settings: view)
    assert kinds.there(spec, Settings()) == "n1 has 4 NVIDIA-L4, False"
    claims = spec.model_copy(update={"cards": "claim"})
    assert kinds.there(claims, Settings()) == "n1 has 4 NVIDIA-L4, True"

    def away(claimed):
        raise ClusterError("no answer")

    view.cards = away
    assert kinds.there(spec, Settings()).endswith("is not known: no answer")
    monkeypatch.undo()
    assert kinds.there(spec.model_copy(update={"target": "docker"}), Settings()) is None
    assert kinds.there(spec.model_copy(update={"target": None}), Settings()) is None


class NodesAlone:
    """A cluster that can be asked for its nodes."""

    namespace = "llm"

    def __init__(self, *products):
        self.products = products

    def items(self, path):
        if "hidden" in self.products:
            raise ForbiddenError("nodes is forbidden")
        labels = [{"nvidia.com/gpu.product": p} if p else {} for p in self.products]
        status = {"capacity": {"nvidia.com/gpu": "4"}, "allocatable": {"nvidia.com/gpu": "4"}}
        return [
            {"metadata": {"name": f"n{n}", "labels": each}, "spec": {}, "status": status}
            for n, each in enumerate(labels)
        ]


def settled(monkeypatch, *products, **said):
    monkeypatch.setattr(
        "deployctl.targets.kubernetes.cluster.cluster_of", lambda settings: NodesAlone(*products)
    )
    told = []
    spec = ServiceSpec(model="x", **{"target": "kubernetes", **said})
    return kinds.settled(spec, Settings(), lambda event: told.append(event.text)).gpu, told


def test_where_no_card_is_named_it_is_the_only_kind_of_the_cluster(monkeypatch):
    gpu, told = settled(monkeypatch, "NVIDIA-L4", "NVIDIA-L4")
    assert gpu == "l4"
    assert told == ["--gpu l4: NVIDIA L4 (24 GB) is the cluster's only kind of card"]
    assert settled(monkeypatch, "NVIDIA-L4", gpu="t4") == ("t4", [])
    assert settled(monkeypatch, "NVIDIA-L4", target="docker") == ("auto", [])


def test_by_claim_too_the_only_kind_is_one_beside_which_there_is_no_other(monkeypatch):
    there = {"NVIDIA L4"}
    monkeypatch.setattr("deployctl.targets.kubernetes.devices.products", lambda _: there)
    assert settled(monkeypatch, cards="claim")[0] == "l4"
    there.add("NVIDIA X1")
    with pytest.raises(SpecError, match="the nodes have NVIDIA L4, NVIDIA X1"):
        settled(monkeypatch, cards="claim")


@pytest.mark.parametrize(
    ("products", "says"),
    [
        (("NVIDIA-L4", "Tesla-T4"), "the nodes have NVIDIA-L4, Tesla-T4"),
        (("NVIDIA-L4", "NVIDIA-X1"), "the nodes have NVIDIA-L4, NVIDIA-X1"),
        (("NVIDIA-L4", None), "the nodes have NVIDIA-L4, cards without a label"),
        ((), "the nodes have none"),
        (("hidden",), "we may not look at the nodes"),
    ],
)
def test_of_several_kinds_or_none_one_is_to_be_named(monkeypatch, products, says):
    with pytest.raises(SpecError, match=says) as caught:
        settled(monkeypatch, *products)
    assert caught.value.where == "--gpu"
    assert "--gpu cpu" in caught.value.hint
