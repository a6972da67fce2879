"""`deployctl plan` as a process: the contract of its JSON, its text, its exit codes."""

import json
import os
import re
import subprocess
import sys

import pytest

from deployctl.cli.plan.text import plan_text
from deployctl.spec import ServiceSpec

CONTRACT = {
    "version",
    "verdict",
    "reasons",
    "warnings",
    "engine",
    "tensor_parallel_size",
    "replicas",
    "max_model_len",
    "max_concurrency",
    "startup_budget_s",
    "memory",
}
MEMORY = {
    "gpu_total_gib",
    "budget_gib",
    "weights_gib",
    "non_torch_gib",
    "activation_gib",
    "cudagraph_gib",
    "kv_cache_gib",
    "kv_cache_tokens",
    "kv_bytes_per_token",
}


@pytest.fixture
def folder(config, tmp_path):
    """`folder("llama-8b")`: a folder of that name with the config alone."""

    def make(name, **changes):
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(json.dumps(config(name, **changes)))
        return place

    return make


def run(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "deployctl", "plan", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


def test_the_contract_holds(folder):
    done = run(
        *("--model", folder("llama-8b"), "--gpu", "h100", "--gpus", 2, "--gpu-memory-gib", 79.19),
        *("--tensor-parallel-size", 2, "--pipeline-parallel-size", 1, "--max-model-len", 8192),
        *("--gpu-memory-utilization", 0.95, "--max-num-seqs", 256, "--max-num-batched-tokens"),
        *(4096, "--kv-cache-dtype", "fp8", "--dtype", "bfloat16", "--enforce-eager"),
        *("--engine-version", "0.19.0", "--output", "json"),
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan.keys() >= CONTRACT
    assert plan["memory"].keys() >= MEMORY
    assert plan["engine"].keys() >= {"name", "version", "image", "args"}
    assert plan["version"] == 1
    assert plan["memory"]["gpu_total_gib"] == 79.19
    assert plan["memory"]["cudagraph_gib"] == 0


def test_a_refusal_is_printed_and_exits_3(folder):
    words = ("--gpu", "l4", "--max-model-len", 131072, "--output", "json")
    done = run("--model", folder("llama-8b"), *words)
    assert done.returncode == 3
    plan = json.loads(done.stdout)
    assert plan["verdict"] == "does_not_fit"
    assert [set(reason) for reason in plan["reasons"]] == [{"code", "message", "fix"}]
    assert "kv_cache_too_small" in done.stderr
    assert "hint: use --max-model-len" in done.stderr


@pytest.mark.parametrize("gib", ["1e300", "1e999", "nan", "-1", "9" * 5000])
def test_memory_that_no_card_has_is_refused(folder, gib):
    done = run("--model", folder("llama-8b"), "--gpu", "l4", "--gpu-memory-gib", gib)
    assert done.returncode == 2
    assert "at: --gpu-memory-gib\n hint:" in done.stderr


def test_a_gpu_file_is_the_profiles_own_yaml(folder, tmp_path):
    card = tmp_path / "card.yaml"
    card.write_text(
        "name: a10g\ntitle: NVIDIA A10G\nmemory_gib: 22.07\nmemory_bandwidth_gb_s: 600\n"
        'compute_capability: "8.6"\n'
    )
    words = ("--gpu", card, "--max-model-len", 4096, "--output", "json")
    done = run("--model", folder("llama-8b"), *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["gpu"] == "a10g"


def test_the_text_reads_well_in_80_columns(folder, golden):
    fits = run(
        *("--model", folder("llama-8b"), "--gpu", "h100", "--max-model-len", 8192),
        *("--engine-version", "0.19.0", "--gpu-memory-utilization", 0.95),
    )
    assert fits.returncode == 0, fits.stderr
    assert max(map(len, fits.stdout.splitlines())) <= 80
    golden("plan/fits.txt", fits.stdout)
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    refused = run(
        *("--model", folder("qwen2-72b", quantization_config=awq), "--gpu", "rtx4090"),
        *("--gpus", 2, "--tensor-parallel-size", 2),
    )
    assert refused.returncode == 3
    assert max(map(len, refused.stdout.splitlines())) <= 80
    golden("plan/refused.txt", refused.stdout)


def test_compare_prints_one_table(folder, golden):
    done = run(
        *("--model", folder("llama-8b"), "--compare", "l4,4090,a100,h100"),
        *("--users", 16, "--max-model-len", 8192),
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    golden("plan/compare.txt", done.stdout)


def test_a_chosen_context_is_said_at_once_and_explained_on_demand(folder, golden):
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    place = folder("llama-8b", quantization_config=gptq)
    done = run("--model", place, "--gpu", "rtx4090", "--explain")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    golden("plan/chosen.txt", done.stdout)
    words = ("--model", place, "--gpu", "l4", "--max-model-len", 131072, "--explain")
    refused = run(*words)
    assert refused.returncode == 3
    assert max(map(len, refused.stdout.splitlines())) <= 80
    _, steps, ways = re.split(r"\n(?:Search|Fixes)  ", refused.stdout)
    assert re.search(r"^ +1 +1 +1  auto +13\.\d\d +107,\d\d\d  does not fit$", steps, re.M)
    assert re.findall(r"^  (--\S+ \S+)$", ways, re.M)[0] == "--kv-cache-dtype fp8"
    assert "    gives: 131,072 tokens of context, 1.6 full requests at once" in ways
    assert "    cost: some accuracy: keys and values have 8 bits" in ways
    assert "Search" not in run(*words[:-1]).stdout


def test_compare_without_a_context_compares_at_one_that_all_hold(folder):
    place = folder("llama-8b")
    done = run("--model", place, "--compare", "l4,h100", "--output", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    alone = json.loads(run("--model", place, "--gpu", "l4", "--output", "json").stdout)
    assert found["context_chosen"] is True
    lengths = {c["plan"]["max_model_len"] for c in found["candidates"]}
    assert lengths == {found["max_model_len"]} == {alone["max_model_len"]}
    assert alone["max_model_len"] < 131072 == alone["model_context"]


def test_compare_where_nothing_is_enough_exits_3(folder):
    done = run("--model", folder("qwen2-72b"), "--compare", "l4", "--users", 500)
    assert done.returncode == 3
    assert "none of these GPUs is large enough" in done.stderr


@pytest.mark.parametrize("text", ["", "[]", "{", '{"num_hidden_layers": -1}', "[" * 100_000])
def test_a_broken_config_is_one_error_and_no_traceback(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    done = run("--model", tmp_path, "--gpu", "l4")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "hint: " in done.stderr


SWITCHES = ("--engine-arg", "enable-expert-parallel", "--engine-arg", "no-enable-prefix-caching")


def test_a_switch_is_its_name_alone_and_the_same_in_a_file(folder, tmp_path):
    where = ("--model", folder("llama-8b"), "--gpu", "h100", "--max-model-len", 4096)
    file = tmp_path / "service.yaml"
    file.write_text(
        f"model: {folder('llama-8b')}\ngpu: h100\nmax_model_len: 4096\n"
        "engine_args: {enable_expert_parallel: true, enable-prefix-caching: false}\n"
    )
    typed = run(*where, *SWITCHES, "--output", "json")
    written = run("-f", file, "--output", "json")
    assert typed.returncode == written.returncode == 0, typed.stderr + written.stderr
    args = json.loads(typed.stdout)["engine"]["args"]
    assert args == json.loads(written.stdout)["engine"]["args"]
    assert args[-2:] == ["--enable-expert-parallel", "--no-enable-prefix-caching"]


def test_json_is_passed_as_it_is_typed(folder):
    where = ("--model", folder("llama-8b"), "--gpu", "h100", "--max-model-len", 4096)
    done = run(*where, "--engine-arg", 'compilation-config={"mode": 3}', "--output", "json")
    args = json.loads(done.stdout)["engine"]["args"]
    assert args[-2:] == ["--compilation-config", '{"mode": 3}']


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["max_num_seqs"], 3, "--max-num-seqs needs a value"),
        (["enable-prefix-caching 1"], 2, "'enable-prefix-caching 1' is not name=value"),
        (["=true"], 2, "is not name=value"),
        (
            ["enable-prefix-caching", "no-enable-prefix-caching"],
            2,
            "enable_prefix_caching is given twice, as True and as False",
        ),
    ],
)
def test_what_is_no_switch_is_refused(folder, arguments, code, says):
    words = [word for argument in arguments for word in ("--engine-arg", argument)]
    where = ("--model", folder("llama-8b"), "--gpu", "h100", "--max-model-len", 4096)
    done = run(*where, *words, COLUMNS="200")
    assert done.returncode == code
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_cards_by_claim_are_a_row_each(folder):
    model = folder("qwen2.5-7b")
    done = run("--model", model, "--gpu", "t4,l4,a100-80gb")
    assert done.returncode == 0, done.stderr
    table = done.stdout.split("Cards by claim")[1].split("\nFlags")[0]
    assert [
        line.split()[0]
        for line in table.splitlines()[1:]
        if line.startswith("  ") and line[2] != " "
    ] == [
        *("l4", "a100-80gb", "t4"),
    ]
    assert "GiB or more · compute capability 8.0–12.1 · $0.78/h" in table
    refused = run("--model", model, "--gpu", "t4,l4", "--users", 100, "--max-model-len", 32768)
    assert refused.returncode == 3
    assert "nearest was NVIDIA L4" in refused.stdout
    assert "no_card_fits" in refused.stderr


def test_a_setting_that_a_variable_gives_is_named_by_the_variable(folder):
    said = run("--model", folder("llama-8b"), "--gpu", "h100", DEPLOYCTL_HOLD="30").stderr
    assert "hold is said of a gateway" in said
    assert "at: DEPLOYCTL_HOLD" in said


@pytest.mark.parametrize(("replicas", "said"), [(1, "  this CPU"), (2, "  2 replicas on this CPU")])
def test_replicas_on_a_cpu_are_told(make_plan, replicas, said):
    """A person saw one engine, whatever number was asked for; and did not see that what it holds is
    each one's."""
    plan = make_plan(ServiceSpec(model="m", name="tiny", gpu="cpu"), replicas=replicas)
    text = str(plan_text(plan, "CPU", counted=True, colour=False))
    assert said in text.splitlines()[1]
    assert ("each with 0.0 full requests at once" in " ".join(text.split())) is (replicas > 1)
