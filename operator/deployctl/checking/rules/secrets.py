"""Secrets in plain sight. What they are is never repeated in a finding."""

import re
from collections.abc import Iterator

from deployctl.checking.compose import environment
from deployctl.checking.documents import Place
from deployctl.checking.engine import Variable
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.scene import Scene
from deployctl.checking.walk import SECRET_NAME, dig, mapping, mappings, strings, text

GROUP = "Secrets"
INLINE = rule(
    "secret-inline",
    Severity.error,
    "A secret in a manifest is in Git, in every copy, and in the output of kubectl and docker.",
    group=GROUP,
)
ARGUMENT = rule(
    "secret-in-args",
    Severity.error,
    "An argument shows in the list of processes, in docker inspect and in every log of it.",
    group=GROUP,
)
MANIFEST = rule(
    "secret-in-manifest",
    Severity.warning,
    "A Secret with its data beside the manifests is a secret in Git: base64 hides nothing.",
    group=GROUP,
)
_TOKENS = (
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{20,}")),
    ("an API key", re.compile(r"\bsk-[A-Za-z0-9_-]{20,}")),
    ("a GitHub token", re.compile(r"\b(ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{20,}")),
    ("an AWS key", re.compile(r"\bAKIA[0-9A-Z]{16}\b")),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
)
_HARMLESS = re.compile(r"(?i)^(|none|null|empty|dummy|changeme|false|true|\$.*|<.*>)$")
_SECRET_FLAGS = ("api-key", "hf-token", "ssl-keyfile-password")


@check
def variables(scene: Scene) -> Iterator[Finding]:
    """Environment variables that are named like secrets and hold one."""
    found: list[tuple[str, Variable]] = []
    for pod in scene.pods:
        for container in pod.containers:
            for index, entry in mappings(container.data.get("env")):
                place = container.place.child("env", index)
                found.append((text(entry.get("name")), Variable(text(entry.get("value")), place)))
    for project in scene.projects:
        for service in project.services:
            found += environment(service).items()
    for document in scene.documents:
        if document.family == "command":
            for name, value in mapping(document.data.get("environment")).items():
                place = document.place("environment", name)
                found.append((name, Variable(text(value), place)))
    for name, variable in found:
        if SECRET_NAME.search(name) and not _HARMLESS.match(variable.value or ""):
            yield INLINE.at(
                variable.place,
                f"the value of {name[:60]} stands in the file",
                "take it from a Secret (valueFrom.secretKeyRef), or from a file that Git ignores",
            )


@check
def tokens(scene: Scene) -> Iterator[Finding]:
    """Anything anywhere that looks like a token."""
    for document in scene.documents:
        if document.kind == "Secret":
            continue
        for path, value in strings(document.data):
            named = isinstance(path[-1], str) and path[-1] == "value" if path else False
            for what, pattern in _TOKENS:
                if pattern.search(value[:20_000]):
                    place = Place(document, path)
                    if named and SECRET_NAME.search(text(dig(document.data, *path[:-1], "name"))):
                        continue  # said already, by the variable's name
                    if "environment" in path and SECRET_NAME.search(value.partition("=")[0]):
                        continue
                    if "environment" in path and SECRET_NAME.search(str(path[-1])):
                        continue
                    yield INLINE.at(
                        place,
                        f"{what} stands in the file",
                        "take it out, put it into a Secret, and make a new one: this one is known",
                    )


@check
def arguments(scene: Scene) -> Iterator[Finding]:
    """Secrets on the engine's command line."""
    for engine in scene.engines:
        for name in _SECRET_FLAGS:
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
def manifests(scene: Scene) -> Iterator[Finding]:
    """Secrets that carry their data."""
    for document in scene.of_kind("Secret"):
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
