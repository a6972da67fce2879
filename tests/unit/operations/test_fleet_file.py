"""A spec file whose services share a host's cards: as `plan`, `render` and `review` take it."""

import json
import sys

import pytest
import yaml

from deployctl.cli.app import main
from deployctl.doctor.shell import Ran
from deployctl.errors import InputError, SpecError
from deployctl.hardware.profiles import shipped
from deployctl.operations.fleet import load_placed
from deployctl.spec.fleet import load_fleet
from deployctl.spec.place import locate
from known import tiny_folder


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """`fleet(cards, **a_service)` writes a file of two small services; of the second, some keys."""
    monkeypatch.chdir(tmp_path)
    tiny_folder(tmp_path / "tiny")

    def write(cards, name="fleet.yaml", **second):
        services = [
            {"model": "tiny", "name": "one", "max_model_len": 256},
            {"model": "tiny", "name": "two", "port": 8001, "max_model_len": 256, **second},
        ]
        (tmp_path / name).write_text(yaml.safe_dump_all([{"fleet": cards}, *services]))
        return tmp_path / name

    return write


@pytest.fixture
def deployctl(monkeypatch, capsys):
    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["deployctl", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == code, err
        return out, err

    return run


def test_services_get_their_cards_and_shares(fleet, deployctl):
    folder = fleet([{"gpu": "l4"}]).parent
    out, _ = deployctl("plan", "-f", "fleet.yaml")
    assert out.startswith("fits  2 services on 1 × l4\n")
    rows = [line.split() for line in out.splitlines()]
    assert ["0", "one"] in [row[:2] for row in rows]
    assert "They start one after the other: one, two." in out
    plan = json.loads(deployctl("plan", "-f", "fleet.yaml", "--output", "json")[0])
    [card] = plan["cards"]
    assert [share["service"] for share in card["shares"]] == ["one", "two"]
    assert sum(share["gib"] for share in card["shares"]) <= card["memory_gib"]
    deployctl("render", "--target", "docker", "-f", "fleet.yaml", "-o", "out")
    for number, service in enumerate(("one", "two")):
        compose = yaml.safe_load((folder / "out" / service / "compose.yaml").read_text())
        engine = compose["services"]["engine"]
        words = engine["command"]
        share = card["shares"][number]["share"]
        assert words[words.index("--gpu-memory-utilization") + 1] == f"{share:g}"
        [device] = engine["deploy"]["resources"]["reservations"]["devices"]
        assert device["device_ids"] == ["0"]


def test_what_does_not_fit_exits_with_3_and_every_verb_refuses_it(fleet, deployctl):
    fleet([{"gpu": "l4", "held_gib": 20.5}])
    out, err = deployctl("plan", "-f", "fleet.yaml", "--explain", code=3)
    assert out.startswith("does not fit  2 services on 1 × l4\n")
    assert "2 × l4 in the fleet's cards" in out
    assert "hint: " in err
    _, err = deployctl("render", "--target", "docker", "-f", "fleet.yaml", "-o", "out", code=3)
    assert "no placement holds all" in err


def test_a_review_places_them_too(fleet, deployctl):
    fleet([{"gpu": "l4", "count": 2}])
    out, _ = deployctl("review", "-f", "fleet.yaml", "--output", "json")
    services = json.loads(out)["services"]
    assert [service["plan"]["engine"]["env"] for service in services] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "1"},
    ]


