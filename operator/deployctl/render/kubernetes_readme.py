"""The page beside what is rendered for Kubernetes: secrets, how to install, what it needs.

Not part of the bundle: a better sentence here must not make anything run anew.
"""

import re
from string import Template

import yaml

from deployctl import assets
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import Bundle
from deployctl.render.helm import VALUES_FILE

_IMAGE_PULL_S = 1200  # beside the start-up budget: ten GB over a slow line
_NAMESPACE = re.compile(r"^  namespace: \"(.+)\"$", re.MULTILINE)


def kubernetes_readme(plan: ServingPlan, bundle: Bundle) -> str:
    """Writes the README.md of a bundle of target `helm` or `manifests`."""
    text = assets.path("deploy", "kubernetes", f"{bundle.target}.md").read_text(encoding="utf-8")
    name = "vllm-engine" if plan.name == "vllm" else plan.name
    namespace = "vllm"
    values: dict[str, object] = {}
    if bundle.target == "manifests":
        found = _NAMESPACE.search(bundle.files["engine/deployment.yaml"])
        namespace = found[1] if found else namespace
        objects = "\n".join(bundle.files.values())
        keyed = "API_KEY_REQUIRED" in objects and "engine/secret.yaml" not in bundle.files
        secret = re.search(r'- secret:\n +name: "(.+)"\n +items:\n +- key: "(.+)"', objects)
        secret_name, secret_key = (secret[1], secret[2]) if secret else ("", "")
    else:
        values = yaml.safe_load(bundle.files[VALUES_FILE])
        key = values.get("apiKey", {})
        assert isinstance(key, dict)
        keyed = key.get("enabled", True) and not key.get("value")
        secret_name = key.get("existingSecret") or f"{name}-api-key"
        secret_key = key.get("key") or "api_key"
    return Template(text).substitute(
        service=plan.name,
        name=name,
        version=plan.engine.version,
        served=plan.served_model_name.replace("`", "'"),
        namespace=namespace,
        budget=plan.startup_budget_s,
        wait=plan.startup_budget_s + _IMAGE_PULL_S,
        secrets=_secrets(namespace, secret_name, secret_key) if keyed else "# none to make",
        needs="\n".join(f"- {line}" for line in _needs(plan)),
    )


def _secrets(namespace: str, name: str, key: str) -> str:
    return (
        f"kubectl --namespace {namespace} create secret generic {name} \\\n"
        f'  --from-literal={key}="$(openssl rand -hex 32)"'
    )


def _needs(plan: ServingPlan) -> list[str]:
    lines = ["Kubernetes 1.29 or newer, with a network that enforces NetworkPolicies."]
    if plan.accelerator == "cuda":
        count = plan.tensor_parallel_size * plan.pipeline_parallel_size
        cards = "one free card" if count == 1 else f"{count} free cards on one node"
        lines.append(
            f"NVIDIA's device plugin, and for each of {plan.replicas} replicas {cards} "
            f"({plan.gpu}). Nodes are found by the labels that NVIDIA's feature discovery or GKE "
            "sets. Where pods see no card, set `scheduling.runtimeClassName: nvidia`."
        )
        lines.append(f"The image `{plan.engine.image}`, which the nodes pull.")
    else:
        lines.append(
            f"The image `{plan.engine.image}` on the nodes, built from deployctl's "
            "`docker/cpu.Dockerfile` (`kind load docker-image`, `k3s ctr images import`)."
        )
    if plan.replicas > 1:
        lines.append(
            "A storage class for ReadWriteMany volumes, or `cache.enabled: false`. For several "
            "replicas, `router.enabled: true` keeps prompts with the replica that cached them."
        )
    return lines
