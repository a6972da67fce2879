"""What clients paste: whole in the language that it is in, whatever names and paths hold; tests/e2e
runs it against an engine."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import certifi
import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deployctl.render.snippets import Way, snippets

URL = "http://127.0.0.1:8000/v1"
CONTINUE = Path(__file__).resolve().parents[2] / "data" / "continue-config.json"
NASTY = """it's "$(id)" `id` \\ {{é}} #: %s"""


def by_name(way):
    return {snippet.name: snippet for snippet in snippets(way)}


def words(text):
    """What a shell makes of a command, nothing expanded, `|` and `>>` words like others."""
    return shlex.split(text.replace("\\\n", " "), comments=True)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1))
def test_a_model_of_any_name_comes_through_whole(model):
    made = by_name(Way(URL, model, f"/keys/{model}"))
    curl = words(made["curl"].text)
    assert json.loads(curl[curl.index("-d") + 1])["model"] == model
    assert curl[curl.index("|") - 1] == f"/keys/{model}"
    python = compile(made["Python"].text, "snippet", "exec")
    assert model in python.co_consts
    (litellm,) = yaml.safe_load(made["LiteLLM"].text)["model_list"]
    assert litellm["model_name"] == model
    assert litellm["litellm_params"]["model"] == f"hosted_vllm/{model}"
    (editor,) = yaml.safe_load(made["Continue"].text)["models"]
    assert (editor["model"], editor["apiBase"]) == (model, URL)


def test_python_verifies_by_a_certificate_that_is_named(tmp_path, monkeypatch):
    """It is run, with what stands for the package: nothing is asked."""
    key, authority = tmp_path / "key", tmp_path / NASTY
    key.write_text("the-key\n")
    authority.write_text("")
    made = by_name(Way("https://h/v1", "m", str(key), ca_file=str(authority)))
    openai = Mock()
    monkeypatch.setitem(sys.modules, "openai", openai)
    openai.OpenAI.return_value.chat.completions.create.return_value = []
    read = []
    monkeypatch.setattr("ssl.create_default_context", lambda cafile: read.append(cafile) or "ctx")
    exec(compile(made["Python"].text, "snippet", "exec"), {})
    assert read == [str(authority)]
    openai.DefaultHttpxClient.assert_called_once_with(verify="ctx")
    given = openai.OpenAI.call_args.kwargs
    assert given["http_client"] is openai.DefaultHttpxClient.return_value
    assert given["api_key"] == "the-key"


@pytest.mark.parametrize("name", ["environment", "Open WebUI", "Continue's key", "LiteLLM"])
def test_a_key_reaches_a_program_by_its_environment_and_never_its_words(tmp_path, name):
    """The shell itself says what it would start: each program is a function that shows its words
    and what it was given."""
    key = tmp_path / NASTY
    key.write_text("the-key\n")
    text = by_name(Way(URL, "m", str(key)))[name].text
    if name == "LiteLLM":
        text = "\n".join(line.removeprefix("# ") for line in text.splitlines()[:2])
    seen = 'say() { echo "words: $*"; env; }; docker() { say "$@"; }; litellm() { say "$@"; }\n'
    home = tmp_path / "home"
    (home / ".continue").mkdir(parents=True)
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    done = subprocess.run(
        ["bash", "-euc", f"{seen}{text}\nenv"],
        env=clean, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("words: ")]
    assert not any("the-key" in line for line in said)
    if name == "Continue's key":
        assert (home / ".continue" / ".env").read_text() == "VLLM_API_KEY=the-key\n"
    else:
        variable = "VLLM_API_KEY" if name == "LiteLLM" else "OPENAI_API_KEY"
        assert f"{variable}=the-key" in done.stdout.splitlines()
    if name == "LiteLLM":  # without one it does not start
        own = next(line for line in done.stdout.splitlines() if "MASTER_KEY" in line)
        assert re.fullmatch("LITELLM_MASTER_KEY=sk-[0-9a-f]{64}", own)


@pytest.mark.parametrize("tasks", [("generate",), ("embed",)])
@pytest.mark.parametrize("key", [None, "/keys/a"])
@pytest.mark.parametrize("authority", [None, NASTY])
def test_continue_knows_every_name_of_its_file(tasks, key, authority):
    way = Way("https://h/chat/v1", "m", key, tasks, authority)
    made = yaml.safe_load(by_name(way)["Continue"].text)
    jsonschema.validate(made, json.loads(CONTINUE.read_text()))
    (model,) = made["models"]
    assert model.get("requestOptions") == (authority and {"caBundlePath": authority})


def test_an_authority_of_the_gateways_own_is_told_to_what_is_pasted():
    """LiteLLM reads it for that model alone."""
    made = by_name(Way("https://h/chat/v1", "m", ca_file=NASTY))
    (litellm,) = yaml.safe_load(made["LiteLLM"].text)["model_list"]
    assert litellm["litellm_params"]["ssl_verify"] == NASTY
    started = words(made["Open WebUI"].text)
    mounted = started[started.index("-v") + 1]
    assert mounted == f"{NASTY}:/root.crt:ro"
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        assert f"{name}=/tmp/ca.crt" in started
    without = by_name(Way("https://h/chat/v1", "m"))
    told = "".join(snippet.text for snippet in without.values())
    assert not any(word in told for word in ("ssl_verify", "SSL_CERT_FILE", "caBundlePath"))


def test_open_webui_trusts_public_authorities_and_the_gateways_own(tmp_path):
    """Its libraries take what SSL_CERT_FILE names for all that there is."""
    command = words(by_name(Way("https://h/chat/v1", "m", ca_file="/r"))["Open WebUI"].text)
    first, *_, script = command[command.index("openwebui/open-webui:main") + 1 :]
    own, trusted = tmp_path / "root.crt", tmp_path / "ca.crt"
    own.write_text("the gateway's own\n")
    (tmp_path / "start.sh").write_text('echo "$SSL_CERT_FILE"')
    done = subprocess.run(
        [first, "-c", script.replace("/root.crt", str(own))],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "SSL_CERT_FILE": str(trusted)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (f"{trusted}\n", "")
    assert trusted.read_text() == certifi.contents() + own.read_text()


def test_without_a_key_nothing_asks_for_one():
    made = by_name(Way(URL, "m"))
    assert made["curl"].text.startswith(f"curl {URL}/chat/completions ")
    assert "Continue's key" not in made
    for text in (made["curl"].text, made["LiteLLM"].text, made["Continue"].text):
        assert "KEY" not in text.replace("LITELLM_MASTER_KEY", "")  # its own
        assert "Authorization" not in text


@pytest.mark.parametrize(
    ("tasks", "names"),
    [
        (("embed", "score"), ["curl", "environment", "Python", "LiteLLM", "Continue"]),
        (("transcribe",), ["curl", "environment"]),
    ],
)
def test_what_does_not_suit_the_service_is_left_out(tasks, names):
    made = by_name(Way(URL, "m", tasks=tasks))
    assert list(made) == names
    assert "chat" not in " ".join(snippet.text for snippet in made.values())


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1/tiny/v1"])  # a gateway at port 80
def test_a_container_reaches_loopback_by_the_machines_own_network(url):
    here = words(by_name(Way(url, "m"))["Open WebUI"].text)
    far = words(by_name(Way("https://llm.example.com/v1", "m"))["Open WebUI"].text)
    assert "host" in here
    assert "host" not in far
    assert "127.0.0.1:3000:8080" in far
