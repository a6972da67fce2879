"""The command of target `process`, as text."""

import json
import os
import subprocess

import pytest

from deployctl.errors import InputError, PlanRefusedError, StateError, TargetError
from deployctl.targets import cores
from deployctl.targets.cores import Thread
from deployctl.targets.process import logfile
from deployctl.targets.process.command import Command, environment
from deployctl.targets.process.preflight import vllm_version
from deployctl.targets.process.runs import RunFolder


def test_the_command_is_the_plan_s_and_no_more(make_release):
    release = make_release(port=8123, env={"VLLM_CPU_KVCACHE_SPACE": "1"})
    command = Command(release.bundle)
    assert command.argv("python")[:3] == ["python", "-m", "vllm.entrypoints.openai.api_server"]
    assert command.arguments[2:] == [
        *("--model", release.plan.model, "--host", "127.0.0.1", "--port", "8123"),
        *release.plan.engine.args,
        *("--middleware", "deployctl_door.vllm.Middleware", "--disable-fastapi-docs"),
    ]
    assert command.environment == {
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def test_exposed_it_listens_everywhere_and_wants_a_key(make_release):
    release = make_release(expose=True)
    assert "0.0.0.0" in Command(release.bundle).arguments
    assert "what clients show (needed)" in release.bundle.files["run.sh"]
    assert json.loads(release.bundle.files["door/door.json"])["keyless"] is False
    assert json.loads(release.bundle.files["command.json"])["api_key"] is True


def test_a_model_of_the_hub_keeps_its_revision_and_may_ask_the_hub(make_release):
    plan = {"model": "org/model", "model_local": False, "revision": "abc"}
    command = Command(make_release(plan=plan).bundle)
    assert command.arguments[-7:-3] == ["--revision", "abc", "--served-model-name", "tiny"]
    assert "HF_HUB_OFFLINE" not in command.environment


def test_tricks_in_names_stay_names(make_release):
    name = "a'; touch /tmp/owned; $(id) `id` \"x"
    release = make_release(plan={"model": name})
    assert name in Command(release.bundle).arguments
    script = (
        release.bundle.files["run.sh"]
        .replace('exec "${PYTHON:-python3}"', "printf '%s\\n'")
        .replace('"${PYTHON:-python3}" -m', ":")
    )
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert name in shown.splitlines()


def replicated(make_release, count=2, plan=None, **spec):
    return make_release(plan={"replicas": count, **(plan or {})}, **spec).bundle


def started(bundle, replica, tmp_path, **ambient):
    return environment(
        Command(bundle, replica), ambient,
        run=tmp_path, cache=tmp_path, api_key=None, hub_token=None,
    )  # fmt: skip


CARDS = {"accelerator": "cuda", "gpu": "l4", "tensor_parallel_size": 2}


def test_each_replica_has_a_port_and_cards_of_its_own(make_release, tmp_path):
    bundle = replicated(make_release, plan=CARDS, port=9000)
    commands = [Command(bundle, number) for number in range(2)]
    assert [command.port for command in commands] == [9000, 9001]
    assert [each.arguments[each.arguments.index("--port") + 1] for each in commands] == [
        "9000", "9001",
    ]  # fmt: skip
    assert started(bundle, 1, tmp_path)["CUDA_VISIBLE_DEVICES"] == "2,3"
    given = {"CUDA_VISIBLE_DEVICES": "7,6,5,GPU-1"}
    assert started(bundle, 1, tmp_path, **given)["CUDA_VISIBLE_DEVICES"] == "5,GPU-1"
    named = replicated(make_release, plan=CARDS, env=given)
    assert started(named, 0, tmp_path)["CUDA_VISIBLE_DEVICES"] == "7,6"
    with pytest.raises(TargetError, match="names 3 cards, and replica 1 is to have number 4"):
        started(bundle, 1, tmp_path, CUDA_VISIBLE_DEVICES="0,1,2")


def test_another_port_is_told_to_the_engine_and_to_its_watchdog(make_release, tmp_path):
    command, run = Command(make_release(gateway=True).bundle, port=9001), RunFolder(tmp_path / "r")
    assert command.arguments[command.arguments.index("--port") + 1] == "9001"
    job = run.prepare(command, "python", grace_s=1.0, state=tmp_path)
    assert json.loads(job.read_text())["watchdog"]["port"] == 9001
    assert run.port() is None  # nothing was started
    (run.folder / "supervisor.json").write_text('{"pid": 1, "start": 0, "boot": "b"}')
    assert run.port() == 9001
    job.write_text("{}")
    assert run.port() is None


def test_replicas_without_cards_or_ports_for_all_are_refused(make_release):
    with pytest.raises(PlanRefusedError, match="names 3 cards, and 2 replicas take 4"):
        replicated(make_release, plan=CARDS, env={"CUDA_VISIBLE_DEVICES": "0,1,2"})
    with pytest.raises(InputError, match="none above 65535"):
        replicated(make_release, port=65535)


def test_the_script_is_the_replica_that_it_is_told_to_be(make_release, tmp_path):
    script = replicated(make_release, plan=CARDS, port=9000).files["run.sh"]
    script = script.replace('exec "${PYTHON:-python3}"', 'echo "$CUDA_VISIBLE_DEVICES"')
    script = script.replace('"${PYTHON:-python3}" -m', ":")

    def shown(**more):
        environment = {"PATH": os.environ["PATH"], **more}
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment)

    assert shown().stdout.startswith("0,1 ")
    second = shown(REPLICA="1").stdout.split()
    assert (second[0], second[second.index("--port") + 1]) == ("2,3", "9001")
    assert (shown(REPLICA="2").returncode, shown(REPLICA="2").stderr) == (2, "REPLICA is 0 to 1\n")


