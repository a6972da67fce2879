"""What changed for users between two vLLM releases, from deploy/engines/vllm-*, as markdown."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import vllm_behaviour
import vllm_tables
import yaml
from vllm_tables import ENGINES

# Two names this alike, of which one came as the other went, are a renaming.
_ALIKE = 0.85


class Releases:
    """All that is known of the releases."""

    def __init__(self, folder: Path = ENGINES) -> None:
        told = [table for table in vllm_tables.TABLES if table.name != "help"]
        self.tables = {table.name: vllm_tables.load(table, folder) for table in told}
        self.behaviour = vllm_behaviour.load(folder)
        door = yaml.safe_load((folder.parent / "door" / "routes.yaml").read_text(encoding="utf-8"))
        asked = [*door["user"].values(), door["operator"], door["probe"]]
        self.door = {route for routes in asked for route in routes}
        said = yaml.safe_load((folder / "vllm-releases.yaml").read_text(encoding="utf-8"))
        self.proven: list[str] = said["proven"]
        self.unproven: Mapping[str, str] = said["unproven"]
        self.notes: Mapping[str, list[str]] = said["notes"]

    @property
    def versions(self) -> list[str]:
        """Every release, oldest first."""
        versions: list[str] = self.tables["flags"]["versions"]
        return versions

    def before(self, version: str) -> str | None:
        """The release before, or None for the oldest."""
        at = self.versions.index(version)
        return self.versions[at - 1] if at else None

    def changes(self, name: str, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a table said of the release before and says of this one, where they differ."""
        before = self.before(version)
        old = vllm_tables.at(self.tables[name], name, before) if before else {}
        new = vllm_tables.at(self.tables[name], name, version)
        keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        return {k: old[k] for k in keys if k in old}, {k: new[k] for k in keys if k in new}

    def standing(self, version: str) -> str:
        """Whether the tests run it."""
        if version in self.proven:
            return "proven"
        why = self.unproven.get(version)
        return f"unproven: {why}" if why else "unproven"


def report(releases: Releases, version: str) -> str:
    """The changes of one release, with a heading; every part says so where nothing changed."""
    before = releases.before(version)
    lines = [f"## vLLM {version}" + (f", since {before}" if before else ""), ""]
    standing = releases.standing(version)
    lines += [standing[0].upper() + standing[1:] + ".", ""]
    if before:
        for title, part in (
            ("Flags", flags(releases, version)),
            ("Metrics", _metrics(releases, version)),
            ("Routes", _routes(releases, version)),
            ("Tool-call parsers", _plain(releases, "tool", version, _name)),
            ("Reasoning parsers", _plain(releases, "reasoning", version, _name)),
            ("Architectures that are served no more", _dropped(releases, version)),
            ("Behaviour that planning follows", behaviour(releases, version)),
            ("Beside", iter(releases.notes.get(version, ()))),
        ):
            said = list(part)
            if said or title != "Beside":
                lines += [f"### {title}", "", *(f"- {s}" for s in said or ["no change"]), ""]
    return "\n".join(lines)


def flags(releases: Releases, version: str) -> Iterator[str]:
    """Flags that came, went, were renamed, or take or default to something else."""
    old, new = releases.changes("flags", version)
    gone, came = [f for f in old if f not in new], [f for f in new if f not in old]
    renamed = dict(_renamed(gone, came, new))
    for flag, name in renamed.items():
        yield f"renamed: `--{flag}` is `--{name}`"
    taken = set(renamed.values())
    yield from (f"new: `--{f}`{_kind(new[f])}" for f in came if f not in taken)
    yield from (f"gone: `--{f}`" for f in gone if f not in renamed)
    for flag in (f for f in new if f in old):
        differs = "; ".join(_differs(old[flag], new[flag]))
        yield f"changed: `--{flag}`: {differs}"


def _dropped(releases: Releases, version: str) -> Iterator[str]:
    """Architectures that went with this release, and the last one that had them."""
    _, new = releases.changes("dropped", version)
    yield from (f"`{name}`, last in {last}" for name, last in new.items())


