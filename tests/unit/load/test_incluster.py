"""What a run from pods is told, and what goes with it."""

import dataclasses
import json

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import InputError
from deployctl.load import incluster, locust
from deployctl_loadtest import pod, workload
from deployctl_loadtest.result import Setup

SETUP = Setup(
    "chat", "http://chat.llm.svc:8000", "m", "chat", 4, 10, 2, 100, 50, True, 7, 60,
    workers=2, on="kubernetes", worker_image="deployctl/loadtest:1",
)  # fmt: skip
ENDPOINT = Endpoint(
    "http://127.0.0.1:7", "m", "k3y", "chat", headers={"X-Tenant": "t0p"}, inside=SETUP.url,
    operator_token="t0ken",
)  # fmt: skip


def order(folder, **changes):
    return incluster.order_of(dataclasses.replace(SETUP, **changes), folder, ENDPOINT)


def test_the_options_are_those_of_a_run_on_this_machine_and_hold_no_secret(tmp_path):
    made = order(tmp_path)
    here = locust.command(SETUP, tmp_path)[6:]  # behind Locust and whom to ask
    there = [word.replace(pod.RESULT, str(tmp_path)) for word in made.options]
    assert there == here
    assert made.secrets == {
        locust.KEY_VARIABLE: "k3y",
        locust.HEADERS_VARIABLE: '{"X-Tenant": "t0p"}',
    }
    assert not [word for word in made.options if "k3y" in word or "t0p" in word]
    assert "t0ken" not in repr(made)  # opens far more than a load needs
    assert made.url == SETUP.url
    assert (made.name, made.image, made.workers) == ("chat", "deployctl/loadtest:1", 2)
    assert (made.service, made.lasts_s, made.files) == ("chat", 12, {})


def test_files_travel_and_are_named_as_they_are_there(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "prompts: {file: ../asked.txt, format: lines}\noutput_tokens: 9\n"
    )
    (tmp_path.parent / "asked.txt").write_text("Who?\nWhere?\n")
    (tmp_path / "ca.crt").write_text("PEM")
    (tmp_path / locust.VOCABULARY).write_text("{}")
    made = order(
        tmp_path,
        workload=str(tmp_path / "mine.yaml"),
        ca_file=str(tmp_path / "ca.crt"),
        prompt_lengths="exact",
    )
    assert set(made.files) == {"workload.json", "prompts", "ca.pem", locust.VOCABULARY}
    for word in ("workload=/load/files/workload.json", "ca-file=/load/files/ca.pem"):
        assert f"--{word}" in made.options
    assert f"--vocabulary={pod.FILES}/{locust.VOCABULARY}" in made.options
    there = tmp_path / "there"
    there.mkdir()
    for name, content in made.files.items():
        (there / name).write_bytes(content)
    read = workload.load(str(there / "workload.json"))
    assert [record.turns[0][0] for record in read.records] == ["Who?", "Where?"]
    assert read.output_tokens.typical == 9


def test_a_workload_of_ours_travels_too_whatever_the_image_has(tmp_path):
    made = order(tmp_path, workload="chat", input_fixed=False)
    assert json.loads(made.files["workload.json"])["system_tokens"]


def test_a_trace_travels(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("Timestamp,Request tokens,Response tokens\n0,10,5\n")
    made = order(tmp_path, mode="trace", trace=str(file), users=0)
    assert made.files["trace"] == file.read_bytes()
    assert "--trace=/load/files/trace" in made.options


def test_files_that_are_too_large_for_every_worker_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(incluster, "_MOST_BYTES", 3)
    with pytest.raises(InputError, match="each worker would be sent"):
        order(tmp_path, workload="chat")
