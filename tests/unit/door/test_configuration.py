"""What a door is told is understood, or keeps the engine from starting."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployctl_door import probe
from deployctl_door.configuration import BodyLimits, ConfigurationError, load

DOOR = Path(__file__).resolve().parents[3] / "deploy" / "door"


def test_what_is_not_said_takes_its_default(configure, tmp_path, secrets):
    told = configure(drain_file="drain", probe_token="/run/probe")
    assert (told.drain_file, told.probe_token) == (tmp_path / "drain", Path("/run/probe"))
    assert (told.secrets, told.keyless, told.processes) == (secrets, False, 1)
    assert told.body == BodyLimits()


def test_a_path_that_leads_back_is_known_by_its_own_name(configure, tmp_path):
    told = configure(secrets="../secrets", drain_file="./a/../drain", probe_token="../../probe")
    assert told.secrets == tmp_path.parent / "secrets"
    assert told.drain_file == tmp_path / "drain"
    assert told.probe_token == tmp_path.parent.parent / "probe"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keyles": True}, "unknown: keyles"),
        ({"keyless": 1}, "keyless is no boolean"),
        ({"keyless": None}, "keyless is no boolean"),
        ({"request_log": "yes"}, "request_log is no boolean"),
        ({"processes": 0}, "processes is not above 0"),
        ({"processes": True}, "processes is no whole number"),
        ({"processes": 1.5}, "processes is no whole number"),
        ({"drain_after_s": -1}, "drain_after_s is not above -1"),
        ({"drain_after_s": float("nan")}, "drain_after_s is no number"),
        ({"body": {"bytes": 0}}, "body/bytes is not above 0"),
        ({"body": {"depth": 2.5}}, "body/depth is no whole number"),
        ({"body": {"seconds": float("inf")}}, "body/seconds is no number"),
        ({"body": {"prompts": None}}, "body/prompts is no whole number"),
        ({"body": {"size": 1}}, "size"),
        ({"user": [["get", "/x"]]}, "'get' is no method"),
        ({"user": [["GET", "x"]]}, "'x' is no path"),
        ({"user": [["GET"]]}, "unpack"),
        ({"version": 2}, "not of version 1"),
    ],
)
def test_what_is_not_understood_is_refused(configure, given, said):
    with pytest.raises(ConfigurationError, match=said):
        configure(**given)


def test_a_pipe_is_no_configuration_and_no_token(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        load(tmp_path / "pipe")
    assert probe.read(tmp_path / "pipe") is None


@pytest.fixture
def look(tmp_path):
    """What `python3 -m deployctl_door` says before an engine starts."""

    def run(name="door.json"):
        environment = {
            **os.environ,
            "PYTHONPATH": str(DOOR),
            "DEPLOYCTL_DOOR": str(tmp_path / name),
        }
        return subprocess.run(
            [sys.executable, "-m", "deployctl_door"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_before_a_start_a_former_drain_is_forgotten_and_a_token_made(configure, look, tmp_path):
    configure(drain_file="drain", probe_token="probe")
    (tmp_path / "drain").touch()
    (tmp_path / "probe").write_text("a-former-one")
    done = look()
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "drain").exists()
    assert len((tmp_path / "probe").read_text()) > 40
    assert (tmp_path / "probe").stat().st_mode & 0o777 == 0o600


def test_a_door_that_would_not_open_says_so_in_one_line(configure, look, secrets, write_keys):
    entry = {"name": "ada", "sha256": "0" * 64, "limits": {"concurrent": 1}}
    write_keys(entry)
    configure(processes=2)
    wrong = [look("none.json"), look()]
    configure()
    assert look().returncode == 0
    for content in ("{", json.dumps({"version": 2, "keys": []}), " " * ((4 << 20) + 1)):
        (secrets / "keys.json").write_text(content)
        wrong.append(look())
    (secrets / "keys.json").unlink()
    (secrets / "api_key").unlink()
    wrong.append(look())
    for done in wrong:
        assert done.returncode == 78
        assert done.stderr.startswith("deployctl: the door does not open: /")
        assert done.stderr.count("\n") == 1
