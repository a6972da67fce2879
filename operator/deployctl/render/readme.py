"""The page beside what is rendered for people: how to start it, its secrets and what it needs.

Not part of the bundle: a better sentence here must not make anything run anew.
"""

import re
from string import Template
from typing import Any

from deployctl import assets
from deployctl.planning.plan import ServingPlan
from deployctl.render import door, gateway, gatewayproject, yamltext
from deployctl.render.bundle import VALUES_FILE, Bundle
from deployctl.render.compose import SECRETS_FOLDER, UID
from deployctl.render.snippets import curl
from deployctl.spec import ServiceSpec

_IMAGE_PULL_S = 1200  # beside the start-up budget: ten GB over a slow line
_MADE_BY_HAND = ("api_key", "operator_token")  # in a pod's secrets; others come from elsewhere
_NAMESPACE = re.compile(r"^  namespace: \"(.+)\"$", re.MULTILINE)


def compose_readme(plan: ServingPlan, spec: ServiceSpec) -> str:
    """Writes the README.md of a rendered Compose project."""
    keyed = spec.needs_api_key
    key_file = f"{SECRETS_FOLDER}/api_key" if keyed else None
    texts = assets.table("deploy", "compose", "secrets.yaml")
    parts = [texts["key" if keyed else "optional_key"].rstrip("\n"), texts["door"]]
    if not door.has_door(plan.engine.version):
        parts = []
    parts += [] if plan.model_local else [texts["gated"]]
    wanted = gateway.entry(plan, spec, contained=True)
    url = wanted.url if wanted else f"http://127.0.0.1:{spec.port}"
    return _filled(
        ("compose", "project.md"),
        plan,
        _needs_of_compose(plan),
        budget=spec.startup_timeout or plan.startup_budget_s,
        ask=" ".join(curl(f"{url}/v1/models", key_file=key_file)),
        gateway=_gateway() if wanted else "",
        secrets="\n".join(parts or [texts["none"]]).format(folder=SECRETS_FOLDER),
    )


def _gateway() -> str:
    """How the gateway is started by hand."""
    text = assets.path("deploy", "compose", "gateway.md").read_text(encoding="utf-8")
    return Template(text).substitute(
        volume=gatewayproject.VOLUME,
        folder=gatewayproject.FOLDER,
        image=gatewayproject.default_image(),
        uid=UID,
    )


def _filled(template: tuple[str, str], plan: ServingPlan, needs: list[str], **more: object) -> str:
    """A page of deploy/ with what it says of the plan, of what it needs, and `more`."""
    text = assets.path("deploy", *template).read_text(encoding="utf-8")
    return Template(text).substitute(
        service=plan.name,
        version=plan.engine.version,
        served=plan.served_model_name.replace("`", "'"),
        needs="\n".join(f"- {line}" for line in needs),
        **more,
    )


def _needs_of_compose(plan: ServingPlan) -> list[str]:
    cpu = plan.accelerator == "cpu"
    origin = "built from deployctl's `docker/cpu.Dockerfile`" if cpu else "which Compose pulls"
    lines = [
        "Docker Engine with the Compose plugin, 2.20 or newer.",
        f"The image `{plan.engine.image}`, {origin}.",
    ]
    if plan.accelerator == "cuda":
        count = plan.world_size * plan.replicas
        cards = "one NVIDIA card" if count == 1 else f"{count} NVIDIA cards"
        lines.append(f"{cards} ({plan.gpu}), NVIDIA's driver and its container toolkit.")
    if plan.model_local:
        folder = plan.model.replace("`", "'")
        lines.append(
            f"The checkpoint in `{folder}` on the Docker host, readable by uid {UID} and without "
            "links that lead out of the folder."
        )
    else:
        lines.append("Access to the Hub, for the first start; the volume `hub` keeps the model.")
    return lines


