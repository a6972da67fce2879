"""Two sides of one service, rendered: what changes, and what that does to what runs. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployctl.checking import effects
from deployctl.checking.documents import Document, documents
from deployctl.checking.effects import Effect, Verdict
from deployctl.checking.flatten import Field, fields, identity
from deployctl.checking.walk import SECRET_NAME, dig
from deployctl.checking.yamltext import parse

# Labels that follow from all the rest, and files that follow from another.
_FOLLOW = ("io.deployctl.digest", "io.deployctl.revision")
_FOLLOWING_FILES = ("run.sh", "README.md", "kustomization.yaml")
_DATA = (".yaml", ".yml", ".json")
_GRAVITY = list(Effect)


@dataclass(frozen=True)
class Change:
    """One field that differs. A value is None where the field is not there."""

    file: str
    where: str  # Deployment/chat: spec.replicas
    old: Any
    new: Any
    effect: Effect
    why: str


def compare(old: Mapping[str, str], new: Mapping[str, str], target: str) -> list[Change]:
    """Compares the files of two bundles of one target; gravest changes first."""
    changes: list[Change] = []
    left, right = _documents(old), _documents(new)
    digests = [_digest(list(side.values())) for side in (left, right)]
    differs = digests[0] != digests[1] if all(digests) else None
    for key in [*right, *(key for key in left if key not in right)]:
        before, after = left.get(key), right.get(key)
        if before is not None and after is not None:
            changes += _fields(before, after, target, digest_differs=differs)
        else:
            changes.append(_whole(before, after))
    changes += _texts(old, new, target)
    if differs and not any(c.effect is Effect.restarts for c in changes):
        name = next((f for f in new if f.endswith(_DATA)), "")
        why = "the label changes, and with it the container; what else differs does not show here"
        where = f"services.engine.labels.{_FOLLOW[0]}"
        changes.append(Change(name, where, digests[0], digests[1], Effect.restarts, why))
    return sorted(changes, key=lambda c: (_GRAVITY.index(c.effect), c.file, c.where))


def worst(changes: list[Change]) -> Effect | None:
    """The gravest effect; None when nothing differs."""
    return min((c.effect for c in changes), key=_GRAVITY.index, default=None)


def _documents(files: Mapping[str, str]) -> dict[tuple[str, ...], Document]:
    found: dict[tuple[str, ...], Document] = {}
    for file, text in files.items():
        name = file.rsplit("/", 1)[-1]
        if not file.endswith(_DATA) or name in _FOLLOWING_FILES or _in_chart(file):
            continue
        parsed, _ = parse(text)
        for document in documents(file, parsed):
            found[identity(document)] = document
    return found


def _in_chart(file: str) -> bool:
    return file.startswith("chart/")


def _digest(found: list[Document]) -> str | None:
    """The digest label of deployctl's own Compose file."""
    for document in found:
        if document.family == "compose":
            value = dig(document.data, "services", "engine", "labels", _FOLLOW[0])
            return value if isinstance(value, str) else None
    return None


def _fields(
    before: Document, after: Document, target: str, *, digest_differs: bool | None
) -> Iterator[Change]:
    old, new = fields(before), fields(after)
    for path in [*new, *(path for path in old if path not in new)]:
        if path[-1] in _FOLLOW if path else False:
            continue
        was, now = old.get(path), new.get(path)
        same = was == now or (was != was and now != now)  # two times NaN
        if same and (path in old) == (path in new):
            continue
        verdict = _verdict(after, path, was, now, target, digest_differs=digest_differs)
        if _secret(after, path):
            was, now = _masked(was), _masked(now)
        yield Change(after.file, _where(after, path), was, now, verdict.effect, verdict.why)


def _secret(document: Document, path: Field) -> bool:
    return document.kind == "Secret" or bool(SECRET_NAME.search(path[-1] if path else ""))


def _masked(value: Any) -> str | None:
    return None if value is None else "(secret)"


def _verdict(
    document: Document,
    path: Field,
    old: Any,
    new: Any,
    target: str,
    *,
    digest_differs: bool | None,
) -> Verdict:
    if not path:
        return effects.NOTHING
    if document.family == "kubernetes":
        return effects.of_object(document, path, old, new)
    if document.family == "compose":
        return effects.of_compose(path, digest_differs=digest_differs)
    if document.family == "command":
        return Verdict(Effect.restarts, "the process is started with another command")
    if target == "helm":
        return effects.of_values(path)
    return effects.NOTHING


def _where(document: Document, path: Field) -> str:
    words = ""
    for part in path:
        if part.startswith("["):
            words += part
        elif part.startswith("--"):
            words += f" {part}"
        else:
            words += f".{part}" if words else part
    if document.family == "kubernetes":
        return f"{document.title}: {words}"
    return words


def _whole(before: Document | None, after: Document | None) -> Change:
    document = after or before
    assert document is not None
    if document.family != "kubernetes":
        effect = Effect.restarts if document.family in ("compose", "command") else Effect.in_place
        return Change(
            document.file, document.title, _there(before), _there(after), effect, "the whole file"
        )
    if after is None:
        why = "no longer rendered: Argo CD and Flux prune it, kubectl apply leaves it"
    else:
        why = "is made"
    return Change(
        document.file, document.title, _there(before), _there(after), Effect.in_place, why
    )


def _there(document: Document | None) -> str | None:
    return None if document is None else "present"


def _texts(old: Mapping[str, str], new: Mapping[str, str], target: str) -> Iterator[Change]:
    """Files that are no data: told as changed or not."""
    for file in sorted({*old, *new}):
        if (file.endswith(_DATA) and not _in_chart(file)) or old.get(file) == new.get(file):
            continue
        if file.rsplit("/", 1)[-1] in _FOLLOWING_FILES:
            continue
        old_there, new_there = (None if file not in side else "present" for side in (old, new))
        if target == "helm" and _in_chart(file):
            verdict = Verdict(Effect.in_place, "the chart itself; its objects tell what follows")
        else:
            verdict = effects.NOTHING
        yield Change(file, "", old_there, new_there, verdict.effect, verdict.why)
