"""Hardware profiles on a terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text

from deployctl.cli.console import out

if TYPE_CHECKING:
    from deployctl.hardware import GpuProfile


def print_all(profiles: Iterable["GpuProfile"]) -> None:
    """A row a profile."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("profile", "also"):
        table.add_column(heading, no_wrap=True)
    for heading in ("GiB", "GB/s", "cap.", "TFLOPS"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("links", "p2p"):
        table.add_column(heading, no_wrap=True)
    table.add_column("$/h", justify="right", no_wrap=True)
    for profile in profiles:
        link = profile.interconnect
        table.add_row(
            profile.name,
            ", ".join(profile.aliases) or "-",
            f"{profile.memory_gib:.2f}",
            f"{profile.memory_bandwidth_gb_s:.0f}",
            profile.compute_capability or "-",
            _figure(profile.dense_tflops_bf16),
            f"{link.kind} {link.bandwidth_gb_s:.0f}" if link else "-",
            ("yes" if link.peer_to_peer else "no") if link else "-",
            "-" if profile.price_per_hour_usd is None else f"{profile.price_per_hour_usd:.2f}",
        )
    out.print(table)
    out.print(
        "\nGiB: a card's memory as the driver reports it. GB/s: memory, and links one way.\n"
        "TFLOPS: BF16 without sparsity. $/h: on demand, rough.\n"
        "deployctl profiles NAME gives the source of every figure."
    )


def print_one(profile: "GpuProfile") -> None:
    """Every field with its source."""
    from rich.table import Table

    from deployctl.hardware.profiles import own_folder, shipped

    link = profile.interconnect
    rows = [
        ("memory_gib", f"{profile.memory_gib:.2f} GiB"),
        (
            "memory_total_mib",
            f"{profile.memory_total_mib} MiB" if profile.memory_total_mib else "none",
        ),
        ("memory_bandwidth_gb_s", f"{profile.memory_bandwidth_gb_s:.0f} GB/s"),
        ("compute_capability", profile.compute_capability or "none"),
        ("dense_tflops_bf16", f"{_figure(profile.dense_tflops_bf16)} TFLOPS"),
        (
            "interconnect",
            f"{link.kind}, {link.bandwidth_gb_s:.0f} GB/s one way"
            + (f", PCIe {link.pcie_generation}.0" if link.pcie_generation else "")
            if link
            else "none",
        ),
        ("multiprocessors", str(profile.multiprocessors or "none")),
        ("slices", _slices(profile)),
        ("interconnect.peer_to_peer", ("yes" if link.peer_to_peer else "no") if link else "none"),
        ("max_per_host", str(profile.max_per_host)),
        (
            "price_per_hour_usd",
            "unknown"
            if profile.price_per_hour_usd is None
            else f"{profile.price_per_hour_usd:.2f} US dollars",
        ),
        ("startups", str(profile.startups) if profile.startups else "none"),
        ("node_selector", _labels(profile.node_selector)),
        ("node_selector_gke", _labels(profile.node_selector_gke)),
    ]
    also = f"  (also: {', '.join(profile.aliases)})" if profile.aliases else ""
    out.print(f"{profile.name}: {profile.title}{also}\n")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    skipped = ("none", "- TFLOPS")
    for field, value in rows:
        source = profile.sources.get(field)
        if value in skipped and source is None:
            continue
        table.add_row(field, Text.assemble(value, (f"\n{source}" if source else "", "dim")))
    out.print(table, soft_wrap=False)
    if profile.matches:
        out.print(f"\nnvidia-smi calls it {' or '.join(profile.matches)}.")
    for folder in (shipped(), own_folder()):
        file = folder / f"{profile.name}.yaml"
        if file.exists():
            out.print(f"File: {file}", soft_wrap=True)


def _slices(profile: "GpuProfile") -> str:
    """What MIG can cut the card into."""
    sizes = [f"{name} {part.memory_gib:.2f} GiB" for name, part in profile.slices.items()]
    return ", ".join(sizes) or "none"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items()) or "none"
