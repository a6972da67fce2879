"""The Compose bundle: what is fenced in, what is kept, and that no text means anything else."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from deployctl.errors import InputError, PlanRefusedError
from deployctl.render import render_compose, render_process
from deployctl.render.compose import arguments
from deployctl.render.process import COMMAND_FILE
from deployctl.render.readme import compose_readme

CASES = [
    ("awq", "l4", {}),
    ("gptq", "l4", {}),
    ("awq", "a100-80gb", {}),
    ("gptq", "a100-80gb", {}),
    ("awq", "h100", {}),
    ("gptq", "h100", {}),
    ("awq", "rtx4090", {"gpus": 2, "tensor_parallel_size": 2, "expose": True}),
    ("gptq", "rtx4090", {"gpus": 2, "tensor_parallel_size": 2, "expose": True}),
    ("awq", "cpu", {}),
    ("gptq", "cpu", {}),
]
IDS = [f"{method}-{gpu}" for method, gpu, _ in CASES]

NASTY = [
    "$HOME",
    "${HOME}",
    "$$",
    "$(id)",
    "`id`",
    "'; touch /tmp/pwned; '",
    '"quoted"',
    "no",
    "null",
    "~",
    "1e3",
    "0o17",
    "0x1f",
    "1_000",
    "12:30",
    "2026-11-24",
    "- dash",
    "a: b",
    "a #b",
    "!tag",
    "&anchor",
    "*alias",
    "{a: b}",
    "{{ template }}",
    "%directive",
    "back\\slash",
    " blanks ",
    "",
    "naïve-模型",
]


def compose(bundle):
    return yaml.safe_load(bundle.files["compose.yaml"])


def engine(bundle):
    return compose(bundle)["services"]["engine"]


@pytest.mark.parametrize(("method", "gpu", "settings"), CASES, ids=IDS)
def test_golden(golden, planned, method, gpu, settings):
    plan, spec = planned(method, gpu, **settings)
    bundle = render_compose(plan, spec)
    # Whatever changes in the door's code changes the digest.
    text = re.sub(r"(io\.deployctl\.digest: ).*", r"\1DIGEST", bundle.files["compose.yaml"])
    golden(f"render/{method}-{gpu}.compose.yaml", text)
    assert bundle == render_compose(plan, spec)


@pytest.mark.parametrize(("method", "gpu", "settings"), CASES, ids=IDS)
def test_the_engine_gets_the_same_flags_from_every_target(planned, method, gpu, settings):
    plan, spec = planned(method, gpu, **settings)
    process = json.loads(render_process(plan, spec).files[COMMAND_FILE])["arguments"][2:]
    docker = engine(render_compose(plan, spec))["command"]
    own = {"--model", "--host", "--port", "--shutdown-timeout"}  # each target's business

    def shared(words):
        pairs = zip(words, [*words[1:], ""], strict=True)
        dropped = {i + n for i, (word, _) in enumerate(pairs) if word in own for n in (0, 1)}
        return [word for i, word in enumerate(words) if i not in dropped]

    assert shared(process) == shared(docker)
    guarded = ["--middleware", "deployctl_door.vllm.Middleware", "--disable-fastapi-docs"]
    assert shared(docker)[-3 - len(plan.engine.args) :] == [*plan.engine.args, *guarded]


@pytest.mark.parametrize(
    ("version", "args", "words"),
    [
        ("0.32.0", (), ["--shutdown-timeout", "55"]),
        ("0.18.0", (), ["--shutdown-timeout", "55"]),
        ("0.17.0", (), []),
        ("0.32.0", ("--shutdown-timeout", "7"), ["--shutdown-timeout", "7"]),
        ("0.32.0", ("--shutdown-timeout=7",), ["--shutdown-timeout=7"]),
    ],
)
def test_who_stops_a_container_cuts_no_request(by_hand, version, args, words):
    plan, spec = by_hand()
    asked = plan.engine.model_copy(update={"version": version, "args": args})
    service = engine(render_compose(plan.model_copy(update={"engine": asked}), spec))
    command = service["command"]
    at = [i for i, word in enumerate(command) if word.startswith("--shutdown-timeout")]
    assert [word for i in at for word in command[i : i + len(words)]] == words
    assert service["stop_grace_period"] == "60s"


def test_readme_golden(golden, planned, by_hand):
    golden("render/exposed-hub.README.md", compose_readme(*planned("awq", "l4", expose=True)))
    golden("render/local-cpu.README.md", compose_readme(*by_hand()))


@pytest.mark.parametrize(
    ("expose", "made"), [(True, ["api_key", "operator_token"]), (False, ["operator_token"])]
)
def test_the_readme_s_command_makes_what_it_says(tmp_path, planned, expose, made):
    text = compose_readme(*planned("awq", "l4", expose=expose))
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    (command,) = (block for block in blocks if "openssl" in block)
    folder = tmp_path / "secrets"
    folder.mkdir()
    for _ in range(2):  # also over those that are there
        done = subprocess.run(["sh", "-euc", command], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == made
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    assert all(len(path.read_text().strip()) == 64 for path in folder.iterdir())


def test_every_container_is_fenced_in(by_hand, planned):
    for plan, spec in (by_hand(), planned("awq", "h100")):
        for name, service in compose(render_compose(plan, spec))["services"].items():
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert "privileged" not in service
            if name == "engine":
                assert service["user"] == "10001:10001"
                assert "cap_add" not in service
            else:
                assert service["cap_add"] == ["CHOWN"]
                assert service["network_mode"] == "none"
                assert service["read_only"] is True


def test_the_root_is_read_only_where_the_engine_allows(by_hand, planned):
    assert engine(render_compose(*by_hand()))["read_only"] is True
    assert engine(render_compose(*planned("awq", "l4")))["read_only"] is False


def test_cards_are_reserved_for_every_stage(by_hand):
    plan, spec = by_hand(accelerator="cuda", tensor_parallel_size=2, pipeline_parallel_size=3)
    resources = engine(render_compose(plan, spec))["deploy"]["resources"]
    assert resources["reservations"]["devices"] == [
        {"driver": "nvidia", "count": 6, "capabilities": ["gpu"]}
    ]
    assert "reservations" not in engine(render_compose(*by_hand()))["deploy"]["resources"]


def test_named_cards_are_reserved_by_name(by_hand):
    plan, spec = by_hand(
        accelerator="cuda", tensor_parallel_size=2, env={"CUDA_VISIBLE_DEVICES": "2, 3"}
    )
    service = engine(render_compose(plan, spec))
    assert service["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "device_ids": ["2", "3"], "capabilities": ["gpu"]}
    ]
    assert "CUDA_VISIBLE_DEVICES" not in service["environment"]
    plan = plan.model_copy(update={"tensor_parallel_size": 1})
    with pytest.raises(
        PlanRefusedError, match="CUDA_VISIBLE_DEVICES names 2 cards, and the plan uses 1"
    ):
        render_compose(plan, spec)


def test_a_slice_is_reserved_by_its_own_name(by_hand):
    """A number of cards would be whole ones, and another service's."""
    uuid = "MIG-377e0049-554c-540b-93c6-d0976f8426cb"
    sliced = {"accelerator": "cuda", "gpu": "h100:1g.10gb"}
    plan, spec = by_hand(**sliced, env={"CUDA_VISIBLE_DEVICES": uuid})
    service = engine(render_compose(plan, spec))
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"] == [uuid]
    assert "CUDA_VISIBLE_DEVICES" not in service["environment"]
    with pytest.raises(InputError, match="which one of the host is not said") as caught:
        render_compose(*by_hand(**sliced))
    assert "nvidia-smi -L" in caught.value.hint


