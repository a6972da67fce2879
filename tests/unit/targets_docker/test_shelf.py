"""One service and several state folders: the engine's records count, and another's are refused."""

import json

import pytest
from tests.unit.targets_docker.conftest import MemoryEngine
from tests.unit.targets_docker.memory import Killed

from deployctl.errors import (
    AnotherLineageError,
    DockerError,
    LockedError,
    NotFoundError,
    TargetError,
)
from deployctl.targets.docker.enginelock import held
from deployctl.targets.docker.records import LINEAGE, EngineRecords, name_of
from deployctl.targets.docker.shelf import DockerShelf
from deployctl.targets.history import Release
from deployctl.targets.shelf import FileShelf
from deployctl.targets.store import ServiceRef, Store

REF = ServiceRef("docker", "tiny")


class Copy(FileShelf):
    """Whose writes are steps too, between which a process can be killed."""

    def __init__(self, folder, carriers):
        super().__init__(folder)
        self._carriers = carriers

    def write(self, service, number, content):
        self._carriers.step()
        super().write(service, number, content)


class Place:
    """A state folder, and what is done from it."""

    def __init__(self, engine, folder):
        self.engine, self.folder, self.told = engine, folder, []
        self.shelf = DockerShelf(folder, lambda: engine)
        self.shelf._copy = Copy(folder / "docker", engine.carriers)
        self.store = Store(folder, {"docker": lambda: self.shelf}, shared=["docker"])

    def begin(self, release, status="deployed"):
        """A revision that came up, as an `up` has it recorded."""
        with held(self.engine.carriers, "tiny", "deployctl up", self.tell):
            self.shelf.settle("tiny", self.tell)
            number = len(self.store.releases(REF)) + 1
            pending = release.model_copy(update={"revision": number, "status": "pending"})
            self.store.save(REF, pending)
            self.store.save(REF, pending.model_copy(update={"status": status}))

    def settle(self):
        self.shelf.settle("tiny", self.tell)

    def tell(self, event):
        self.told.append(event.text)

    def history(self):
        return [(each.revision, each.status) for each in self.store.releases(REF)]

    def lose(self):
        """As a state folder of an older deployctl: it has records, and no lineage."""
        (self.folder / "docker" / "tiny" / "lineage").unlink()


@pytest.fixture
def engine():
    return MemoryEngine()


@pytest.fixture
def place(engine, tmp_path):
    return lambda name: Place(engine, tmp_path / name)


@pytest.fixture
def one(place, release):
    """A place from which `tiny` was brought up."""
    made = place("one")
    made.begin(release())
    return made


def drop(engine):
    """`docker system prune --all --volumes`."""
    engine.carriers.prune()
    engine.carriers.volumes_made.clear()


def test_a_state_folder_that_knows_nothing_goes_on(one, place, release):
    fresh = place("fresh")
    assert (fresh.store.services(), fresh.store.others()) == ([], [REF])
    assert fresh.store.find("tiny") == REF
    assert fresh.history() == [(1, "deployed")]
    assert not (fresh.folder / "docker").exists()
    fresh.begin(release())
    assert fresh.history() == one.history() == [(1, "deployed"), (2, "deployed")]
    assert fresh.told == [f"going on from revision 1, which {one_owner(one)} began"]
    assert (fresh.store.services(), fresh.store.others()) == ([REF], [])


def test_an_engine_that_does_not_answer_is_not_said_to_have_nothing(one, place, monkeypatch):
    """`NotFoundError` would be no answer: the service may serve there."""

    def away(label):
        raise DockerError("Docker is not running", where="tcp://gpu1", hint="start it")

    monkeypatch.setattr(one.engine.carriers, "volumes", away)
    fresh = place("fresh").store
    with pytest.raises(TargetError) as caught:
        fresh.find("tiny")
    told = "whether there is a service 'tiny' is not known: Docker is not running"
    assert (caught.value.message, caught.value.where) == (told, "tcp://gpu1")
    assert one.store.find("tiny") == REF  # what is known here is not asked for there
    with pytest.raises(NotFoundError):
        fresh.find("tiny", "process")
    monkeypatch.undo()
    assert fresh.find("tiny") == REF
    with pytest.raises(NotFoundError):
        fresh.find("tinny")


