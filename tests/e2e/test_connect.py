"""What `status --connect` shows, pasted as it is: the fake engine behind the real door answers."""

import json

import pytest
from tests.e2e.gateway_parts import needs_caddy
from tests.e2e.pasted import needed, paste

import ports


@needed
def test_what_is_shown_works_as_it_is(shell):
    code, shown, err = shell.up("--expose")
    assert code == 0, err
    assert "deployctl status tiny --connect" in shown
    code, out, err = shell.run("status", "--connect", "--output", "json")
    assert code == 0, err
    connection = json.loads(out)["connect"]
    made = {snippet["name"]: snippet for snippet in connection["snippets"]}
    file = shell.state / "process" / "tiny" / "api_key"
    assert connection["api_key_file"] == str(file)
    assert file.read_text() not in out

    assert json.loads(paste(made["curl"]))["choices"]
    listing = 'curl -sS --oauth2-bearer "$OPENAI_API_KEY" "$OPENAI_BASE_URL/models"'
    models = json.loads(paste({"kind": "sh", "text": listing}, made["environment"]["text"]))
    assert [model["id"] for model in models["data"]] == [connection["model"]]

    pytest.importorskip("openai")
    assert paste(made["Python"]).split() == ["a"] * 64


@needed
def test_it_works_where_the_gateway_is_its_own_authority(shell):
    needs_caddy()
    domain = ["--domain", "localhost", "--tls", "internal", "--gateway-port", ports.free()]
    code, _, err = shell.up("--expose", *domain)
    assert code == 0, err
    code, out, err = shell.run("status", "--connect", "--output", "json")
    assert code == 0, err
    made = {snippet["name"]: snippet for snippet in json.loads(out)["connect"]["snippets"]}
    assert "https://localhost:" in made["curl"]["text"]
    assert json.loads(paste(made["curl"]))["choices"]
    pytest.importorskip("openai")
    assert paste(made["Python"]).split() == ["a"] * 64
