"""A fleet on this host's memory: planned, brought up, mended, changed and taken down."""

import json
import os
import signal
from pathlib import Path

import pytest
import yaml
from tests.e2e.engine_cache import knowing
from tests.e2e.test_process import Operator

import ports
from process_shell import until

GIB = 1024**3


def fleet_of(file, model, names, *, held=0.0, **more):
    """Writes a fleet on the CPU; `more` are settings by the service's name."""
    services = [
        {"model": str(model), "name": name, "port": ports.free(), "kv_cache_gib": 0.25}
        | more.get(name, {})
        for name in names
    ]
    documents = [{"fleet": [{"gpu": "cpu", "held_gib": held}]}, *services]
    file.write_text(yaml.safe_dump_all(documents))
    return file


def test_one_that_fails_stops_no_other_and_again_it_alone_is_brought_up(shell, tmp_path):
    file = tmp_path / "fleet.yaml"
    broken = {"env": {"FAKE_ENGINE_DIE_LOADING": "1"}}
    services = fleet_of(file, shell.model, ("one", "two"), one=broken).read_text()
    code, out, err = shell.run("up", "-f", file, "--output", "json")
    assert code == 4
    answer = json.loads(out)
    assert [each["service"] for each in answer["services"]] == ["two"]
    assert [each["service"] for each in answer["failed"]] == ["one"]
    assert "1 of 2 services did not come up: one" in err
    documents = list(yaml.safe_load_all(services))
    documents[1].pop("env")
    file.write_text(yaml.safe_dump_all(documents))
    for changed in (["one"], []):
        code, out, err = shell.run("up", "-f", file, "--output", "json")
        assert code == 0, err
        answer = json.loads(out)["services"]
        assert [each["service"] for each in answer if each["changed"]] == changed
    assert shell.run("status", "two")[0] == 0
    code, out, err = shell.run("down", "-f", file)
    assert (code, out.splitlines()) == (0, ["one is down", "two is down"]), err
    assert shell.left() == []


def test_a_fleet_that_has_no_room_starts_nothing(shell, tmp_path):
    large = {"kv_cache_gib": 3000}
    file = fleet_of(tmp_path / "fleet.yaml", shell.model, ("one", "two"), two=large)
    code, _, err = shell.run("up", "-f", file)
    assert code == 3
    assert "hint: " in err
    assert shell.left() == []
    code, out, _ = shell.run("down", "-f", file)  # never up
    assert (code, out) == (0, "")


def test_engines_that_all_ended_at_once_load_one_at_a_time(shell, tmp_path):
    """As those of a card do that was reset, or of a machine that was restarted."""
    names, hold = ("one", "two"), tmp_path / "may-load"
    hold.touch()
    held = {name: {"env": {"FAKE_ENGINE_HOLD": str(hold)}} for name in names}
    file = fleet_of(tmp_path / "fleet.yaml", shell.model, names, **held)
    code, _, err = shell.run("up", "-f", file)
    assert code == 0, err
    told = lambda name: json.loads(shell.run("status", name, "--output", "json")[1])  # noqa: E731
    pids = [told(name)["services"][0]["pid"] for name in names]
    hold.unlink()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    runs = shell.state / "process"
    log = lambda name: (runs / name / "runs/000001/engine.log").read_text()  # noqa: E731
    waits = "deployctl: the engine waits for its turn: another loads on its card"
    [waiting] = until(lambda: [name for name in names if waits in log(name)])
    [loading] = {*names} - {waiting}
    until(lambda: log(loading).count("Starting to load") == 2)
    assert log(waiting).count("Starting to load") == 1
    hold.touch()
    for name in names:
        until(lambda name=name: told(name)["services"][0]["health"] == "serving")
    assert "deployctl: it is the engine's turn" in log(waiting)
    assert shell.run("down", "-f", file)[0] == 0


@pytest.fixture
def two_cards(tmp_path, shell):
    """An `nvidia-smi` that knows two cards, which nobody has."""
    asked = "index, name, uuid, driver_version, memory.total [MiB], memory.reserved [MiB], "
    asked += "memory.used [MiB], memory.free [MiB], compute_cap, mig.mode.current, persistence_mode"
    cards = [
        f"{index}, NVIDIA L4, GPU-{index}abc, 580.126.20, 23034 MiB, 467 MiB, 0 MiB, 22566 MiB, "
        "8.9, [N/A], Enabled"
        for index in range(2)
    ]
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("\n".join(["#!/bin/sh", "cat <<'END'", asked, *cards, "END", ""]))
    program.chmod(0o755)
    shell.environment["PATH"] = f"{program.parent}{os.pathsep}{shell.environment['PATH']}"


def test_three_models_have_the_cards_and_shares_that_were_planned(shell, two_cards, tmp_path):
    names = ("one", "two", "three")
    services = [
        {"model": str(shell.model), "name": name, "port": ports.free(), "target": "process"}
        for name in names
    ]
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump_all([{"fleet": [{"gpu": "auto"}]}, *services]))
    code, out, err = shell.run("plan", "-f", file, "--output", "json")
    assert code == 0, err
    plan = json.loads(out)
    planned = {
        share["service"]: (str(number), f"{share['share']:g}")
        for number, card in enumerate(plan["cards"])
        for share in card["shares"]
    }
    assert len(planned) == 3
    assert {card for card, _ in planned.values()} == {"0", "1"}
    code, out, err = shell.run("up", "-f", file, "--output", "json")
    assert code == 0, err
    assert [each["service"] for each in json.loads(out)["services"]] == plan["order"]
    mine = json.loads(shell.run("status", "--target", "process", "--output", "json")[1])["services"]
    assert {status["service"] for status in mine} == {*names}
    for status in mine:
        assert status["health"] == "serving"
        words, environment = (
            Path(f"/proc/{status['pid']}/{what}").read_text().split("\0")
            for what in ("cmdline", "environ")
        )
        share = words[words.index("--gpu-memory-utilization") + 1]
        [card] = [each for each in environment if each.startswith("CUDA_VISIBLE_DEVICES=")]
        assert (card.partition("=")[2], share) == planned[status["service"]]
    assert shell.run("down", "-f", file)[0] == 0


@pytest.mark.night
@pytest.mark.vllm
def test_three_real_engines_share_this_hosts_memory(tiny_checkpoint, checkpoint_cache, tmp_path):
    """Each within what was planned of it, all answering at once."""
    names = ("one", "two", "three")
    cache = knowing(tmp_path / "cache", checkpoint_cache, *names)
    deployctl = Operator(tmp_path, ports.free(), cache)
    eager = {name: {"enforce_eager": True} for name in names}
    file = fleet_of(tmp_path / "fleet.yaml", tiny_checkpoint, names, **eager)
    plan = deployctl("plan", "-f", file)
    [host] = plan["cards"]
    planned = {share["service"]: share["gib"] for share in host["shares"]}
    assert sum(planned.values()) <= host["memory_gib"]
    try:
        answer = deployctl("up", "-f", file)
        assert [each["service"] for each in answer["services"]] == plan["order"]
        for name in names:  # each by its name: others may have services on this machine's Docker
            [status] = deployctl("status", name)["services"]
            assert status["health"] == "serving"
            assert status["memory_bytes"] / GIB <= planned[name], name
        assert not any(each["changed"] for each in deployctl("up", "-f", file)["services"])
    finally:
        deployctl("down", "-f", file, code=None)
