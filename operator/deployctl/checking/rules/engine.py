"""The engine: its image and release, its flags against that release, settings known to do harm."""

from collections.abc import Iterator

from deployctl.checking.commandline import GivenFlag
from deployctl.checking.compose import literal
from deployctl.checking.engine import DeclaredEngine, image
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.values import text
from deployctl.engines.vllm import flags
from deployctl.engines.vllm.versions import at_least, key
from deployctl.errors import Reason

PINNED = rule("image-not-pinned")
BY_TAG = rule("image-by-tag")
VERSION = rule("engine-version-unknown")
NEWER = rule("engine-version-newer")
UNKNOWN = rule("flag-unknown")
REMOVED = rule("flag-removed")
VALUE = rule("flag-value")
SLOW = rule("slow-kernel")
UTILIZATION = rule("utilization-high")
BFLOAT16 = rule("awq-bfloat16")
REMOTE = rule("remote-code")
REVISION = rule("model-not-pinned")
_CODES = {"unknown_flag": UNKNOWN, "removed_flag": REMOVED, "wrong_flag_value": VALUE}
_SLOW = ("awq", "gptq")
MOST_UTILIZATION = 0.95


@check
def pinned(manifests: Manifests) -> Iterator[Finding]:
    """Tags of all images."""
    references = [
        (container.place.child("image"), text(container.data.get("image")))
        for container in manifests.containers
    ]
    references += [
        (service.place.child("image"), literal(service.data.get("image")))
        for service in manifests.compose_services
        if "build" not in service.data
    ]
    for place, reference in references:
        parts = image(reference)
        if reference and not parts.pinned and not parts.unknown:
            what = f"the tag {parts.tag} is not fixed" if parts.tag else "no tag means latest"
            yield PINNED.at(
                place,
                f"{reference[:120]}: {what}",
                "name a release, such as vllm/vllm-openai:v0.32.0, or a digest",
            )
        elif reference and not parts.digest and not parts.unknown and not parts.is_built_here:
            yield BY_TAG.at(
                place,
                f"{reference[:120]}: what a tag names can be replaced",
                "add the digest, which docker pull prints: repository:tag@sha256:…",
            )


@check
def versions(manifests: Manifests) -> Iterator[Finding]:
    """Engines whose release is not known, or newer than the newest known."""
    for engine in manifests.engines:
        place = engine.image_place or engine.place
        if engine.version is None:
            yield VERSION.at(
                place,
                "the image does not say which vLLM it has; flags and metrics are not checked",
                "set --engine-version 0.32.0",
            )
        elif key(engine.version) > key(flags.versions()[-1]):
            yield NEWER.at(
                place,
                f"vLLM {engine.version} is newer than {flags.versions()[-1]}, the newest known",
                "unknown flags are not reported; a newer deployctl knows them",
            )


@check
def known(manifests: Manifests) -> Iterator[Finding]:
    """Every flag against the release's own list."""
    for engine in manifests.engines:
        version = engine.version
        if version is None:
            yield from _in_no_release(engine)
            continue
        if not at_least(version, flags.versions()[0]):
            continue
        newer = key(version) > key(flags.versions()[-1])
        for flag in engine.command.flags.values():
            positional = engine.command.model is None  # a switch before it took it for a value
            problem = _problem(flag, version, positional=positional)
            if problem is None or problem.code not in _CODES:
                continue
            if newer and problem.code == "unknown_flag":
                continue
            yield _CODES[problem.code].at(flag.place, problem.message, problem.fix)


def _in_no_release(engine: DeclaredEngine) -> Iterator[Finding]:
    """What can be said without a release: that a flag is in none of them."""
    newest = flags.versions()[-1]
    for flag in engine.command.flags.values():
        problem = flags.check(flag.name.partition(".")[0], None, newest)
        if problem is not None and problem.code == "unknown_flag":
            yield UNKNOWN.at(flag.place, f"no release of vLLM has --{flag.name[:60]}", problem.fix)


def _problem(flag: GivenFlag, version: str, *, positional: bool) -> Reason | None:
    name, _, rest = flag.name.partition(".")
    if rest or any(word.expanded for word in flag.values):  # --compilation-config.mode 3
        return flags.check(name, None, version)
    texts = [word.text for word in flag.values]
    described = flags.flag(name, version)
    if described is not None and described.kind == "bool":
        spoken = bool(texts) and texts[0].lower() in ("true", "false")
        if spoken and not at_least(version, "0.9.0"):
            return None  # these releases took a word
        taken = texts and not (positional and not spoken)
        return flags.check(name, texts[0] if taken else True, version)
    if not texts:
        if described is not None and described.kind in ("int", "float", "choice"):
            return Reason("wrong_flag_value", f"--{name} has no value", "give it one, or remove it")
        return flags.check(name, None, version)
    return flags.check(name, texts if len(texts) > 1 else texts[0], version)


@check
def settings(manifests: Manifests) -> Iterator[Finding]:
    """Settings with which the engine starts and then performs badly, or fails."""
    for engine in manifests.engines:
        command = engine.command
        quantization = command.text("quantization")
        if quantization in _SLOW and not engine.cpu:
            yield SLOW.at(
                command.flags["quantization"].place,
                f"--quantization {quantization} forces the slow kernel",
                "leave it out: vLLM reads the method from the checkpoint and takes the fast kernel",
            )
        if command.text("dtype") in ("bfloat16", "bf16") and quantization == "awq":
            yield BFLOAT16.at(
                command.flags["dtype"].place,
                "the awq kernel refuses bfloat16",
                "leave --dtype and --quantization out",
            )
        share = command.number("gpu-memory-utilization", 0)
        if share is not None and share > MOST_UTILIZATION:
            yield UTILIZATION.at(
                command.flags["gpu-memory-utilization"].place,
                f"--gpu-memory-utilization {share:g} leaves no memory for what profiling missed",
                "write 0.92 or leave it out; deployctl plan gives the safe figure",
            )
        if "trust-remote-code" in command.flags:
            yield REMOTE.at(
                command.flags["trust-remote-code"].place,
                "--trust-remote-code runs the checkpoint's own Python",
                "leave it out where vLLM knows the architecture; else pin --revision and read it",
                severity=Severity.note if command.text("revision") else None,
            )
        yield from _revision(engine)


def _revision(engine: DeclaredEngine) -> Iterator[Finding]:
    word = engine.command.model
    if word is None or engine.model_local or not engine.model or "://" in engine.model:
        return
    if engine.model.count("/") == 1 and "revision" not in engine.command.flags:
        yield REVISION.at(
            word.place,
            f"{engine.model[:80]} is taken from whatever its branch is today",
            "write --revision with a commit",
        )