def test_each_replica_is_told_the_cpus_near_its_cards(make_release, tmp_path, monkeypatch):
    def told(bundle, number, *arguments):
        run, command = RunFolder(tmp_path / str(number)), Command(bundle, number)
        command.arguments += arguments
        job = run.prepare(command, "python", grace_s=1.0, state=tmp_path)
        return json.loads(job.read_text())["cpus"]

    monkeypatch.setattr(cores, "near", lambda cards, _: [int(card) for card in cards])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert told(replicated(make_release, plan=CARDS), 1) == [2, 3]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,6,5,4")
    assert told(replicated(make_release, plan=CARDS), 1) == [5, 4]
    assert told(replicated(make_release, plan=CARDS), 1, "--numa-bind") == []
    assert told(make_release().bundle, None) == []


def test_replicas_without_cards_share_the_cores(make_release, tmp_path, monkeypatch):
    threads = [Thread(n % 2, n, str(n // 4 * 2 + n % 2)) for n in range(8)]
    monkeypatch.setattr(cores, "usable", lambda: threads)
    bundle = replicated(make_release)
    assert [started(bundle, n, tmp_path)[cores.VARIABLE] for n in range(2)] == ["0,4", "1,5"]
    assert cores.VARIABLE not in started(make_release().bundle, None, tmp_path)
    assert started(replicated(make_release, 5), 4, tmp_path)[cores.VARIABLE] == "nobind"
    own = replicated(make_release, env={cores.VARIABLE: "3"})
    assert started(own, 1, tmp_path)[cores.VARIABLE] == "3"


def test_a_bundle_without_its_command(make_release):
    bundle = make_release().bundle.model_copy(update={"files": {}})
    with pytest.raises(StateError, match=r"no readable command\.json"):
        Command(bundle)


def test_of_the_shell_only_what_an_engine_needs(make_release, tmp_path):
    ambient = {
        "PATH": "/bin",
        "HTTPS_PROXY": "p",
        "CUDA_VISIBLE_DEVICES": "1",
        "HF_TOKEN": "ambient",
        "AWS_SECRET_ACCESS_KEY": "s",
        "VLLM_API_KEY": "ambient",
        "VLLM_PORT": "tcp://10.0.0.1:80",
    }
    found = environment(
        Command(make_release().bundle), ambient,
        run=tmp_path, cache=tmp_path / "cache", api_key="k", hub_token=None,
    )  # fmt: skip
    assert "VLLM_API_KEY" not in found  # the door alone checks
    assert found["PYTHONPATH"] == str(tmp_path / "door")
    assert found["DEPLOYCTL_DOOR"] == str(tmp_path / "door" / "door.json")
    assert found["PATH"] == "/bin"
    assert {"HTTPS_PROXY", "CUDA_VISIBLE_DEVICES", "DEPLOYCTL_RUN"} <= found.keys()
    assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "VLLM_PORT"} & found.keys()


def test_the_plan_may_move_the_cache(make_release, tmp_path):
    release = make_release(env={"VLLM_CACHE_ROOT": "/fast"})
    found = environment(
        Command(release.bundle), {}, run=tmp_path, cache=tmp_path, api_key=None, hub_token=None
    )
    assert found["VLLM_CACHE_ROOT"] == "/fast"


def test_the_installed_version_is_read_and_not_imported(fake_engine):
    assert vllm_version() == "0.32.0"


def test_a_log_is_read_across_its_rotation(tmp_path):
    log = tmp_path / "engine.log"
    assert logfile.read(log, None) == []
    (tmp_path / "engine.log.1").write_bytes(b"one\r\ntwo\n")
    log.write_bytes(b"three\n\xff\nlast")
    assert logfile.read(log, None) == ["one", "two", "three", "\ufffd", "last"]
    assert logfile.read(log, 2) == ["\ufffd", "last"]


def test_follow_goes_on_over_a_rotation(tmp_path):
    log = tmp_path / "engine.log"
    log.write_text("one\n")
    turns = iter(["two\n", "ROTATE", "four\n", None])

    def sleep(_seconds):
        turn = next(turns)
        if turn == "ROTATE":
            log.replace(tmp_path / "engine.log.1")
            log.write_text("three\n")
        elif turn:
            with log.open("a") as stream:
                stream.write(turn)
        else:
            ended.append(True)

    ended = []
    seen = list(logfile.follow(log, None, running=lambda: not ended, sleep=sleep))
    assert seen == ["one", "two", "three", "four"]
