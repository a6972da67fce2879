"""A model is fetched before an engine is touched: a Hub and its CDN here, a fake engine."""

import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from hub_server import TOKEN, Hub, User
from process_parts import write_checkpoint
from process_shell import PATIENCE_S, until
from verify_parts import Prober

MIB = 1024 * 1024
VOCABULARY = 131_072  # 16 MiB of weights: huggingface_hub writes 10 MiB at a time


@pytest.fixture
def files(tmp_path):
    """A checkpoint as the Hub has them: beside what vLLM reads, what it does not."""
    folder = write_checkpoint(tmp_path / "made")
    config = json.loads((folder / "config.json").read_text()) | {"vocab_size": VOCABULARY}
    size = VOCABULARY * 64 * 2
    tensor = {"dtype": "F16", "shape": [VOCABULARY, 64], "data_offsets": [0, size]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    body = bytes(range(256)) * (size // 256)
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": len(header).to_bytes(8, "little") + header + body,
        "pytorch_model.bin": bytes(2000),
        "original/consolidated.00.pth": bytes(2000),
        "model-Q4_K_M.gguf": bytes(2000),
        "README.md": b"# tiny",
    }


@pytest.fixture
def hub(files):
    with Hub(files) as made:
        yield made


@pytest.fixture
def user(tmp_path, hub, free_port):
    made = User(tmp_path, hub, free_port)
    yield made
    made.end()


def test_what_the_engine_reads_is_there_and_nothing_else(user, hub):
    hub.token = user.environment["HF_TOKEN"] = TOKEN
    first = user.fetch()
    user.whole(hub)
    assert (
        first["downloaded"]
        == first["bytes"]
        == sum(len(hub.files[n]) for n in ("config.json", "model.safetensors", "tokenizer.json"))
    )
    assert (user.cache / "models--org--tiny/refs/main").read_text() == hub.commit
    # The token is for the Hub, not for the host that it sends us to.
    assert {s[4] for s in hub.served if s[0] == "h"} == {f"Bearer {TOKEN}"}
    assert {s[4] for s in hub.served if s[0] == "c"} == {None}
    gets = len(hub.gets("model.safetensors"))
    assert user.fetch()["downloaded"] == 0
    assert len([s for s in hub.gets("model.safetensors") if s[3] is None]) == 1
    assert len(hub.gets("model.safetensors")) - gets <= 1  # the header, for the plan


def test_a_cut_in_the_middle_goes_on_where_it_was(user, hub):
    hub.faults["model.safetensors"] = [("none",), ("cut", 11 * MIB)]  # the first is the header
    user.fetch()
    user.whole(hub)
    ranges = [s[3] for s in hub.gets("model.safetensors")][1:]
    assert ranges == [None, f"bytes={10 * MIB}-"]


def test_a_cut_goes_on_where_ranges_are_ignored(user, hub):
    hub.ranges = False
    hub.faults["model.safetensors"] = [("none",), ("cut", 11 * MIB)]
    user.fetch()
    user.whole(hub)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_has_come_is_kept_and_never_taken_for_whole(user, hub, number):
    hub.faults["model.safetensors"] = [("none",), ("hold", 11 * MIB)]
    process = user.start(*user.words("fetch"))
    assert hub.held.wait(PATIENCE_S)
    partial = user.cache / "models--org--tiny/blobs"
    until(lambda: any(p.stat().st_size == 10 * MIB for p in partial.glob("*incomplete")))
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in err
        assert "what has come is kept" in err
    snapshot = user.cache / "models--org--tiny/snapshots" / hub.commit
    assert not (snapshot / "model.safetensors").exists()
    hub.release.set()
    assert 0 < user.fetch()["downloaded"] < 7 * MIB
    assert hub.gets("model.safetensors")[-1][3] == f"bytes={10 * MIB}-"
    user.whole(hub)


def test_a_wrong_digest_is_thrown_away(user, hub):
    right = hub.files["model.safetensors"]
    hub.files["model.safetensors"] = right[:-1] + b"?"
    said = user.fetch(code=4)
    assert "digest" in said
    assert [p for p in user.blobs() if p.stat().st_size > MIB] == []
    hub.files["model.safetensors"] = right
    user.fetch()
    user.whole(hub)


def test_a_file_of_the_cache_that_is_cut_or_wrong_is_fetched_again(user, hub):
    user.fetch()
    blob = max(user.blobs(), key=lambda path: path.stat().st_size)
    whole = blob.read_bytes()
    for broken in (whole[:1000], whole[:-1] + b"?"):
        blob.write_bytes(broken)
        assert user.fetch()["downloaded"] > 0
        user.whole(hub)


def test_too_many_requests_are_waited_for(user, hub):
    hub.faults["tokenizer.json"] = [("status", 429, {"Retry-After": "0"})]
    hub.faults["model.safetensors"] = [("none",), ("status", 503, {})]
    user.fetch()
    user.whole(hub)


def test_a_file_that_vanishes_in_the_middle_is_told(user, hub):
    hub.faults["model.safetensors"] = [
        ("none",), ("status", 404, {"X-Error-Code": "EntryNotFound"}),
    ]  # fmt: skip
    said = user.fetch(code=2)
    assert "the Hub has no such file" in said
    assert "hint:" in said


def test_two_at_once(user, hub):
    pair = [user.start(*user.words("fetch")) for _ in range(2)]
    for process in pair:
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
    user.whole(hub)
    # But for the two headers, it came once.
    assert len([s for s in hub.gets("model.safetensors") if s[3] is None]) == 1


def test_a_mirror_that_is_not_there_is_named(user):
    user.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    said = user.fetch(code=4)
    assert "http://127.0.0.1:9" in said
    assert "HF_ENDPOINT" in said


def test_a_proxy_that_is_not_there_is_named(user):
    user.environment |= {"http_proxy": "http://u:secret@127.0.0.1:9", "no_proxy": ""}
    said = user.fetch(code=4)
    assert "127.0.0.1:9" in said
    assert "secret" not in said


def test_a_folder_for_a_host_without_network(user, hub, tmp_path):
    folder = tmp_path / "bundle"
    user.fetch("--to", folder)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (folder / name).read_bytes() == hub.files[name]
    hub.close()
    assert user.fetch(model=folder)["downloaded"] == 0
    out, _ = user.ask(*user.words("up", "--offline", "--output=json", model=folder))
    assert json.loads(out)["services"][0]["revision"] == 1
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    assert "not whole" in user.fetch(model=folder, code=2)


def test_a_service_without_network(user, hub, tmp_path):
    user.fetch()
    served = len(hub.served)
    user.ask(*user.words("up", "--offline"))
    assert len(hub.served) == served
    command = next(tmp_path.glob("state/process/tiny/**/000001.json")).read_text()
    assert "HF_HUB_OFFLINE" in command


def test_what_is_not_there_is_refused_offline(user):
    _, err = user.ask(*user.words("up", "--offline"), code=4)
    assert "offline, and the model is not in the Hub's cache" in err


def test_the_old_service_answers_all_the_while(user, hub):
    user.ask(*user.words("up", "--env=FAKE_ENGINE_NOTE=1"))
    before = {str(p): p.stat().st_mtime_ns for p in user.blobs()}
    old = hub.files["model.safetensors"]
    wrong, new = old[:-1] + b"?", old[:-1] + b"!"
    up = user.words("up", "--env=FAKE_ENGINE_NOTE=2")
    with Prober(user.port, "org/tiny") as prober:

        def answers_on():
            seen = len(prober.times)
            until(lambda: prober.failures or len(prober.times) > seen + 10)
            assert prober.failures == []

        # Another revision, of which not what is listed comes.
        hub.files["model.safetensors"], hub.lists["model.safetensors"] = wrong, new
        hub.commit = "f" * 40
        assert "digest" in user.ask(*up, code=4)[1]
        answers_on()
        # And then, what is long in coming.
        hub.files["model.safetensors"] = new
        hub.faults["model.safetensors"] = [("none",), ("hold", 11 * MIB)]
        process = user.start(*up)
        assert hub.held.wait(PATIENCE_S)
        answers_on()
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        answers_on()
    assert process.returncode == 130
    assert prober.failures == []
    assert before.items() <= {str(p): p.stat().st_mtime_ns for p in user.blobs()}.items()
    out, _ = user.ask("history", "tiny", "--output=json")
    assert [r["status"] for r in json.loads(out)["revisions"]] == ["deployed", "failed", "failed"]


def test_an_engine_whose_model_is_there_starts_again_without_the_hub(user, hub):
    user.ask(*user.words("up"))
    hub.close()
    started = [environment_of(pid) for pid in user.left()]
    assert {variables["HF_HUB_OFFLINE"] for variables in started} == {"1"}
    user.ask("down", "tiny")
    _, err = user.ask("rollback", "tiny")
    assert "whether the model is there and whole is unknown" in err
    assert status(f"http://127.0.0.1:{user.port}/health") == 200


def environment_of(pid):
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            return response.status
    except OSError as error:
        return str(error)
