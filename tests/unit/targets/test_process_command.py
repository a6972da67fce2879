"""The command of target `process`, as text."""

import json
import subprocess

import pytest

from deployctl.errors import PlanRefusedError, StateError
from deployctl.render import render_process
from deployctl.targets.process import logfile
from deployctl.targets.process.preflight import vllm_version
from deployctl.targets.process.runs import Command, environment


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


def test_replicas_are_refused(make_release):
    release = make_release()
    with pytest.raises(PlanRefusedError, match="2 replicas"):
        render_process(release.plan.model_copy(update={"replicas": 2}), release.spec)


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