def test_a_process_takes_a_slice_where_its_release_does(by_hand):
    sliced = {"accelerator": "cuda", "gpu": "h100:1g.10gb"}
    named = {**sliced, "env": {"CUDA_VISIBLE_DEVICES": "MIG-377e0049"}}
    assert "MIG-377e0049" in render_process(*by_hand(**named)).files["run.sh"]
    with pytest.raises(PlanRefusedError, match=r"0\.22\.0 ends when") as caught:
        render_process(*by_hand(**named, version="0.22.0"))
    assert "--target docker" in caught.value.hint
    with pytest.raises(InputError, match="which one of the host is not said"):
        render_process(*by_hand(**sliced))


def test_it_listens_on_loopback_unless_exposed_and_then_needs_a_key(by_hand):
    closed = engine(render_compose(*by_hand(port=9000)))
    assert closed["ports"][0]["host_ip"] == "127.0.0.1"
    assert closed["ports"][0]["published"] == "9000"
    assert "API_KEY_REQUIRED" not in closed["environment"]
    exposed = engine(render_compose(*by_hand(expose=True)))
    assert exposed["ports"][0]["host_ip"] == "0.0.0.0"
    assert exposed["environment"]["API_KEY_REQUIRED"] == "1"


def test_no_variable_lifts_the_need_for_a_key(by_hand):
    plan, spec = by_hand(expose=True, env={"API_KEY_REQUIRED": "0"})
    assert engine(render_compose(plan, spec))["environment"]["API_KEY_REQUIRED"] == "1"


