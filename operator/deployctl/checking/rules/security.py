"""Secrets in plain sight, which no finding repeats, and what the containers may do."""

import re
from collections.abc import Iterator

from deployctl.checking.compose import environment
from deployctl.checking.documents import Document, Place
from deployctl.checking.engine import EnvVar
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.pods import Container
from deployctl.checking.values import Path, dig, items, mapping, strings, text
from deployctl.secretive import FLAGS, is_named_so, looks

INLINE = rule("secret-inline")
ARGUMENT = rule("secret-in-args")
MANIFEST = rule("secret-in-manifest")
ROOT = rule("run-as-root")
ESCALATION = rule("privilege-escalation")
CAPABILITIES = rule("capabilities")
SECCOMP = rule("seccomp")
PRIVILEGED = rule("privileged")
HOST = rule("host-namespaces")
TOKEN = rule("service-account-token")
_HARMLESS = re.compile(r"(?i)|none|null|empty|dummy|changeme|false|true|\$.*|<.*>")


@check
def variables(manifests: Manifests) -> Iterator[Finding]:
    """Environment variables that are named like secrets and hold one."""
    known = [
        (text(entry.get("name")), EnvVar(text(entry.get("value")), place))
        for container in manifests.containers
        for place, entry in container.place.mappings("env")
    ]
    for service in manifests.compose_services:
        known += environment(service).items()
    for engine in manifests.engines:
        known += () if engine.in_container else engine.env.items()
    for name, variable in known:
        if is_named_so(name) and not _HARMLESS.fullmatch(variable.value or ""):
            yield INLINE.at(
                variable.place,
                f"the value of {name[:60]} is in the file",
                "take it from a Secret (valueFrom.secretKeyRef), or from a file that Git ignores",
            )


@check
def tokens(manifests: Manifests) -> Iterator[Finding]:
    """Anything anywhere that looks like a token."""
    for document in manifests.documents:
        if document.kind == "Secret":
            continue
        for path, value in strings(document.data):
            if (what := looks(value)) and not _named(document, path, value):
                yield INLINE.at(
                    Place(document, path),
                    f"{what} is in the file",
                    "remove it, use a Secret, and rotate it: this one is compromised",
                )


def _named(document: Document, path: Path, value: str) -> bool:
    """Whether the value is of a variable whose own name tells already that it is a secret."""
    names = []
    if path[-1:] == ("value",):
        names.append(text(dig(document.data, *path[:-1], "name")))
    if "environment" in path:
        names += [value.partition("=")[0], str(path[-1])]
    return any(is_named_so(name) for name in names)


@check
def arguments(manifests: Manifests) -> Iterator[Finding]:
    """Secrets on the engine's command line."""
    for engine in manifests.engines:
        for name in FLAGS:
            flag = engine.command.flags.get(name)
            if flag is None or not flag.values:
                continue
            expanded = flag.values[0].expanded
            instead = {"api-key": "VLLM_API_KEY", "hf-token": "HF_TOKEN"}.get(name, "a file")
            yield ARGUMENT.at(
                flag.place,
                f"--{name} shows in the list of processes",
                f"give it as {instead}, from a Secret, and leave the flag out",
                severity=Severity.warning if expanded else None,
            )


@check
def secrets(manifests: Manifests) -> Iterator[Finding]:
    """Secrets that carry their data."""
    for document in manifests.of_kind("Secret"):
        if text(document.data.get("type")).startswith("kubernetes.io/service-account-token"):
            continue
        for key in ("data", "stringData"):
            held = [k for k, v in mapping(document.data.get(key)).items() if v]
            if held:
                yield MANIFEST.at(
                    document.place(key),
                    f"holds {', '.join(k[:40] for k in held[:5])}",
                    "create it apart from the manifests, or seal it (SealedSecret, ExternalSecret)",
                )
                break


@check
def containers(manifests: Manifests) -> Iterator[Finding]:
    """Security settings of the containers of engine pods, and privileges of any container."""
    for container in manifests.containers:
        place = container.place.child("securityContext", "privileged")
        if place.value is True:
            yield PRIVILEGED.at(
                place,
                f"the container {container.name[:60]} is privileged",
                "remove it; a GPU needs nvidia.com/gpu in the limits and no privilege",
            )
        if container.pod.engines:
            yield from _confinement(container)


def _confinement(container: Container) -> Iterator[Finding]:
    place = container.place.child("securityContext")
    name = container.name[:60] or "the container"
    user = container.setting("runAsUser")
    if user == 0 or (container.setting("runAsNonRoot") is not True and not user):
        yield ROOT.at(
            place.child("runAsNonRoot"),
            f"{name} may run as root",
            "write runAsNonRoot: true, runAsUser: 10001, and give HOME and the caches a volume",
        )
    if container.setting("allowPrivilegeEscalation") is not False:
        yield ESCALATION.at(
            place.child("allowPrivilegeEscalation"),
            f"{name} may gain privileges",
            "write allowPrivilegeEscalation: false",
        )
    dropped, added = (items(place.child("capabilities", key).value) for key in ("drop", "add"))
    if "ALL" not in [str(d).upper() for d in dropped]:
        yield CAPABILITIES.at(
            place.child("capabilities"),
            f"{name} keeps the default capabilities",
            "write capabilities: {drop: [ALL]}",
        )
    elif added:
        yield CAPABILITIES.at(
            place.child("capabilities", "add"),
            f"{name} gets {', '.join(str(a)[:30] for a in added[:5])}",
            "remove it: vLLM needs no capability",
        )
    profile = mapping(container.setting("seccompProfile")).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield SECCOMP.at(
            place.child("seccompProfile"),
            f"{name} has no seccomp profile",
            "write seccompProfile: {type: RuntimeDefault}",
        )


@check
def pods(manifests: Manifests) -> Iterator[Finding]:
    """Host namespaces and tokens of engine pods."""
    for pod in manifests.engine_pods:
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(key) is True:
                memory = "; use an emptyDir with medium: Memory at /dev/shm"
                yield HOST.at(
                    pod.place.child(key),
                    f"the pod shares the host's {key.removeprefix('host').lower()}",
                    f"remove it{memory if key == 'hostIPC' else ''}",
                )
        account = str(pod.spec.get("serviceAccountName") or "default")
        document = manifests.find("ServiceAccount", account, pod.namespace)
        own = pod.spec.get("automountServiceAccountToken")
        inherited = document.data.get("automountServiceAccountToken") if document else None
        if own is not False and not (own is None and inherited is False):
            yield TOKEN.at(
                pod.place.child("automountServiceAccountToken"),
                "a token for the cluster's API is mounted",
                "write automountServiceAccountToken: false",
            )
