"""How long the command line takes to start, held to a limit and shown beside its peers.

    ./test run python benchmarks/startup/measure.py [--output json] [--slack 1.5] [--no-peers]

Each command runs once to warm the disk cache and then `RUNS` times as a whole process, start to
exit; a render goes to the folder of the run before, as people do it. The figure held to the limit
is the fastest run: other work on the machine can only add to it. CPU seconds, user and system,
stand beside it. A peer that is not installed is left out.
Exit 1 when a limit of ours is missed by more than the factor `--slack`, for machines that are
shared. On a slower machine the limits are longer by as much as a bare Python takes longer there.
`--no-peers` leaves the peers out, one of which takes ten seconds a run: for a check.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from deployctl import assets

TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "bin"  # what .ci/helm fetched
RUNS = 9
# What a bare Python with a good part of its library takes where the limits were set, in seconds.
YARDSTICK = "import asyncio, email.message, http.client, json, logging, unittest.mock"
YARDSTICK_S = 0.085
PEER_RUNS = 3  # the slow ones take ten seconds each


class Case(NamedTuple):
    """A command, and the most seconds it may take; a peer has no limit."""

    name: str
    argv: list[str]
    limit_s: float | None = None


def ours(model: Path) -> list[Case]:
    """Ours, each with its limit."""
    binaries = Path(sys.executable).parent
    deployctl = str(binaries / "deployctl")
    found = [
        Case("deployctl --help", [deployctl, "--help"], 0.3),
        Case("deployctl up --help", [deployctl, "up", "--help"], 0.5),
        Case(
            "deployctl plan FOLDER", [deployctl, "plan", "--model", str(model), "--gpu", "l4"], 0.5
        ),
    ]
    render = [deployctl, "render", "--model", str(model), "--gpu", "l4", "--target", "all"]
    render += ["--values", str(model / "values.yaml"), "--out", str(model / "rendered")]
    if shutil.which("helm"):  # .ci/helm fetches it
        found.append(Case("deployctl render --target all", render, 0.5))
    manifests = Path(__file__).resolve().parents[2] / "tests/golden/helm/l4-awq-1.yaml"
    found.append(Case("deployctl check FILE", [deployctl, "check", str(manifests)], 0.5))
    return found


def peers() -> list[Case]:
    """The peers that are installed here."""
    binaries = Path(sys.executable).parent
    chart = str(assets.path("charts", "vllm"))
    found = [
        Case("helm template", ["helm", "template", "service", chart]),
        Case("docker compose --help", ["docker", "compose", "--help"]),
        Case("locust --help", [str(binaries / "locust"), "--help"]),
        # What `vllm serve --help` runs; the CPU build's own command lacks its metadata.
        Case("vllm api_server --help", [sys.executable, "-m", API_SERVER, "--help"]),
    ]
    return [peer for peer in found if shutil.which(peer.argv[0]) and usable(peer)]


API_SERVER = "vllm.entrypoints.openai.api_server"


def usable(case: Case) -> bool:
    """Whether a peer works here at all; also warms the disk cache for it."""
    return subprocess.run(case.argv, capture_output=True, timeout=300).returncode == 0


def write_model(folder: Path) -> None:
    """A checkpoint's documents as the plan reads them: a small AWQ Llama, its weights left out."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "torch_dtype": "float16",
        "quantization_config": {
            "quant_method": "awq",
            "bits": 4,
            "group_size": 128,
            "zero_point": True,
            "version": "gemm",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    # A folder of this machine is on no node of a cluster: the chart wants a volume.
    (folder / "values.yaml").write_text("model: {claim: models}\n")
    # One sparse tensor of the stored size: the plan reads headers, never weights.
    stored = 5_700_000_000 // 4
    header = json.dumps(
        {
            "model.embed_tokens.weight": {
                "dtype": "I32",
                "shape": [stored],
                "data_offsets": [0, 4 * stored],
            }
        }
    ).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4 * stored)


def measure(case: Case, runs: int) -> tuple[float, float]:
    """The fastest run's wall seconds, and the least CPU seconds of a run."""
    walls, cpus = [], []
    for _ in range(runs):
        before = os.times()
        began = time.perf_counter()
        done = subprocess.run(case.argv, capture_output=True, timeout=300)
        walls.append(time.perf_counter() - began)
        after = os.times()
        cpus.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
        if done.returncode:
            sys.exit(f"{case.name} failed:\n{done.stderr.decode(errors='replace')}")
    return min(walls), min(cpus)


def slowness() -> float:
    """How many times as long this machine takes as the one where the limits were set; 1 if less."""
    bare = Case("python", [sys.executable, "-I", "-c", YARDSTICK])
    usable(bare)
    return max(1.0, measure(bare, RUNS)[0] / YARDSTICK_S)


def main() -> int:
    """Measures, prints a table or a document, and says whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", choices=["text", "json"], default="text")
    parser.add_argument("--slack", type=float, default=1.0)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    as_json = options.output == "json"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the first run leaves it, as on any machine
    os.environ["PATH"] = str(TOOLS) + os.pathsep + os.environ["PATH"]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_model(Path(name))
        for case in [*ours(Path(name)), *([] if options.no_peers else peers())]:
            if case.limit_s:
                usable(case)
            seconds, cpu = measure(case, RUNS if case.limit_s else PEER_RUNS)
            row = {"command": case.name, "seconds": seconds, "cpu_seconds": cpu}
            rows.append({**row, "limit_s": case.limit_s})
    slower = slowness()
    first = rows[0]["seconds"]
    for row in rows:
        row["times_ours"] = row["seconds"] / first
    slack = options.slack * slower
    missed = [r for r in rows if r["limit_s"] and r["seconds"] > r["limit_s"] * slack]
    if as_json:
        about = {"runs": RUNS, "cpus": os.cpu_count(), "slowness": round(slower, 2)}
        print(json.dumps({"version": 1, **about, "rows": rows}))
    else:
        print("| command | s | CPU s | limit s | × ours |\n|---|---|---|---|---|")
        for row in rows:
            figures = f"{row['seconds']:.2f} | {row['cpu_seconds']:.2f}"
            limit = row["limit_s"] or "–"
            print(f"| `{row['command']}` | {figures} | {limit} | {row['times_ours']:.1f} |")
        print(f"\nThis machine takes {slower:.2f} times as long as the one where limits were set.")
    for row in missed:
        print(f"{row['command']} is over its limit", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