def kubernetes_readme(plan: ServingPlan, bundle: Bundle) -> str:
    """Writes the README.md of a bundle of target `helm` or `manifests`."""
    name = "vllm-engine" if plan.name == "vllm" else plan.name
    namespace, ready = "vllm", f"rollout status deployment/{name}"
    if bundle.target == "manifests":
        files = bundle.files  # a Deployment, or the LeaderWorkerSet of a replica over several nodes
        grouped = "engine/leaderworkerset.yaml"
        text = files[grouped if grouped in files else "engine/deployment.yaml"]
        match = _NAMESPACE.search(text)
        namespace = match[1] if match else namespace
        workload = yamltext.read(text)
        secrets = _mounted(workload, bundle.files.get("engine/secret.yaml", ""))
        nodes = workload.get("spec", {}).get("leaderWorkerTemplate", {}).get("size", 1)
        if nodes > 1:
            ready = f"wait --for=condition=Available leaderworkerset/{name}-group"
    else:
        values = yamltext.read(bundle.files[VALUES_FILE])
        secrets = _wanted(values, f"{name}-api-key")
        nodes = values.get("group", {}).get("size", 1)
    return _filled(
        ("kubernetes", f"{bundle.target}.md"),
        plan,
        _needs_of_kubernetes(plan, nodes),
        name=name,
        ready=ready,
        namespace=namespace,
        budget=plan.startup_budget_s,
        wait=plan.startup_budget_s + _IMAGE_PULL_S,
        secrets="\n".join(_command(namespace, *each) for each in secrets.items())
        or "# none to make",
    )


def _wanted(values: dict[str, Any], default: str) -> dict[str, list[str]]:
    """The keys of each Secret that the user is to make, by what the values say."""
    key, token = values.get("apiKey", {}), values.get("operatorToken", {})
    keys = key.get("existingSecret") or default
    wanted: dict[str, list[str]] = {}
    if key.get("enabled", True) and not key.get("value"):
        wanted[keys] = [key.get("key") or "api_key"]
    if not token.get("value") and (token.get("existingSecret") or not key.get("value")):
        name = token.get("existingSecret") or keys
        wanted.setdefault(name, []).append(token.get("key") or "operator_token")
    return wanted


def _mounted(deployment: dict[str, Any], made: str) -> dict[str, list[str]]:
    """The same, by what an engine's pod mounts and no `made` Secret gives it."""
    own = deployment.get("spec", {})
    template = own.get("template") or own.get("leaderWorkerTemplate", {}).get("leaderTemplate", {})
    spec = template.get("spec", {})
    ours = {each["metadata"]["name"] for each in yamltext.read_all(made) if each}
    wanted: dict[str, list[str]] = {}
    for volume in spec.get("volumes", ()):
        for source in volume.get("projected", {}).get("sources", ()):
            secret = source["secret"]
            for item in secret["items"]:
                if item["path"] in _MADE_BY_HAND and secret["name"] not in ours:
                    wanted.setdefault(secret["name"], []).append(item["key"])
    return wanted


def _command(namespace: str, name: str, keys: list[str]) -> str:
    """Makes a Secret with a new secret under each of `keys`."""
    words = [f"kubectl --namespace {namespace} create secret generic {name}"]
    return " \\\n  ".join(
        words + [f'--from-literal={key}="$(openssl rand -hex 32)"' for key in keys]
    )


def _needs_of_kubernetes(plan: ServingPlan, nodes: int) -> list[str]:
    oldest = "1.34" if plan.cards else "1.29"
    lines = [f"Kubernetes {oldest} or newer, with a network that enforces NetworkPolicies."]
    if plan.accelerator == "cuda":
        lines.append(_cards(plan, nodes))
        if nodes > 1:
            lines.append("LeaderWorkerSet, installed: a replica is a group of pods.")
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


def _cards(plan: ServingPlan, nodes: int) -> str:
    count, gpu = plan.world_size, ", ".join(card.gpu for card in plan.alternatives) or plan.gpu
    place = "one node" if nodes == 1 else f"{nodes} nodes"
    cards = "one free card" if count == 1 else f"{count} free cards on {place}"
    whose = "DRA driver" if plan.cards else "device plugin"
    said = f"NVIDIA's {whose}, and for each of {plan.replicas} replicas {cards} ({gpu})."
    if plan.cards:
        return said
    return (
        f"{said} Nodes are found by the labels that NVIDIA's feature discovery or GKE sets. "
        "Where pods see no card, set `scheduling.runtimeClassName: nvidia`."
    )