def test_where_the_key_lies_is_not_in_the_bundle(by_hand, tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret")
    one = render_compose(*by_hand(api_key_file=key))
    other = render_compose(*by_hand(api_key_file=tmp_path / "other"))
    assert one == other
    assert "s3cret" not in json.dumps(one.files)
    assert str(tmp_path) not in json.dumps(one.files)


def test_the_start_up_budget_and_shared_memory_are_the_plans(by_hand):
    service = engine(render_compose(*by_hand(startup_budget_s=1234, shm_gib=1.5)))
    assert service["healthcheck"]["start_period"] == "1234s"
    assert service["shm_size"] == "1536m"


def test_a_local_model_is_mounted_and_a_hub_model_is_not(by_hand):
    local = engine(render_compose(*by_hand(name="svc")))
    mount = next(m for m in local["volumes"] if m["target"] == "/models/svc")
    assert mount == {
        "type": "bind",
        "source": "/srv/tiny",
        "target": "/models/svc",
        "read_only": True,
        "bind": {"create_host_path": False},
    }
    assert local["environment"]["HF_HUB_OFFLINE"] == "1"
    hub = engine(render_compose(*by_hand(model="org/m", model_local=False, revision="abc")))
    assert not [m for m in hub["volumes"] if m["target"].startswith("/models")]
    assert hub["command"][:2] == ["--model", "org/m"]
    assert hub["command"][6:8] == ["--revision", "abc"]
    assert "HF_HUB_OFFLINE" not in hub["environment"]


def test_the_digest_label_follows_what_runs(by_hand):
    def label(**more):
        return engine(render_compose(*by_hand(**more)))["labels"]["io.deployctl.digest"]

    assert label() == label()
    assert label() != label(args=("--max-model-len", "5"))


def test_the_revision_is_compose_s_to_fill_in(by_hand):
    text = render_compose(*by_hand()).files["compose.yaml"]
    assert 'io.deployctl.revision: "${DEPLOYCTL_REVISION:-}"' in text


@pytest.mark.parametrize("word", NASTY)
def test_no_text_means_anything_but_itself(by_hand, word):
    plan, spec = by_hand(
        args=("--served-model-name", word), env={"WORD": word}, model=f"/srv/{word}/x", name="svc"
    )
    service = engine(render_compose(plan, spec))
    doubled = word.replace("$", "$$")
    assert service["command"][-6] == doubled
    assert service["environment"]["WORD"] == doubled
    assert next(m for m in service["volumes"] if m["target"] == "/models/svc")["source"] == (
        f"/srv/{doubled}/x"
    )
    assert arguments(plan)[-6] == word


@pytest.fixture(scope="session")
def docker_compose():
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command")
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("there is no docker compose")

    def config(folder, *options):
        return subprocess.run(
            ["docker", "compose", "--file", str(folder / "compose.yaml"), "config", *options],
            capture_output=True,
            text=True,
        )

    return config


def written(folder, bundle):
    for path, text in bundle.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.mark.parametrize(("method", "gpu", "settings"), CASES[-4::2], ids=IDS[-4::2])
def test_compose_accepts_it(docker_compose, planned, tmp_path, method, gpu, settings):
    written(tmp_path, render_compose(*planned(method, gpu, **settings)))
    done = docker_compose(tmp_path, "--quiet")
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_compose_reads_every_text_as_we_wrote_it(docker_compose, by_hand, tmp_path):
    plan, spec = by_hand(args=NASTY, env={f"W{i}": word for i, word in enumerate(NASTY)})
    written(tmp_path, render_compose(plan, spec))
    done = docker_compose(tmp_path, "--format", "json")
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]["engine"]
    # `config` writes a file again, so every dollar is doubled in what it prints.
    assert [w.replace("$$", "$") for w in read["command"]] == arguments(plan)
    for i, word in enumerate(NASTY):
        assert read["environment"][f"W{i}"].replace("$$", "$") == word
