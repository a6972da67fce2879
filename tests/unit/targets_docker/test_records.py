"""What an engine keeps of a service: whole or the former, whoever is killed or reads meanwhile."""

import json

import pytest
from tests.unit.targets_docker.memory import Killed, MemoryCarriers

from deployctl.errors import DockerError, StateError
from deployctl.targets.docker import records as module
from deployctl.targets.docker.records import EngineRecords, name_of

VOLUME = name_of("tiny")


def document(status="deployed", **more):
    return json.dumps({"status": status, **more}).encode()


@pytest.fixture
def carriers():
    return MemoryCarriers()


@pytest.fixture
def records(carriers):
    records = EngineRecords(carriers)
    records.begin("tiny", "abc")
    return records


def test_what_is_written_is_there_for_whoever_asks(records, carriers):
    records.write("tiny", {1: document(note="é\udcff")})
    records.write("tiny", {2: document("pending")}, begins=True)
    kept = EngineRecords(carriers).kept("tiny")
    assert kept.lineage == "abc"
    assert "@" in kept.owner
    assert kept.records == {1: document(note="é\udcff"), 2: document("pending")}
    assert EngineRecords(carriers).services() == ["tiny"]


def test_the_first_lineage_is_the_one(records):
    assert records.begin("tiny", "other").lineage == "abc"


@pytest.mark.parametrize("times", [1, 2, 3])
def test_who_looks_while_it_is_forgotten_keeps_nothing_of_it(records, carriers, monkeypatch, times):
    """The container that is read through is made again, and so the volume is in use."""
    drop, looked = carriers.drop_volume, []

    def in_use(name):
        if len(looked) < times:
            looked.append(carriers.create(name, {}, {name: "/records"}))
            raise DockerError("volume is in use")
        drop(name)

    monkeypatch.setattr(carriers, "drop_volume", in_use)
    if times == 3:
        with pytest.raises(DockerError):
            records.forget("tiny")
    else:
        records.forget("tiny")
        assert carriers.made == carriers.volumes_made == {}


def test_nothing_is_kept_of_a_service_that_is_not_there(records):
    assert records.kept("other") is None
    assert not records.has("other")
    with pytest.raises(DockerError, match="are gone"):
        records.write("other", {1: document()})


def test_ten_that_served_and_ten_that_did_not_stay_and_what_is_at_work(records):
    for number in range(1, 41):
        records.write("tiny", {number: document("failed" if number % 2 else "superseded")})
    records.write("tiny", {41: document("pending"), 42: b"damaged"}, begins=True)
    assert list(records.kept("tiny").records) == [*range(22, 41), 41, 42]


def test_whoever_is_killed_while_writing_leaves_what_was_there(records, carriers):
    """Once for each of the two files, and again over the half that was left."""
    records.write("tiny", {1: document()})
    for number in (2, 3, 4):
        carriers.fuse = 0
        with pytest.raises(Killed):
            records.write("tiny", {number: document(text="long " * 100)})
        carriers.alive()
        assert list(records.kept("tiny").records) == list(range(1, number))
        records.write("tiny", {number: document()})
        assert list(records.kept("tiny").records) == list(range(1, number + 1))


def test_what_is_half_written_while_it_is_read_is_read_again(records, carriers):
    records.write("tiny", {1: document()})
    whole, asked = carriers.read(VOLUME, "/records"), []

    def read(name, path):
        asked.append(path)
        return {"1": b"half"} if len(asked) == 1 else whole

    carriers.read = read
    assert list(records.kept("tiny").records) == [1]
    assert len(asked) == 2


def test_files_that_are_not_whole_hold_nothing_and_the_lineage_stays(records, carriers):
    records.write("tiny", {1: document()})
    for name in carriers.volumes_made[VOLUME][1]:
        carriers.volumes_made[VOLUME][1][name] = b"0" * 64 + b"\nrubbish"
    assert records.kept("tiny") == module.Kept("abc", records.kept("tiny").owner)


def test_a_pruned_carrier_is_made_again(records, carriers):
    records.write("tiny", {1: document()})
    carriers.prune()
    assert list(records.kept("tiny").records) == [1]
    records.write("tiny", {2: document()})
    assert list(records.kept("tiny").records) == [1, 2]


def test_a_volume_that_docker_made_for_a_carrier_is_no_record(records, carriers):
    carriers.create(name_of("odd"), {}, {name_of("odd"): "/records"})
    assert records.kept("odd") is None
    assert records.begin("odd", "def").lineage == "def"
    records.write("odd", {1: document()})
    assert list(records.kept("odd").records) == [1]


def test_records_of_a_newer_deployctl_are_refused_and_stay(records, carriers, monkeypatch):
    monkeypatch.setattr(module, "VERSION", 2)
    records.write("tiny", {1: document()})
    monkeypatch.setattr(module, "VERSION", 1)
    before = dict(carriers.volumes_made[VOLUME][1])
    with pytest.raises(StateError, match="newer deployctl"):
        records.write("tiny", {2: document()})
    assert carriers.volumes_made[VOLUME][1] == before


def test_a_damaged_one_is_set_aside_and_not_lost(records):
    records.write("tiny", {1: document(), 2: b"rubbish"})
    assert VOLUME in records.set_aside("tiny", 2)
    kept = records.kept("tiny")
    assert (list(kept.records), kept.aside) == ([1], {2: b"rubbish"})


def test_forgotten_is_all_of_it(records, carriers):
    records.write("tiny", {1: document()})
    records.forget("tiny")
    assert (carriers.made, carriers.volumes_made) == ({}, {})
    records.forget("tiny")
