"""What the chart's tests are made of: plans of a known model, and `helm template`."""

import functools
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from deployctl.hardware import all_profiles, load_profile
from deployctl.model.facts import Architecture, ModelFacts, Quantization
from deployctl.planning import make_plan
from deployctl.render import yamltext
from deployctl.render.helm import VALUES_FILE, render_helm
from deployctl.spec import ServiceSpec

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "vllm"
MAXIMAL = Path(__file__).with_name("maximal.yaml")
NAMESPACE = "serving"

QWEN = Architecture(
    name="Qwen2ForCausalLM",
    model_type="qwen2",
    num_layers=28,
    hidden_size=3584,
    intermediate_size=18944,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    vocab_size=152064,
    tied_embeddings=False,
    max_position_embeddings=32768,
    dtype="float16",
)
FORMATS = {
    "awq": ("-AWQ", Quantization(method="awq", bits=4, group_size=128, zero_point=True), 5.57e9),
    "gptq": ("-GPTQ-Int4", Quantization(method="gptq", bits=4, group_size=128, symmetric=True),
             5.57e9),
    "unquantized": ("", None, 15.23e9),
}  # fmt: skip


def planned(method, gpu, **settings):
    """Plans Qwen2.5-7B-Instruct: (plan, spec, profile)."""
    suffix, quantization, stored = FORMATS[method]
    model = "Qwen/Qwen2.5-7B-Instruct" + suffix
    spec = ServiceSpec(model=model, gpu=gpu, **{"max_model_len": 8192, **settings})
    facts = ModelFacts(
        source=model,
        local=False,
        revision="0123456789abcdef0123456789abcdef01234567",
        format="safetensors",
        engine="vllm",
        architecture=QWEN,
        quantization=quantization,
        parameters=7_615_616_512,
        weight_bytes=int(stored),
        bytes_by_dtype={"F16": int(stored)}
        if quantization is None
        else {"I32": 3_370_000_000, "F16": 2_200_000_000},
        headers_read=True,
    )
    profile = load_profile(gpu)
    return make_plan(spec, facts, profile), spec, profile


# The model has 28 heads, which eight cards cannot share: two replicas of four.
CARDS = {1: {}, 2: {"tensor_parallel_size": 2}, 4: {"tensor_parallel_size": 4},
         8: {"tensor_parallel_size": 4, "replicas": 2}}  # fmt: skip
PROFILES = [profile.name for profile in all_profiles()]


@functools.cache
def renders():
    """Every profile, format and number of cards: (profile, format, cards) -> objects or a comment.

    Made once for all tests that look at them; a plan that refuses is a line with its reasons.
    """
    cases = [(p, method, cards) for p in PROFILES for method in FORMATS for cards in CARDS]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(cases, pool.map(rendered, cases), strict=True))


def rendered(case):
    """What the chart gives for one of them."""
    profile, method, cards = case
    plan, spec, card = planned(method, profile, gpus=cards, name="qwen", **CARDS[cards])
    if plan.verdict != "fits":
        return f"# {plan.verdict}: " + "; ".join(reason.message for reason in plan.reasons) + "\n"
    return template(yaml.safe_load(render_helm(plan, spec, card).files[VALUES_FILE]))


class RefusedError(Exception):
    """Helm said no; the text is its message."""


def helm(*words, text=None):
    """Runs helm and returns its stdout."""
    done = subprocess.run(
        ["helm", *map(str, words)], capture_output=True, text=True, input=text, timeout=60
    )
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout


def template(values=None, *, name="qwen", files=(), options=()):
    """The text that the chart gives for values, a mapping."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(yamltext.write(values or {}, "as deployctl writes them"))
        file.flush()
        more = [word for path in files for word in ("--values", path)]
        return helm(
            "template", name, CHART, "--namespace", NAMESPACE, *more, "--values", file.name,
            *options,
        )  # fmt: skip


def objects(values=None, **more):
    """The same as objects, by (kind, name)."""
    return parsed(template(values, **more))


def parsed(text):
    """Objects by (kind, name); none may be there twice."""
    found = {}
    for document in yaml.safe_load_all(text):
        if document:
            key = document["kind"], document["metadata"]["name"]
            assert key not in found, key
            found[key] = document
    return found


def one(found, kind, name="qwen"):
    """An object of a kind."""
    return found[kind, name]


def pod(found, name="qwen"):
    """The pod spec of a Deployment."""
    return found["Deployment", name]["spec"]["template"]["spec"]


def engine(found, name="qwen"):
    """The engine's container."""
    return pod(found, name)["containers"][0]


def maximal():
    """The values of tests/chart/maximal.yaml."""
    return yaml.safe_load(MAXIMAL.read_text())
