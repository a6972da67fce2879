"""python -m benchmarks.cluster [--services 200] [--revisions 3] [--runs 5] [--model DIR]

How long `status`, `history` and `diff` take in a namespace of many services, beside what helm and
kubectl take there for the nearest question, in turn. Prints a table in Markdown: median and range
of seconds of whole commands, and the processor's of it: on a machine that is busy with the cluster
itself, the two are far apart.

The cluster is that of KUBECONFIG; it needs hollow nodes (kwok: label type=kwok, taint
kwok.x-k8s.io/node), on which pods start at once and run nothing. The namespace is made and removed.
Exit code 1 when a command of ours takes 2 s or more in the median.
"""

import argparse
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml
from benchmarks.cluster.filled import FIRST, HOLLOW, fill

from deployctl.spec.settings import Settings

LIMIT_S = 2.0


def main() -> int:
    """Fills a namespace, measures, shows, and removes it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster")
    parser.add_argument("--services", type=int, default=200)
    parser.add_argument("--revisions", type=int, default=3)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint in a folder")
    parser.add_argument("--namespace", default=f"scale-{secrets.token_hex(3)}")
    parser.add_argument("--keep", action="store_true", help="leave the namespace")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state_dir=Path(folder), namespace=given.namespace)
        try:
            begun = time.monotonic()
            fill(settings, given.model.absolute(), given.services, given.revisions)
            took = time.monotonic() - begun
            print(f"{given.services} services of {given.revisions} revisions made in {took:.0f} s")
            return _measure(settings, given.model.absolute(), given.runs)
        finally:
            if not given.keep:
                words = ["delete", "namespace", given.namespace, "--wait=false"]
                subprocess.run(["kubectl", *words], check=False, capture_output=True)


def _measure(settings: Settings, model: Path, runs: int) -> int:
    ours, peers = _commands(settings, model)
    rows: dict[str, list[Took]] = {words: [] for words in (*ours, *peers)}
    for _ in range(runs):  # in turn, so that a busy minute falls on all of them
        for words, command in {**ours, **peers}.items():
            rows[words].append(_took(settings, command))
    print("\n| | median, s | range, s | processor, s |\n|---|---|---|---|")
    slow = False
    for words, took in rows.items():
        seconds = [each.wall_s for each in took]
        middle, own = statistics.median(seconds), statistics.median(each.cpu_s for each in took)
        slow = slow or (words in ours and middle >= LIMIT_S)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"| `{words}` | {middle:.2f} | {spread} | {own:.2f} |")
    return 1 if slow else 0


def _commands(settings: Settings, model: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Ours and the peers', by how they are written in the table."""
    values = settings.state_dir / "values.yaml"
    values.write_text(yaml.safe_dump({**HOLLOW, "model": {"hostPath": str(model)}}))
    deployctl = [sys.executable, "-m", "deployctl"]
    spec = ["--model", str(model), "--gpu", "cpu", "--name", FIRST, "--values", str(values)]
    where = ["--target", "kubernetes"]
    ours = {
        "deployctl status": [*deployctl, "status", *where],
        "deployctl history NAME": [*deployctl, "history", FIRST, *where],
        "deployctl diff": [*deployctl, "diff", *spec, *where],
        "deployctl diff --max-num-seqs 4": [
            *deployctl,
            "diff",
            *spec,
            "--max-num-seqs",
            "4",
            *where,
        ],
    }
    space = ["--namespace", str(settings.namespace)]
    manifest = settings.state_dir / "manifest.yaml"
    got = ["helm", "get", "manifest", FIRST, *space]
    manifest.write_text(subprocess.run(got, check=True, capture_output=True, text=True).stdout)
    server = ["--server-side", "--force-conflicts", "--field-manager", "helm"]
    peers = {
        "helm list": ["helm", "list", "--max", "1000", *space],
        "helm history NAME": ["helm", "history", FIRST, *space],
        "kubectl get deployments": ["kubectl", "get", "deployments", *space],
        "kubectl get deployments,pods": ["kubectl", "get", "deployments,pods", *space],
        "kubectl diff": ["kubectl", "diff", "-f", str(manifest), *server, *space],
    }
    return ours, peers


class Took(NamedTuple):
    """Seconds of one command: by the clock, and of the processor."""

    wall_s: float
    cpu_s: float


def _took(settings: Settings, command: list[str]) -> Took:
    environment = {
        **os.environ,
        "DEPLOYCTL_STATE_DIR": str(settings.state_dir),
        "DEPLOYCTL_NAMESPACE": str(settings.namespace),
    }
    begun, spent = time.monotonic(), _spent()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    took = Took(time.monotonic() - begun, _spent() - spent)
    differs = command[:2] == ["kubectl", "diff"]  # what Helm adds to objects is not in a manifest
    if done.returncode not in ((0, 1) if differs else (0,)):
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return took


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
