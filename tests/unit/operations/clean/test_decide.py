"""What goes and what stays: by a listing and the records, no disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployctl.operations.clean.decide import FRESH_S, DiskPiece, decide, needs_of
from deployctl.planning.plan import EnginePlan
from deployctl.targets.history import KEPT

NOW = 2_000_000_000.0
A, B, C = "a" * 40, "b" * 40, "c" * 40
LIVE = ("pending", "deployed")


@pytest.fixture
def on_hub(make_release):
    """A release of a model of the Hub."""

    def make(revision, repository="org/model", commit=A, *, image="v:1", args=(), **more):
        engine = EnginePlan(name="vllm", version="0.32.0", image=image, args=args)
        plan = {"model": repository, "model_local": False, "revision": commit, "engine": engine}
        return make_release(revision, more.pop("status", "superseded"), plan, **more)

    return make


def model(commit, repository="org/model", **more):
    return DiskPiece("model", "m", commit, 1, more.pop("ours", True), of=repository, **more)


def goes(piece, services, *, keep=KEPT, everything=False):
    (fate,) = decide([piece], needs_of(services, keep), NOW, everything=everything)
    return fate.goes


def test_a_commit_that_only_forgotten_revisions_had_goes(on_hub):
    releases = [on_hub(1, commit=A), on_hub(2, commit=B), on_hub(3, commit=C, status="deployed")]
    services = {("process", "tiny"): releases}
    assert [goes(model(each), services, keep=2) for each in (A, B, C)] == [True, False, False]
    assert not goes(model(A), services)  # rollback still reaches it


@pytest.mark.parametrize("status", ["removed", "pending", "deployed", "failed"])
def test_what_a_service_that_is_down_or_at_work_needs_stays(on_hub, status):
    services = {("process", "tiny"): [on_hub(1, status=status)]}
    assert not goes(model(A), services, keep=1, everything=True)


def test_a_repository_of_which_no_commit_is_known_stays_whole(on_hub):
    services = {("process", "tiny"): [on_hub(1, commit=None)]}
    assert not goes(model(B), services, everything=True)
    by_flag = on_hub(1, args=("--revision", "main"))
    assert not goes(model(B), {("process", "tiny"): [by_flag]}, everything=True)


def test_what_arguments_name_stays_and_a_served_name_is_none_of_it(on_hub):
    draft = '{"model": "org/draft", "num_speculative_tokens": 3}'
    release = on_hub(1, args=("--speculative-config", draft, "--served-model-name", "org/other"))
    services = {("process", "tiny"): [release]}
    assert not goes(model(A, "org/draft"), services, everything=True)
    assert goes(model(A, "org/other"), services)


def test_a_folder_of_the_hubs_cache_is_that_repositorys(make_release):
    """`--model ~/.cache/huggingface/hub/models--org--model/snapshots/…`"""
    folder = f"/home/me/hub/models--org--model/snapshots/{A}"
    plan = {"model": folder, "model_local": True}
    services = {("process", "tiny"): [make_release(1, "deployed", plan)]}
    assert not goes(model(A), services)
    assert goes(model(A, "org/another"), services)


@pytest.mark.parametrize(
    ("target", "held_gib", "goes_then"),
    [("docker", 4, False), ("docker", None, True), ("process", 4, True)],
)
def test_the_locks_of_shared_cards_go_where_no_kept_revision_of_the_engine_shares_one(
    on_hub, target, held_gib, goes_then
):
    release = on_hub(1, gpu_memory_held_gib=held_gib)
    locks = DiskPiece("turns", "locks", "deployctl_turns", 0, True, target="docker")
    assert goes(locks, {(target, "tiny"): [release]}) is goes_then
    assert not goes(locks._replace(in_use="1 container"), {})


def test_what_others_brought_goes_when_that_is_asked_for_alone():
    assert not goes(model(A, ours=False), {})
    assert goes(model(A, ours=False), {}, everything=True)


def test_what_came_today_stays_for_an_up_that_is_to_come():
    assert not goes(model(A, came=NOW - FRESH_S + 1), {})
    assert goes(model(A, came=NOW - FRESH_S), {})


def test_caches_of_a_service_without_records_go_and_of_one_of_the_other_target_too(on_hub):
    caches = DiskPiece("caches", "c", "/cache/tiny", 1, True, of="tiny")
    assert goes(caches, {})
    assert goes(caches, {("docker", "tiny"): [on_hub(1)]})
    assert not goes(caches, {("process", "tiny"): [on_hub(1, status="removed")]})


def test_logs_go_with_their_revision(on_hub):
    services = {("process", "tiny"): [on_hub(1), on_hub(2)]}
    logs = [DiskPiece("log", "l", "/l", 1, True, of="tiny", revision=n) for n in (1, 2)]
    assert [goes(log, services, keep=1) for log in logs] == [True, False]


def test_a_checkpoint_that_was_sent_stays_as_long_as_a_revision_serves_it(make_release):
    plan = {"checkpoint": "d" * 64}
    services = {
        ("docker", "tiny"): [make_release(1, "superseded", plan), make_release(2, "removed")]
    }
    sent = DiskPiece("checkpoint", "c", "volume", 1, True, of="d" * 64, target="docker")
    assert not goes(sent, services, everything=True)
    assert goes(sent, services, keep=1)
    assert goes(sent, {})


def test_an_image_that_a_container_uses_stays(on_hub):
    image = DiskPiece("image", "v:2", "v:2", 1, True)
    assert goes(image, {("docker", "tiny"): [on_hub(1)]})
    assert not goes(image._replace(in_use="1 container"), {}, everything=True)
    assert not goes(image._replace(place="v:1"), {("docker", "tiny"): [on_hub(1)]}, everything=True)


@pytest.mark.parametrize(
    ("planned", "listed"),
    [
        ("docker.io/vllm/vllm-openai:v1", "vllm/vllm-openai:v1"),
        ("vllm/vllm-openai", "vllm/vllm-openai:latest"),
        ("docker.io/library/vllm", "vllm:latest"),
        ("localhost:5000/vllm", "localhost:5000/vllm:latest"),
    ],
)
def test_an_image_is_known_by_the_name_that_an_engine_lists(on_hub, planned, listed):
    services = {("docker", "tiny"): [on_hub(1, image=planned)]}
    assert not goes(DiskPiece("image", listed, listed, 1, True), services, everything=True)
    other = f"{listed}-other"
    assert goes(DiskPiece("image", other, other, 1, True), services, everything=True)


REPOSITORIES, COMMITS, IMAGES = ["o/one", "o/two", "three"], [A, B, C], ["v:1", "v:2"]
RELEASE = st.tuples(
    st.sampled_from(REPOSITORIES),
    st.sampled_from([*COMMITS, None]),
    st.sampled_from(IMAGES),
    st.sampled_from(["pending", "deployed", "superseded", "failed", "removed"]),
    st.sampled_from([(), ("--tokenizer", "o/two"), ("--lora-modules", "x=three")]),
)
SERVICES = st.dictionaries(
    st.tuples(st.sampled_from(["process", "docker"]), st.sampled_from(["tiny", "chat"])),
    st.lists(RELEASE, max_size=6),
)


def test_nothing_goes_that_a_kept_revision_needs(on_hub):
    """Whatever the history, whatever is asked for: told by each kept revision itself."""
    known = {}

    def release(number, said):
        if (number, said) not in known:
            repository, commit, image, status, args = said
            made = known.setdefault("any", on_hub(1))
            engine = made.plan.engine.model_copy(update={"image": image, "args": args})
            plan = made.plan.model_copy(
                update={"model": repository, "revision": commit, "engine": engine}
            )
            update = {"revision": number, "status": status, "plan": plan}
            known[number, said] = made.model_copy(update=update)
        return known[number, said]

    pieces = [model(commit, repository) for repository in REPOSITORIES for commit in COMMITS]
    pieces += [DiskPiece("image", image, image, 1, True) for image in IMAGES]

    @given(SERVICES, st.integers(1, 4), st.booleans())
    def holds(said, keep, everything):
        services = {
            key: [release(n, each) for n, each in enumerate(releases, 1)]
            for key, releases in said.items()
        }
        fates = decide(pieces, needs_of(services, keep), NOW, everything=everything)
        gone = {(f.piece.sort, f.piece.of, f.piece.place) for f in fates if f.goes}
        for releases in services.values():
            served = [r for r in releases if r.status not in ("failed", "pending")]
            live = [r for r in releases if r.status in LIVE]
            for kept in [*served[-keep:], *live]:
                plan = kept.plan
                assert ("image", "", plan.engine.image) not in gone
                for commit in COMMITS:
                    if plan.revision in (commit, None):
                        assert ("model", plan.model, commit) not in gone
                    for other in REPOSITORIES:
                        if other in " ".join(plan.engine.args):
                            assert ("model", other, commit) not in gone

    holds()