def _renamed(gone: list[str], came: list[str], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for flag in gone:
        kept = [name for name in new if flag in new[name].get("a", ())]
        alike = kept or difflib.get_close_matches(flag, came, n=1, cutoff=_ALIKE)
        if alike:
            yield flag, alike[0]


def _kind(entry: Mapping[str, Any]) -> str:
    kinds = {"bool": "a switch", "json": "JSON", "str": "text", "choice": "a choice"}
    kinds |= {"int": "a whole number", "float": "a number", "list": "a list"}
    default = _default(entry)
    return f", {kinds[entry['t']]}" + (f", default {default}" if default != "unset" else "")


def _default(entry: Mapping[str, Any]) -> str:
    value = entry.get("d")
    if value is None:
        return "unset"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"`{value}`"


def _differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if old.get("d") != new.get("d"):
        yield f"default {_default(new)}, was {_default(old)}"
    if old["t"] != new["t"]:
        yield f"takes {_kind({'t': new['t']})[2:]}, was {_kind({'t': old['t']})[2:]}"
    else:
        more = [c for c in new.get("c", ()) if c not in old.get("c", ())]
        less = [c for c in old.get("c", ()) if c not in new.get("c", ())]
        if more:
            yield "also takes " + ", ".join(f"`{c}`" for c in more)
        if less:
            yield "takes no more " + ", ".join(f"`{c}`" for c in less)
    if old.get("on") != new.get("on"):
        yield "can only be turned on" if new.get("on") else "has a form with `--no-`"
    if old.get("a") != new.get("a"):
        yield "other names: " + (", ".join(f"`--{a}`" for a in new.get("a", ())) or "none")


def _name(name: str, entry: Any) -> str:
    return f"`{name}`"


def _metrics(releases: Releases, version: str) -> Iterator[str]:
    old, new = releases.changes("metrics", version)
    yield from (f"new: `{name}` ({_metric(new[name])})" for name in new if name not in old)
    yield from (f"gone: `{name}` ({_metric(old[name])})" for name in old if name not in new)
    for name in (name for name in new if name in old):
        now, was = _metric(new[name]), _metric(old[name])
        if now != was:
            yield f"changed: `{name}` ({now}), was ({was})"
        elif old[name].get("b") != new[name].get("b"):
            yield f"changed: `{name}` has other buckets"


def _metric(entry: Mapping[str, Any]) -> str:
    """`counter by finished_reason, hidden`: the labels that all have are left out."""
    own = [label for label in entry.get("l", ()) if label not in ("model_name", "engine")]
    less = {"hidden": ", hidden", "v0": ", of the V0 engine"}.get(entry.get("if", ""), "")
    less = less or ", deprecated" * bool(entry.get("old"))
    return entry["t"] + (f" by {', '.join(own)}" if own else "") + less


def _plain(releases: Releases, name: str, version: str, said: Any) -> Iterator[str]:
    old, new = releases.changes(name, version)
    yield from (f"new: {said(key, new[key])}" for key in new if key not in old)
    yield from (f"gone: {said(key, old[key])}" for key in old if key not in new)
    for key in (key for key in new if key in old):
        was = said(key, old[key]).removeprefix(f"`{key}` ")
        yield f"changed: {said(key, new[key])}, was {was}"


def _routes(releases: Releases, version: str) -> Iterator[str]:
    def said(name: str, entry: Any) -> str:
        return f"`{name}`" + ("" if name in releases.door else ", closed by the door")

    return _plain(releases, "routes", version, said)


def behaviour(releases: Releases, version: str) -> Iterator[str]:
    """Keys of the behaviour file that have another value from this release on."""
    for key, entries in releases.behaviour.items():
        for index, entry in enumerate(entries if key != vllm_behaviour.ABOUT else ()):
            if entry[0] == version and index:
                was = _value(entries[index - 1][1])
                yield f"`{key}`: {_value(entry[1])}, was {was}: {entry[2]}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "other numbers"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def summary(releases: Releases, version: str) -> str:
    """A row of the table of releases: version, standing, and how much changed."""
    cells = [f"`{version}`", releases.standing(version)]
    first = releases.before(version) is None
    for name in releases.tables:
        old, new = releases.changes(name, version)
        came, gone = len(new.keys() - old.keys()), len(old.keys() - new.keys())
        counts = [f"+{came}" * bool(came), f"−{gone}" * bool(gone)]
        other = len(new.keys() & old.keys())
        counts.append(f"{other} changed" * bool(other))
        cells.append("–" if first else " ".join(filter(None, counts)))
    cells.append("–" if first else ", ".join(k.split(":")[0] for k in behaviour(releases, version)))
    return "| " + " | ".join(cells) + " |"


def page(releases: Releases, detailed: int = 6) -> str:
    """The reference page: every release in a table, and the newest ones in detail."""
    newest = releases.versions[::-1]
    rows = [summary(releases, version) for version in newest]
    return "\n".join(
        [
            "# Releases of vLLM\n",
            "*Proven* is a release that the tests run end to end, on a CPU. Of an *unproven*\n"
            "one, everything is read from its source. The counts are against the release before.\n"
            "[How a release is added](../guides/engines.md).\n",
            f"| release | | {' | '.join(releases.tables)} | behaviour |",
            "|---|---|" + "---|" * len(releases.tables) + "---|",
            *rows,
            "",
            *(report(releases, version) for version in newest[:detailed]),
        ]
    )
