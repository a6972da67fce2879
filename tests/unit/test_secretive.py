"""What a secret is: one list for all who look."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from deployctl import assets
from deployctl.checking import check_texts
from deployctl.planning.settings import fold
from deployctl.secretive import NAME, is_named_so, looks
from deployctl.spec import ServiceSpec
from deployctl.spec.service import MOST_WAIT_S, RECORDED

NAMES = [
    "HF_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "OPENAI_API_KEY",
    "VLLM_API_KEY",
    "apikey",
    "DB_PASSWORD",
    "PGPASSWD",
    "SSH_PRIVATE_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "CLIENT_SECRET",
    "HTTP_AUTHORIZATION",
    "KEY_PASSPHRASE",
    "DB_PASS",
    "DB_PWD",
    "TOKEN",
    "my-token",
]
PLAIN = [
    "HF_TOKEN_PATH",
    "PWD_FILE",
    "PATH",
    "VLLM_LOGGING_LEVEL",
    "TIKTOKEN_CACHE_DIR",
    "MAX_TOKENS",
    "CACHE_KEY_PREFIX",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "automountServiceAccountToken",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name):
    assert is_named_so(name)
    assert is_named_so(name + "\n")  # no way around it
    with pytest.raises(ValidationError, match="looks like a secret"):
        ServiceSpec(model="m", env={name.replace("-", "_"): "x"})


@pytest.mark.parametrize("name", PLAIN)
def test_names_of_other_things(name):
    assert not is_named_so(name)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("hf_" + "a" * 34, "a Hugging Face token"),
        ("AKIA" + "A" * 16, "an AWS key"),
        ("ASIA" + "A" * 16, "an AWS key"),
        ("https://me:hunter2@proxy:3128", "a password in an address"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("https://$USER:$PASS@proxy", None),
        ("https://proxy:3128/a@b", None),
        ("redis://:@host", None),
    ],
)
def test_looks_of_secrets(value, what):
    assert looks(value) == what
    if what:
        with pytest.raises(ValidationError, match="looks like a secret"):
            ServiceSpec(model="m", env={"PLAIN": value})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HTTPS_PROXY", "http://me:hunter2@proxy:3128", "proxies in ~/.docker/config.json"),
        ("all_proxy", "socks5://me:hunter2@proxy", "proxies in ~/.docker/config.json"),
        ("REDIS_URL", "redis://:hunter2@host", "leave the password out of the address"),
        ("HF_TOKEN", "x", "use api_key_file or hf_token_file"),
    ],
)
def test_what_to_do_instead_is_said_by_kind(name, value, says):
    with pytest.raises(ValidationError, match=says):
        ServiceSpec(model="m", env={name: value})


@pytest.mark.parametrize("name", ["NAME\n", "A B", "1A", "", "A=B"])
def test_a_name_is_a_name_to_its_end(name):
    with pytest.raises(ValidationError, match="is not the name of an environment variable"):
        ServiceSpec(model="m", env={name: "x"})


def test_what_was_accepted_once_stays_readable():
    document = {"model": "m", "env": {"DB_PASS": "x"}}
    assert ServiceSpec.model_validate(document, context=RECORDED).env == {"DB_PASS": "x"}


def test_a_recorded_spec_is_planned_again_as_it_was_accepted():
    document = {"model": "m", "env": {"DB_PASS": "x"}, "engine_args": {"max_num_seqs": 8}}
    folded, problems = fold(ServiceSpec.model_validate(document, context=RECORDED))
    assert problems == []
    assert (folded.max_num_seqs, folded.env) == (8, {"DB_PASS": "x"})


def test_a_record_of_before_there_was_a_bound_of_the_wait_is_whole():
    document = {"model": "m", "startup_timeout": 10**6}
    assert ServiceSpec.model_validate(document, context=RECORDED).startup_timeout == MOST_WAIT_S
    with pytest.raises(ValidationError):
        ServiceSpec.model_validate(document)


def test_the_chart_has_the_same_list():
    refusals = assets.table("deploy", "kubernetes", "refusals.yaml")["refusals"]
    [told] = [each for each in refusals if each["path"] == "engine.env.{item}"]
    assert told["when"]["item"]["like"] == NAME.pattern


@pytest.mark.parametrize("name", NAMES)
def test_check_knows_them_all(name):
    engine = f"{{image: 'vllm/vllm-openai:v0.32.0', environment: {{'{name}': hunter2}}}}"
    text = f"services: {{a: {engine}}}"
    assert "secret-inline" in {f.code for f in check_texts({"compose.yaml": text}).findings}


def test_no_command_that_people_paste_has_a_secret_among_its_words():
    """Every user of a machine can read those of a command that runs: curl has it from a pipe."""
    root = Path(__file__).parents[2]
    pages = [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "deploy").rglob("*.md")]
    assert len(pages) > 50
    header = re.compile(r"""(-H|--header)[ =]["']?Authorization|--oauth2-bearer|api-key [$"]""")
    assert [page for page in pages if header.search(page.read_text(encoding="utf-8"))] == []
