"""What the chart's tests are made of: plans of a known model, and `helm template`."""

import functools
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from deployctl.hardware import all_profiles
from deployctl.render import yamltext
from deployctl.render.helm import VALUES_FILE, render_helm
from known import FORMATS, planned

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "vllm"
MAXIMAL = Path(__file__).with_name("maximal.yaml")
NAMESPACE = "serving"

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
