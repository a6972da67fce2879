"""NVIDIA's driver: reads what `nvidia-smi` prints, and says which driver a CUDA needs. Pure: text
in, dataclasses out; nothing is started here. What is known of it is in deploy/hardware/nvidia.yaml.

Columns are found by their header, so an older driver that lacks one, or a recorded output with
others, is read all the same. A value the driver does not give (`[N/A]`, `[Not Supported]`,
`[Unknown Error]`, `[GPU is lost]` …) is None.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployctl import assets

CARD_FIELDS = (
    "index",
    "name",
    "uuid",
    "driver_version",
    "memory.total",
    "memory.reserved",
    "memory.used",
    "memory.free",
    "compute_cap",
    "mig.mode.current",
    "persistence_mode",
)
# What a profile of a card's own says besides (deployctl profiles add).
PROFILE_FIELDS = (*CARD_FIELDS, "clocks.max.memory", "pcie.link.gen.max", "pcie.link.width.max")
# Drivers before 510 have no compute_cap and no memory.reserved, and then refuse the whole query.
OLD_CARD_FIELDS = tuple(f for f in CARD_FIELDS if f not in ("compute_cap", "memory.reserved"))
APP_FIELDS = ("gpu_uuid", "pid", "process_name", "used_memory")

Failure = Literal[
    "missing", "no_driver", "no_devices", "mismatch", "bad_field", "permission", "hang", "other"
]

_KNOWN = assets.table("deploy", "hardware", "nvidia.yaml")
FAILURES: dict[Failure, dict[str, str]] = _KNOWN["failures"]  # what each says, and its fix
_LOST = re.compile(r"device handle for GPU\s?([0-9a-fA-F:.]+): (.+?)\.?$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """A MIG slice of a card."""

    memory_mib: int | None = None
    multiprocessors: int | None = None


@dataclass(frozen=True)
class Card:
    """One GPU. Memory in MiB; None where the driver does not report it."""

    name: str | None = None
    index: int | None = None
    uuid: str | None = None
    driver: str | None = None
    memory_total_mib: int | None = None
    memory_reserved_mib: int | None = None
    memory_used_mib: int | None = None
    memory_free_mib: int | None = None
    compute_capability: str | None = None
    mig: bool | None = None  # None: the card cannot be partitioned
    persistence: bool | None = None
    architecture: str | None = None
    memory_clock_mhz: int | None = None  # the highest
    pcie_generation: int | None = None
    pcie_lanes: int | None = None
    parts: tuple[Part, ...] = ()

    @property
    def usable_mib(self) -> int | None:
        """What an engine sees as the card's total: all memory but the driver's own share.

        used + free is that figure (81080 MiB on an H100 where torch reports 79.18 GiB); without
        both, total − reserved is the same to a few MiB.
        """
        if self.memory_used_mib is not None and self.memory_free_mib is not None:
            return self.memory_used_mib + self.memory_free_mib
        if self.memory_total_mib is not None and self.memory_reserved_mib is not None:
            return self.memory_total_mib - self.memory_reserved_mib
        return None


@dataclass(frozen=True)
class App:
    """A process that holds memory of a card."""

    pid: int
    name: str | None = None  # None: it runs in another container, or is gone
    gpu_uuid: str | None = None
    memory_mib: int | None = None


def read_cards(text: str, fields: Sequence[str] = ()) -> tuple[Card, ...]:
    """Reads `--query-gpu=… --format=csv`. `fields` names the columns of headerless output.

    Lines that are no row of the table (a lost card's complaint, a warning) are left out.
    """
    cards = []
    for row in _rows(text, fields):
        card = Card(
            name=row.get("name"),
            index=_integer(row.get("index")),
            uuid=row.get("uuid"),
            driver=row.get("driver_version"),
            memory_total_mib=_integer(row.get("memory.total")),
            memory_reserved_mib=_integer(row.get("memory.reserved")),
            memory_used_mib=_integer(row.get("memory.used")),
            memory_free_mib=_integer(row.get("memory.free")),
            compute_capability=_capability(row.get("compute_cap")),
            mig=_switch(row.get("mig.mode.current")),
            persistence=_switch(row.get("persistence_mode")),
            memory_clock_mhz=_integer(row.get("clocks.max.memory")),
            pcie_generation=_integer(row.get("pcie.link.gen.max")),
            pcie_lanes=_integer(row.get("pcie.link.width.max")),
        )
        if card != Card():
            cards.append(card)
    return tuple(cards)


def read_apps(text: str, fields: Sequence[str] = ()) -> tuple[App, ...]:
    """Reads `--query-compute-apps=… --format=csv`."""
    apps = []
    for row in _rows(text, fields, wide="process_name"):
        pid = _integer(row.get("pid"))
        if pid is None:
            continue
        memory = row.get("used_memory") or row.get("used_gpu_memory")
        apps.append(App(pid, row.get("process_name"), row.get("gpu_uuid"), _integer(memory)))
    return tuple(apps)


def read_matrix(text: str) -> dict[tuple[int, int], str]:
    """Reads `topo -m` or `topo -p2p r`: from a pair of GPU numbers to `NV18`, `SYS`, `OK`, `CNS` …

    A pair with itself and what is no GPU (network cards, affinities) are left out.
    """
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    header = next((line for line in lines if re.match(r"\s*GPU\d+\s", line + " ")), "")
    columns = [int(word[3:]) for word in header.split() if re.fullmatch(r"GPU\d{1,4}", word)]
    matrix = {}
    for line in lines[lines.index(header) + 1 :] if header else ():
        words = line.split()
        if not words or not re.fullmatch(r"GPU\d{1,4}", words[0]):
            continue
        row = int(words[0][3:])
        for column, cell in zip(columns, words[1:], strict=False):
            if column != row:
                matrix[row, column] = cell
    return matrix


def read_lost(text: str) -> tuple[str, ...]:
    """Names the cards that the driver can no longer reach, by bus address."""
    return tuple(f"{match[1]} ({match[2]})" for match in _LOST.finditer(text))


def read_failure(text: str, code: int) -> Failure | None:
    """Says why `nvidia-smi` gave no answer, from its output and exit status; None if it did."""
    lowered = text.lower()
    for failure, known in FAILURES.items():
        if "prints" in known and known["prints"] in lowered:
            return failure
    return "other" if code else None


def image_cuda(vllm_version: str) -> str:
    """Returns the CUDA version of the image of a vLLM release, e.g. `13.0` for `0.32.0`."""
    return str(_since(_KNOWN["images"], vllm_version))


def image_takes(capability: float, vllm_version: str) -> bool:
    """Whether the image of a vLLM release has kernels for a compute capability."""
    lowest, highest = _since(_KNOWN["capabilities"], vllm_version)
    return bool(lowest <= capability <= highest)


def releases_taking(capability: float, vllm_version: str) -> str | None:
    """Names the nearest release whose image has them, as a fix; None where none has."""
    firsts: list[str] = [*_KNOWN["capabilities"]]  # newest first
    release = numbers(vllm_version)
    own = next(n for n, first in enumerate(firsts) if release >= numbers(first))
    taking = [n for n, first in enumerate(firsts) if image_takes(capability, first)]
    newer, older = [n for n in taking if n < own], [n for n in taking if n > own]
    if newer:
        first = firsts[newer[-1]]
        return f"use --engine-version {first}{'.0' * (2 - first.count('.'))} or newer"
    return f"use an --engine-version before {firsts[older[0] - 1]}" if older else None


def _since(periods: dict[str, Any], vllm_version: str) -> Any:
    """What holds in a release, of entries by first release, newest first."""
    release = numbers(vllm_version)
    return next(value for first, value in periods.items() if release >= numbers(first))


def oldest_branch(cuda: str) -> int:
    """Returns the oldest driver branch on which a CUDA version runs, e.g. 580 for `13.0`."""
    branches: dict[int, int] = _KNOWN["branches"]
    return branches.get(numbers(cuda)[0], max(branches.values()))


def toolkit_driver(cuda: str) -> str:
    """Returns the driver a CUDA version was released with: from there on nothing is limited."""
    return str(_KNOWN["drivers"].get(cuda, f"{oldest_branch(cuda)}.0"))


def numbers(version: str) -> tuple[int, ...]:
    """Reads the numbers of a version, for comparing: `580.126.09` is (580, 126, 9)."""
    match = re.match(r"\d{1,9}(\.\d{1,9})*", version.strip().lstrip("v"))
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


def _rows(text: str, fields: Sequence[str], wide: str = "name") -> list[dict[str, str | None]]:
    """Splits a CSV table. Only column `wide` may itself hold ", "."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    columns = [re.sub(r" \[.*\]$", "", name) for name in fields]
    if not columns and lines:
        columns = [re.sub(r" \[.*\]$", "", name) for name in lines.pop(0).split(", ")]
    rows = []
    for line in lines:
        values = line.split(", ")
        extra = len(values) - len(columns)
        if extra > 0 and wide in columns:
            at = columns.index(wide)
            values[at : at + extra + 1] = [", ".join(values[at : at + extra + 1])]
        if len(values) == len(columns):
            rows.append({c: _value(v) for c, v in zip(columns, values, strict=True)})
    return rows


def _value(text: str) -> str | None:
    stripped = text.strip()
    if not stripped or stripped.startswith("[") or stripped in ("N/A", "Not Supported"):
        return None
    return stripped


def _integer(text: str | None) -> int | None:
    match = re.fullmatch(r"(\d{1,15})(\.\d+)?( MiB| MHz)?", text or "")
    return int(match[1]) if match else None


def _capability(text: str | None) -> str | None:
    return text if text and re.fullmatch(r"\d{1,2}\.\d", text) else None


def _switch(text: str | None) -> bool | None:
    return {"enabled": True, "disabled": False}.get((text or "").lower())
