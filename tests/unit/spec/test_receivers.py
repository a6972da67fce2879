"""Files of receivers: what they say, and how what is wrong is told without a secret."""

import pytest

from deployctl.errors import SpecError
from deployctl.spec.receivers import MailReceiver, load_receivers

GOOD = """\
receivers:
  - {name: on-call, kind: pagerduty, routing_key_file: /run/pd, severity: critical}
  - {name: team, kind: slack, api_url_file: slack.url, channel: "#llm"}
  - {name: hook, kind: webhook, url_file: /run/hook, send_resolved: false}
  - name: mail
    kind: mail
    to: ops@example.com
    from: deployctl@example.com
    smarthost: smtp.example.com:587
    auth_username: deployctl
    auth_password_file: /run/mail
"""


@pytest.fixture
def load(tmp_path):
    def write(text):
        file = tmp_path / "receivers.yaml"
        file.write_text(text)
        return load_receivers(file)

    return write


def test_each_kind_and_where_its_secret_is(load, tmp_path):
    found = load(GOOD)
    assert [each.name for each in found] == ["on-call", "team", "hook", "mail"]
    assert [list(map(str, each.secrets.values())) for each in found] == [
        ["/run/pd"], [str(tmp_path / "slack.url")], ["/run/hook"], ["/run/mail"],
    ]  # fmt: skip
    assert found[0].severity == "critical"
    assert isinstance(found[3], MailReceiver)
    assert found[3].sender == "deployctl@example.com"


def test_none_at_all_is_fine(load):
    assert load("receivers: []\n") == ()


SECRET = "https://hooks.slack.com/services/T0/B0/verysecret"
ONE = "receivers: [{name: a, kind: %s}]"
WRONG = {
    ONE % f"slack, api_url: '{SECRET}'": ("not written here", "receivers/0/api_url"),
    ONE % f"slack, api_url_file: '{SECRET}'": ("path of a file", "receivers/0/api_url_file"),
    ONE % "slack": ("a value is required", "receivers/0/api_url_file"),
    ONE % "slak, api_url_file: /a": ("one of webhook, slack", "receivers/0/kind"),
    ONE % "slack, api_url_file: /a, chanel: b": ("no such setting", "receivers/0/chanel"),
    ONE % "pagerduty": ("one of routing_key_file", "receivers/0"),
    ONE % "pagerduty, routing_key_file: /a, service_key_file: /b": ("one of", "receivers/0"),
    ONE % "mail, to: nobody, from: a@b, smarthost: 'h:25'": ("pattern", "receivers/0/to"),
    ONE % "mail, to: a@b, from: a@b, smarthost: h": ("HOST:PORT", "receivers/0/smarthost"),
    ONE % "mail, to: a@b, from: a@b, smarthost: 'u:verysecret@h:25'": (
        "HOST:PORT",
        "receivers/0/smarthost",
    ),
    ONE % "mail, to: a@b, from: a@b, smarthost: 'h:25', auth_username: u": (
        "go together",
        "receivers/0",
    ),
    f"receivers: ['{SECRET}']": ("", "receivers/0"),
    f"receivers: '{SECRET}'": ("", "receivers"),
    "receivers: [{name: nobody, kind: webhook, url_file: /a}]": ("'nobody'", ""),
    "receivers: [{name: a, kind: webhook, url_file: /a}, {name: a, kind: webhook, url_file: /a}]": (
        "two receivers",
        "",
    ),
    "receivers: [{name: A b, kind: webhook, url_file: /a}]": ("pattern", "receivers/0/name"),
    "receivers: []\n---\nreceivers: []": ("2 documents", ""),
    "recievers: []": ("", ""),
    "- a": ("a mapping was expected", ""),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_its_place_and_never_with_a_secret(load, text):
    said, where = WRONG[text]
    with pytest.raises(SpecError) as refused:
        load(text)
    error = refused.value
    assert said in error.message
    assert where in error.where
    assert "receivers.yaml" in error.where
    assert error.hint
    assert "verysecret" not in f"{error.message} {error.where} {error.hint}"


def test_a_misspelt_field_is_asked_after(load):
    with pytest.raises(SpecError) as refused:
        load(ONE % "slack, api_url_file: /a, chanel: b")
    assert refused.value.hint == "did you mean channel?"