def one_owner(place):
    return EngineRecords(place.engine.carriers).kept("tiny").owner


def test_what_is_looked_at_without_a_name_is_this_state_folder_s_own(one, place, release):
    assert one.store.others() == []
    EngineRecords(one.engine.carriers).begin("other", "x")
    assert one.store.services() == [REF]
    assert one.store.others() == [ServiceRef("docker", "other")]


def test_where_nothing_of_ours_runs_what_others_have_is_meant(one, place, release):
    other, two = ServiceRef("docker", "other"), place("two").store
    theirs = release().model_copy(update={"service": "other", "status": "deployed"})
    two.save(other, theirs)
    assert one.store.meant() == [REF]
    one.store.save(REF, release().model_copy(update={"status": "removed"}))
    assert one.store.meant() == [other]
    two.save(other, theirs.model_copy(update={"status": "removed"}))
    assert one.store.meant() == [REF]  # of which there is something to be said


def test_nothing_of_a_release_is_a_secret(one, engine):
    kept = EngineRecords(engine.carriers).kept("tiny").records[1]
    assert Release.model_validate({k: v for k, v in json.loads(kept).items() if k != "version"})
    labels = engine.carriers.volumes_made[name_of("tiny")][0]
    assert set(labels) == {f"io.deployctl.{name}" for name in ("records", "lineage", "owner")}


def test_another_service_of_the_name_is_refused_and_can_be_taken_over(one, place, engine, release):
    drop(engine)
    other = place("other")
    other.begin(release())
    other.begin(release())
    for attempt in (one.settle, one.history):
        with pytest.raises(
            AnotherLineageError, match="not the one that this state folder"
        ) as caught:
            attempt()
        assert "--take-over" in caught.value.hint
    key = one.folder / "docker" / "tiny" / "api_key"
    key.write_text("mine")
    (key.parent / "logs").mkdir()  # of revisions whose numbers the other has too
    one.told.clear()

    one.shelf.take_over("tiny", one.tell)
    assert one.history() == other.history()
    assert "took over tiny" in one.told[-2]
    assert "newest revision is 2" in one.told[-2]
    aside = key.parent / "aside-1"
    assert str(aside) in one.told[-1]
    assert (aside / "api_key").read_text() == "mine"
    assert not key.exists()
    assert not (key.parent / "logs").exists()
    assert (aside / "releases" / "000001.json").is_file()
    one.begin(release())
    assert other.history()[-1] == (3, "deployed")


def test_what_is_the_same_service_is_not_taken_over(one):
    one.told.clear()
    one.shelf.take_over("tiny", one.tell)
    assert one.told == []
    assert one.history() == [(1, "deployed")]


def test_a_service_of_an_older_deployctl_is_adopted_by_whoever_knows_it(
    one, place, engine, container, release
):
    drop(engine)
    one.lose()
    container()  # it runs, and has no lineage
    stranger = place("stranger")
    assert stranger.history() == []
    with pytest.raises(AnotherLineageError, match="records"):
        stranger.settle()
    one.told.clear()
    one.settle()
    assert one.told == []
    assert stranger.history() == one.history() == [(1, "deployed")]
    stranger.settle()


def test_of_two_that_knew_it_before_there_were_lineages_the_second_is_told(
    one, place, engine, release
):
    two = place("two")
    two.settle()
    drop(engine)
    one.lose()
    two.lose()
    one.settle()
    two.settle()  # the same records
    other = place("other")
    other.folder.mkdir()
    mine = Store(other.folder)
    mine.save(REF, release().model_copy(update={"created": "2026-01-01T00:00:00+00:00"}))
    with pytest.raises(AnotherLineageError):
        other.settle()


