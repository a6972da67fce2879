"""Cards that nodes offer by claim: which there are, who has them, which comes nearest."""

import pytest

from deployctl.planning.plan import CardOption
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes import devices, survey, waits

L4 = ("NVIDIA L4", "8.9.0", "23034Mi")
T4 = ("Tesla T4", "7.5.0", "15360Mi")
A100 = ("NVIDIA A100-SXM4-80GB", "8.0.0", str(80 * 2**30))


def sliced(node, product, capability, memory, count=1, kind="gpu", **more):
    """A ResourceSlice as NVIDIA's driver publishes it."""
    attributes = {
        "type": {"string": kind},
        "productName": {"string": product},
        "cudaComputeCapability": {"version": capability},
        **{key: {"string": value} for key, value in more.items()},
    }
    cards = [
        {"name": f"gpu-{i}", "attributes": attributes, "capacity": {"memory": {"value": memory}}}
        for i in range(count)
    ]
    return {"spec": {"driver": devices.DRIVER, "pool": {"name": node}, "devices": cards}}


def claim(name, *results, user=None, namespace="llm"):
    given = [
        {"driver": devices.DRIVER, "pool": p, "device": d, "request": r} for p, d, r in results
    ]
    status = {"allocation": {"devices": {"results": given}}} if given else {}
    if user:
        status["reservedFor"] = [{"resource": "pods", "name": user}]
    return {"metadata": {"name": name, "namespace": namespace}, "status": status}


def option(name="l4", memory=20480, least="8.0", most="12.1", **more):
    return CardOption(
        gpu=name,
        title=name,
        verdict="fits",
        memory_mib=memory,
        least_capability=least,
        most_capability=most,
        **more,
    )


def offer(there, claims=()):
    return devices.Offer(devices.devices(there), devices.taken(claims))


def told(options, there, claims=(), count=1):
    return devices.told(options, count, offer(there, claims))


def test_what_a_driver_publishes():
    other = {"spec": {"driver": "dra.net", "pool": {"name": "n"}, "devices": [{"name": "eth0"}]}}
    found = devices.devices([other, sliced("n1", *L4, count=2), sliced("n2", *A100)])
    assert [(d.pool, d.name, d.product, d.capability, d.memory_mib) for d in found] == [
        ("n1", "gpu-0", "NVIDIA L4", "8.9", 23034),
        ("n1", "gpu-1", "NVIDIA L4", "8.9", 23034),
        ("n2", "gpu-0", "NVIDIA A100-SXM4-80GB", "8.0", 81920),
    ]


def test_a_card_that_is_free_is_no_reason():
    assert told([option()], [sliced("n1", *L4)]) is None


def test_nothing_offered():
    assert "DRA driver" in told([option()], [])


@pytest.mark.parametrize(
    ("there", "asked", "says"),
    [
        ([T4, L4], option(memory=30720), "NVIDIA L4 on n1: it has 22.5 GiB, and 30.0 are needed"),
        ([T4], option(memory=8192), "Tesla T4 on n0: its compute capability is 7.5, and 8.0 to"),
        (
            [T4, L4],
            option(products=("NVIDIA H200",)),
            "NVIDIA L4 on n1: it is no NVIDIA H200",
        ),
        ([T4], option(), "needed; its compute capability is 7.5"),
    ],
)
def test_where_none_matches_the_nearest_is_told(there, asked, says):
    text = told([asked], [sliced(f"n{i}", *card) for i, card in enumerate(there)])
    assert text.startswith("no device matches: nearest was ")
    assert says in text


def test_who_has_them_where_all_are_taken():
    held = claim("c", ("n1", "gpu-0", "cards/l4"), ("n1", "gpu-1", "cards/l4"), user="chat-1")
    text = told([option()], [sliced("n1", *L4, count=2), sliced("n2", *T4)], [held])
    assert text == ("on no node a card that matches is free: n1 has 2 NVIDIA L4 (llm/chat-1 has 2)")
    many = [sliced(f"a{n}", *T4) for n in range(9)]
    listed = devices.listed(offer([*many, sliced("n1", *L4, count=2)], [held]))
    assert listed.startswith("n1 has 2 NVIDIA L4 (llm/chat-1 has 2)")


def test_cards_of_one_replica_are_on_one_node():
    there = [sliced("n1", *L4), sliced("n2", *L4)]
    assert told([option()], there) is None
    assert told([option()], there, count=2).startswith("on no node 2 cards that match are free")


def test_cards_of_one_replica_are_of_one_kind():
    mixed = [sliced("n1", *L4), sliced("n1", *A100), sliced("n2", *T4, count=2)]
    kinds = [option(), option("a100", memory=40960)]
    assert told(kinds, mixed, count=2).startswith("on no node 2 cards that match are free")
    both = [*kinds, option("t4", memory=8192, least="7.5")]
    assert devices.givers(both, 2, offer(mixed)) == {"n2"}
    assert devices.givers(both, 1, offer(mixed)) == {"n1", "n2"}