@pytest.mark.parametrize(
    ("cards", "second", "where", "message"),
    [
        ([], {}, "fleet.yaml: fleet", "has 0 items, and should have at least 1"),
        ({"gpu": "l4"}, {}, "fleet.yaml: fleet", "should be a list"),
        (3, {}, "fleet.yaml: fleet", "should be a list (got 3)"),
        ([3], {}, "fleet.yaml: fleet/0", "should be a mapping (got 3)"),
        ("l4", {}, "fleet.yaml: fleet", "should be a list (got 'l4')"),
        (None, {}, "fleet.yaml: fleet", "should be a list"),
        ([{"gpu": "l4"}, None], {}, "fleet.yaml: fleet/1", "should be a mapping"),
        ([[{"gpu": "l4"}]], {}, "fleet.yaml: fleet/0", "should be a mapping"),
        ([{"count": 2}], {}, "fleet.yaml: fleet/0/gpu", "a value is required"),
        ([{"gpu": "l4", "number": 2}], {}, "fleet.yaml: fleet/0/number", "no such setting"),
        ([{"gpu": "l4", "count": 0}], {}, "fleet.yaml: fleet/0/count", "greater than or equal"),
        ([{"gpu": "l4", "count": True}], {}, "fleet.yaml: fleet/0/count", "should be a number"),
        ([{"gpu": "l4", "held_gib": True}], {}, "fleet.yaml: fleet/0/held_gib", "be a number"),
        ([{"gpu": "l4", "count": 16}, {"gpu": "t4"}], {}, "fleet.yaml: fleet", "16 cards at most"),
        ([{"gpu": "l4"}, {"gpu": "cpu"}], {}, "fleet", "cards or is on a CPU"),
        ([{"gpu": "cpu", "count": 2}], {}, "fleet/0/count", "one CPU's memory"),
        ([{"gpu": "h100:1g.10gb"}], {}, "fleet/0/gpu", "cards are whole"),
        ([{"gpu": "l4"}, {"gpu": "rtx409"}], {}, "fleet/1/gpu", "no hardware profile 'rtx409'"),
        ([{"gpu": "l4\nt4"}], {}, "fleet/0/gpu", "no hardware profile"),
        ([{"gpu": "l4", "held_gib": 100}], {}, "fleet/0/held_gib", "cannot have 100 GiB of 22.0"),
        (
            [{"gpu": "l4"}],
            {"gpu": "t4"},
            "fleet.yaml: services/1/gpu",
            "the fleet has no t4, but l4",
        ),
        (
            [{"gpu": "l4"}],
            {"target": "kubernetes"},
            "fleet.yaml: services/1/target",
            "Kubernetes chooses",
        ),
        (
            [{"gpu": "l4"}],
            {"gpu_memory_gib": 24},
            "fleet.yaml: services/1/gpu_memory_gib",
            "of a card",
        ),
        (
            [{"gpu": "l4"}],
            {"gpu_memory_held_gib": 1},
            "fleet.yaml: services/1/gpu_memory_held_gib",
            "of a card",
        ),
        (
            [{"gpu": "l4"}],
            {"env": {"CUDA_VISIBLE_DEVICES": "1"}},
            "fleet.yaml: services/1/env/CUDA_VISIBLE_DEVICES",
            "there is no card 1: the fleet has 1",
        ),
        (
            [{"gpu": "l4"}],
            {"env": {"CUDA_VISIBLE_DEVICES": "GPU-7f57f032"}},
            "fleet.yaml: services/1/env/CUDA_VISIBLE_DEVICES",
            "names no cards of a fleet",
        ),
        (
            [{"gpu": "t4"}, {"gpu": "l4"}],
            {"gpu": "l4", "env": {"CUDA_VISIBLE_DEVICES": "0"}},
            "fleet.yaml: services/1/env/CUDA_VISIBLE_DEVICES",
            "cards 0 are t4",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(fleet, cards, second, where, message):
    file = fleet(cards, **second)
    with pytest.raises(InputError) as caught:
        load_placed([file])
    assert caught.value.where.replace(f"{file.parent}/", "") == where
    assert message in caught.value.message
    assert caught.value.hint


def test_cards_are_said_once_and_alone(fleet, tmp_path):
    one, two = fleet([{"gpu": "l4"}]), fleet([{"gpu": "l4"}], "other.yaml")
    with pytest.raises(SpecError, match=r"fleet.yaml: fleet says it too"):
        load_fleet([one, two])
    (tmp_path / "mixed.yaml").write_text("fleet: [{gpu: l4}]\nmodel: tiny\n")
    with pytest.raises(SpecError) as caught:
        load_fleet([tmp_path / "mixed.yaml"])
    assert "services are documents of their own" in caught.value.hint
    (tmp_path / "alone.yaml").write_text("fleet: [{gpu: l4}]\n")
    with pytest.raises(SpecError, match="the file has no service"):
        load_placed([tmp_path / "alone.yaml"])


def test_what_is_for_one_service_is_refused(fleet, deployctl):
    fleet([{"gpu": "l4"}])
    _, err = deployctl("plan", "-f", "fleet.yaml", "--compare", "l4,t4", code=2)
    assert "--compare is for one service" in err


def test_a_line_of_a_service_is_found_behind_the_cards(fleet):
    file = fleet([{"gpu": "l4"}])
    place = locate(f"{file}: services/1/port", [file])
    assert file.read_text().splitlines()[place.line - 1] == "port: 8001"


def test_cards_of_a_profile_of_ones_own_are_known_to_every_verb(fleet, deployctl):
    folder = fleet([{"gpu": "./mine.yaml"}], gpu="./mine.yaml").parent
    profile = (shipped() / "l4.yaml").read_text().replace("name: l4\n", "name: mine\n")
    (folder / "mine.yaml").write_text(profile)
    assert "on 1 × mine" in deployctl("plan", "-f", "fleet.yaml")[0]
    deployctl("render", "--target", "docker", "-f", "fleet.yaml", "-o", "out")


def test_several_replicas_have_the_cards_of_their_service(fleet, deployctl):
    folder = fleet([{"gpu": "l4", "count": 3}], replicas=2).parent
    deployctl("render", "--target", "docker", "-f", "fleet.yaml", "-o", "out")
    services = yaml.safe_load((folder / "out/two/compose.yaml").read_text())["services"]
    reserved = [services[n]["deploy"]["resources"]["reservations"] for n in ("engine", "engine-1")]
    assert len({each["devices"][0]["device_ids"][0] for each in reserved}) == 2


@pytest.fixture
def two_l4(monkeypatch):
    """`nvidia-smi` by ssh knows two cards."""
    answer = (
        "index, name, uuid, driver_version, memory.total [MiB], memory.reserved [MiB], "
        "memory.used [MiB], memory.free [MiB], compute_cap, mig.mode.current, persistence_mode\n"
    )
    for index in range(2):
        answer += f"{index}, NVIDIA L4, GPU-{index}abc, 580.126.20, 23034 MiB, 467 MiB, "
        answer += "0 MiB, 22566 MiB, 8.9, [N/A], Enabled\n"

    def run(argv, timeout_s):
        if "--query-gpu" in argv[-1] and argv[0] == "ssh":
            return Ran(0, answer)
        return Ran(None)

    monkeypatch.setattr("deployctl.doctor.shell.run", run)
    monkeypatch.setenv("DOCKER_HOST", "ssh://ops@gpu-1")


def test_the_cards_of_another_host_are_counted_there(fleet, two_l4):
    """`auto` asks nvidia-smi, by ssh where Docker is reached so."""
    placed = load_placed([fleet([{"gpu": "auto"}])])
    assert [spec.env["CUDA_VISIBLE_DEVICES"] for spec in placed] == ["0", "1"]
    assert [spec.gpu for spec in placed] == ["auto", "auto"]  # with the memory that is found there


def test_cards_that_the_shell_hides_are_not_given_out(fleet, two_l4, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(SpecError, match="hides cards of this host") as caught:
        load_placed([fleet([{"gpu": "auto"}])])
    assert caught.value.hint.startswith("unset it")


def test_what_no_gateway_can_do_is_refused_with_the_plan(fleet, deployctl):
    fleet([{"gpu": "l4"}], gateway_port=9090)
    _, err = deployctl("plan", "-f", "fleet.yaml", code=2)
    assert "gateway_port is said of a gateway, and two is behind none" in err
    assert "add --gateway" in err
