import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, InterruptedByUserError, StateError
from deployctl.load import folder, locust
from deployctl_loadtest.result import Setup
from deployctl_loadtest.sample import Sample

SETUP = Setup(
    None, "http://h:1", "--model", "completions", 3, 10, 2.5, 100, 50, False, 7, 60
)  # a model's name may look like an option


def test_the_command_carries_everything_but_the_key():
    words = locust.command(SETUP, Path("/out"))
    assert words[1:3] == ["-m", "locust"]
    assert Path(words[4]).name == "locustfile.py"
    assert "--headless" in words
    assert "--model=--model" in words
    assert "--stop-after=12.5" in words
    assert "--stop-timeout=0" in words
    assert "--no-ignore-eos" in words
    assert not [word for word in words if "key" in word.lower()]


def test_the_environment_carries_the_key_and_no_stray_settings():
    inherited = {"PATH": "/bin", "LOCUST_USERS": "9", "OPENAI_API_KEY": "other"}
    assert locust.environment(inherited, None) == {"PATH": "/bin", "PYTHONUNBUFFERED": "1"}
    assert locust.environment(inherited, "k")[locust.KEY_VARIABLE] == "k"


def test_a_result_is_never_overwritten(tmp_path):
    assert folder.create(tmp_path / "a" / "b").is_dir()
    (tmp_path / "a" / "b" / folder.SUMMARY).write_text("{}")
    with pytest.raises(InputError, match="holds a result already"):
        folder.create(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        folder.create(tmp_path / "file" / "x")


def test_a_result_that_cannot_be_written_is_said_and_no_half_is_left(tmp_path, monkeypatch):
    sample = Sample(worker="w", started_at_s=0.0, outcome="ok")
    (tmp_path / "samples-w.jsonl").write_text("raw")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.json, "dumps", full)
    with pytest.raises(StateError, match="No space left"):
        folder.write(tmp_path, None, [sample])
    assert [path.name for path in tmp_path.iterdir()] == ["samples-w.jsonl"]


def test_the_default_folder_is_named_after_service_and_time():
    now = datetime(2026, 11, 24, 7, 45, 12, tzinfo=UTC)
    assert folder.default("qwen", now) == Path("results/qwen-20261124T074512Z")


def test_ctrl_c_before_anything_was_measured_is_no_failure_of_locust(tmp_path, monkeypatch):
    waits = [sys.executable, "-c", "import signal; signal.pause()"]
    monkeypatch.setattr(locust, "command", lambda *_: waits)

    def interrupted(process, log, tell):
        process.terminate()
        return locust.Ended(interrupted=True)

    monkeypatch.setattr(locust, "_follow", interrupted)
    with pytest.raises(InterruptedByUserError):
        locust.run(SETUP, tmp_path, Endpoint("http://h:1", "m", None))