def test_a_slice_is_no_card():
    there = [sliced("n1", *A100, kind="mig", profile="2g.20gb")]
    assert "it is no whole card" in told([option()], there)
    assert told([option(slice="2g.20gb")], there) is None


def test_what_pods_were_given():
    def pod(name):
        return {"status": {"resourceClaimStatuses": [{"name": "cards", "resourceClaimName": name}]}}

    claims = [
        claim("a", ("n1", "gpu-0", "cards/l4")),
        claim("b", ("n9", "gpu-3", "cards")),
        claim("of-another", ("n1", "gpu-1", "cards")),
        claim("waits"),
    ]
    found = devices.devices([sliced("n1", *L4, count=2)])
    given = devices.given([pod("a"), pod("b"), pod("waits"), {"status": {}}], claims, found)
    assert given == ("NVIDIA L4, n1/gpu-0, asked for as l4", "a card, n9/gpu-3")


@pytest.fixture
def offered(cluster):
    """A cluster with an L4 that another has, and a pod that waits for one."""
    cluster.documents = {
        "/apis/resource.k8s.io/v1/resourceslices/n1": {
            **sliced("n1", *L4),
            "metadata": {"name": "n1"},
        },
        "/apis/resource.k8s.io/v1/resourceclaims/c": claim(
            "c", ("n1", "gpu-0", "cards"), user="old"
        ),
    }
    return cluster


def waiting(claims=True):
    said = "0/9 nodes are available: 7 Insufficient cpu, 2 cannot allocate all claims."
    return {
        "metadata": {"name": "chat-1", "creationTimestamp": "2026-11-01T12:00:00Z"},
        "spec": {"resourceClaims": [{"name": "cards"}]} if claims else {},
        "status": {
            "conditions": [{"type": "PodScheduled", "status": "False", "message": said}],
        },
    }


def test_the_cluster_is_asked_only_for_pods_that_wait_for_cards(offered, make_release):
    plan = make_release().plan.model_copy(update={"cards": (option(),)})
    assert "llm/old has 1" in devices.unmet(offered, plan, [waiting()])
    assert devices.unmet(offered, plan, [waiting(claims=False)]) == ""
    assert devices.unmet(offered, make_release().plan, [waiting()]) == ""
    assert devices.products(offered) == {"NVIDIA L4"}


def test_a_pod_that_gets_no_card_says_which_there_are():
    (wait,) = waits.waits_of(waiting(), [], "no device matches: nearest was X")
    assert wait.text == "chat-1 waits for a card: no device matches: nearest was X"
    assert wait.problem.code == "no_device"
    (plain,) = waits.waits_of(waiting(), [], "")
    assert plain.problem.code == "no_node"


def node(name, cpu="8"):
    status = {
        "allocatable": {"cpu": cpu, "memory": "32Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return {"metadata": {"name": name}, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("sizes", "held", "free", "why"),
    [
        ({"n1": "8"}, [], True, "n1 has the cards that it claims free"),
        ({"n1": "8"}, ["n1"], False, "on no node a card that matches is free: n1 has 1 NVIDIA L4"),
        ({"n1": "8", "n2": "8"}, ["n1"], True, "n2 has the cards that it claims free"),
        (
            {"n1": "500m", "n2": "8"},
            ["n2"],
            False,
            "no node has room for a pod more (1 node: too l",
        ),
    ],
)
def test_a_canary_finds_room_where_a_card_and_all_else_is_free(
    cluster, make_release, monkeypatch, sizes, held, free, why
):
    for name, cpu in sizes.items():
        published = {**sliced(name, *L4), "metadata": {"name": name}}
        cluster.documents[f"/apis/resource.k8s.io/v1/resourceslices/{name}"] = published
        cluster.documents[f"/api/v1/nodes/{name}"] = node(name, cpu)
    for name in held:
        had = claim(name, (name, "gpu-0", "cards"), user="chat-1")
        cluster.documents[f"/apis/resource.k8s.io/v1/resourceclaims/{name}"] = had
    engine = {"resources": {"requests": {"cpu": "1", "memory": "8Gi"}}}
    spec = {"resourceClaims": [{"name": "cards"}], "containers": [engine]}
    wanted = {"spec": {"template": {"spec": spec}}}
    monkeypatch.setattr(survey, "deployment_of", lambda bundle, namespace: wanted)
    release = make_release()
    plan = release.plan.model_copy(update={"cards": (option(),)})
    room = survey.KubernetesView(Settings(), cluster=cluster).room(plan, release.bundle)
    assert room.free is free
    assert room.why.startswith(why)


def test_which_cards_are_offered_to_claims_and_who_has_them(offered):
    view = survey.KubernetesView(Settings(), cluster=offered)
    assert view.cards(claimed=True) == "n1 has 1 NVIDIA L4 (llm/old has 1)"
    assert "device plugin" in view.cards()
    offered.documents.clear()
    assert "DRA driver" in view.cards(claimed=True)