def test_one_without_records_is_taken_over_as_none(place, engine, container):
    container(revision="3")
    fresh = place("fresh")
    with pytest.raises(AnotherLineageError, match="neither it nor this state folder"):
        fresh.settle()
    fresh.shelf.take_over("tiny", fresh.tell)
    assert "of which are no records" in fresh.told[-1]
    assert fresh.history() == []
    fresh.settle()


def test_what_plain_compose_runs_is_nobody_s(place, container):
    container(revision="")
    place("fresh").settle()


def test_records_that_are_damaged_are_no_sign_that_nothing_runs(one, place, engine, container):
    """Both files at once, as only a disk does it: who knows nothing does not begin at revision 1
    beside revision 1 that runs; who knows it gives the engine its records again."""
    container(revision="1").labels[LINEAGE] = one.shelf.lineage("tiny")
    files = engine.carriers.volumes_made[name_of("tiny")][1]
    files.update(dict.fromkeys(files, b"rubbish"))
    with pytest.raises(AnotherLineageError, match="has records"):
        place("fresh").settle()
    one.settle()
    assert place("fresh").history() == [(1, "deployed")]


def test_what_the_engine_lost_the_state_folder_gives_back(one, place, engine, container):
    lineage = one.shelf.lineage("tiny")
    container().labels[LINEAGE] = lineage
    drop(engine)
    assert one.history() == [(1, "deployed")]
    with pytest.raises(AnotherLineageError):
        place("fresh").settle()
    one.settle()
    assert EngineRecords(engine.carriers).kept("tiny").lineage == lineage
    assert place("fresh").history() == [(1, "deployed")]


def test_containers_of_another_lineage_are_another_s(one, engine, container):
    container().labels[LINEAGE] = "another"
    drop(engine)
    with pytest.raises(AnotherLineageError):
        one.settle()


def test_a_candidate_is_its_service_s_wherever_it_is_tried(place, engine, release):
    one, two = place("one"), place("two")
    ref = REF._replace(service="tiny-candidate")
    tried = release().model_copy(update={"candidate_of": "tiny", "service": "tiny-candidate"})
    one.store.save(ref, tried)
    assert two.store.has(ref)
    assert one.store.services() == []
    two.store.forget(ref)
    assert not one.store.has(ref)
    two.store.save(ref, tried)
    assert len(one.store.releases(ref)) == 1


def test_a_damaged_record_is_set_aside_on_the_engine(one, place):
    EngineRecords(one.engine.carriers).write("tiny", {2: b"rubbish"})
    fresh = place("fresh")
    assert fresh.store.damaged(REF) == [2]
    assert name_of("tiny") in fresh.store.set_aside(REF, 2)
    assert fresh.history() == [(1, "deployed")]


@pytest.mark.parametrize("begun", [0, 1])
def test_killed_between_any_two_steps_nothing_is_lost(place, engine, release, begun):
    """An `up` from one state folder is killed after each of its changes in turn, of the engine and
    of the records here; from another, which knows nothing, the next goes on, and the first follows.
    """
    wanted, steps = release(), 0
    while True:
        drop(engine)
        one, two = place(f"one-{begun}-{steps}"), place(f"two-{begun}-{steps}")
        for _ in range(begun):
            one.begin(wanted)
        engine.carriers.fuse = steps
        try:
            one.begin(wanted)
            break
        except Killed:
            engine.carriers.alive()
        left = one.history()
        assert left[:begun] == [(n, "deployed") for n in range(1, begun + 1)]
        assert two.history() == left
        two.begin(wanted)
        assert two.history()[: len(left)] == left
        one.begin(wanted)
        assert one.history() == two.history()
        assert len(one.history()) == len(left) + 2
        steps += 1
    assert steps >= 6


def test_two_at_once_take_turns(one, place, release):
    two = place("two")
    with (
        held(one.engine.carriers, "tiny", "deployctl up", one.tell),
        pytest.raises(LockedError),
    ):
        two.begin(release())
    two.begin(release())
    assert one.history() == [(1, "deployed"), (2, "deployed")]
