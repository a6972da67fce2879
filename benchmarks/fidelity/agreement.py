"""python -m benchmarks.fidelity.agreement MODEL_DIR [--rounds N] [--users N] …

Ours and `vllm bench serve` in turn on one real vLLM, which deployctl starts: the same lengths,
the same concurrency, the same server. The answer is a table: each measure's mean over the
rounds, how it varies, and whether the two differ by more than that. `vllm bench serve` gives
raw values, so it is shown as it reports and also by our definitions: the role chunk is no
token, so it begins neither the ITL nor ends the TTFT.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from zlib import crc32

from benchmarks.fidelity.clients import HERE
from benchmarks.fidelity.truth import percentile

Figures = dict[str, float]
# Student's t at 95% for two groups of n with n - 1 degrees of freedom each.
_T = {2: 4.30, 3: 2.78, 4: 2.45, 5: 2.31, 6: 2.23, 7: 2.18, 8: 2.14, 9: 2.12, 10: 2.10}
MEASURES = ("ttft_mean_ms", "ttft_p50_ms", "itl_mean_ms", "itl_p50_ms", "tpot_mean_ms", "tokens")


def figures(ttfts: Sequence[float], gaps: Sequence[Sequence[float]], tokens: int) -> Figures:
    """What is compared, from raw values in seconds."""
    pooled = [gap for request in gaps for gap in request]
    per_token = [sum(request) / len(request) for request in gaps if request]
    return {
        "ttft_mean_ms": 1000 * fmean(ttfts),
        "ttft_p50_ms": 1000 * percentile(ttfts, 0.5),
        "itl_mean_ms": 1000 * fmean(pooled),
        "itl_p50_ms": 1000 * percentile(pooled, 0.5),
        "tpot_mean_ms": 1000 * fmean(per_token),
        "tokens": float(tokens),
    }


def of_ours(folder: Path) -> Figures:
    """From our raw samples."""
    lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    good = [row for row in map(json.loads, lines) if row["outcome"] == "ok"]
    tokens = sum(row["output_tokens"] for row in good)
    return figures([r["ttft_s"] for r in good], [r["chunk_gaps_s"] for r in good], tokens)


def of_vllm(path: Path, *, by_text: bool) -> Figures:
    """From its raw values; `by_text` takes the role chunk out, which is its first of all."""
    said = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        (ttft, gaps)
        for ttft, gaps, error in zip(said["ttfts"], said["itls"], said["errors"], strict=True)
        if not error and gaps
    ]
    if by_text:
        rows = [(ttft + gaps[0], gaps[1:]) for ttft, gaps in rows]
    return figures([t for t, _ in rows], [g for _, g in rows], said["total_output_tokens"])


def compare(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, bool]:
    """Difference of the means, what noise allows (95%), and whether it is within that.

    Two clients whose values never vary agree only if they are the same.
    """
    difference = fmean(ours) - fmean(theirs)
    n = min(len(ours), len(theirs))
    noise = _T.get(n, 2.0) * sqrt(stdev(ours) ** 2 / len(ours) + stdev(theirs) ** 2 / len(theirs))
    return difference, noise, abs(difference) <= noise


def table(rounds: dict[str, list[Figures]]) -> str:
    """In markdown: ours, and what theirs differs by."""
    lines = [
        "| measure | ours | vllm bench serve | difference | noise | |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in (("vllm", "as reported"), ("vllm_by_text", "by our definitions")):
        lines.append(f"| **{title}** | | | | | |")
        for measure in MEASURES:
            ours = [one[measure] for one in rounds["ours"]]
            theirs = [one[measure] for one in rounds[name]]
            difference, noise, agree = compare(ours, theirs)
            cells = [
                measure, f"{fmean(ours):.2f}", f"{fmean(theirs):.2f}", f"{difference:+.2f}",
                f"±{noise:.2f}", "agree" if agree else "differ",
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Starts the server, measures, stops it; 4 where something did not start."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity.agreement")
    add = parser.add_argument
    add("model", type=Path, help="folder of a checkpoint that runs on the CPU")
    add("--rounds", type=int, default=3)
    add("--users", type=int, default=2)
    add("--requests", type=int, default=16)
    add("--input-tokens", type=int, default=64)
    add("--output-tokens", type=int, default=32)
    add("--out", type=Path, default=Path("results/agreement"))
    add("--port", type=int, default=8123)
    add("--peer", default=sys.executable, metavar="PYTHON", help="one that has vLLM")
    given = parser.parse_args()
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    state = {**os.environ, "DEPLOYCTL_STATE_DIR": str(out / "state"), "HF_HUB_OFFLINE": "1"}
    deployctl = [sys.executable, "-m", "deployctl"]

    def run(words: list[str], log: str) -> None:
        with (out / log).open("a") as file:
            subprocess.run(words, env=state, check=True, stdout=file, stderr=subprocess.STDOUT)

    up = [*deployctl, "up", "--model", str(given.model.absolute()), "--gpu", "cpu", "--name"]
    up += ["agreement", "--target", "process", "--port", str(given.port), "--enforce-eager"]
    try:
        print("starting the server", file=sys.stderr)
        run(up, "up.log")
        rounds = _measure(given, out, deployctl, run)
    except subprocess.CalledProcessError as error:
        print(f"error: {error}; see the logs in {out}", file=sys.stderr)
        return 4
    finally:
        subprocess.run([*deployctl, "down", "agreement"], env=state, capture_output=True)
    (out / "agreement.json").write_text(json.dumps(rounds, indent=1), encoding="utf-8")
    text = table(rounds)
    (out / "agreement.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def _measure(
    given: Any, out: Path, deployctl: list[str], run: Callable[[list[str], str], None]
) -> dict[str, list[Figures]]:
    url = f"http://127.0.0.1:{given.port}"

    def theirs(name: str, requests: int) -> Path:
        words = [
            given.peer, str(HERE / "vllm_bench.py"), "--backend", "openai-chat",
            "--endpoint", "/v1/chat/completions", "--base-url", url,
            "--model", str(given.model.absolute()), "--served-model-name", given.model.name,
            "--dataset-name", "random", "--random-input-len", str(given.input_tokens),
            "--random-output-len", str(given.output_tokens), "--num-prompts", str(requests),
            "--max-concurrency", str(given.users), "--ignore-eos", "--disable-tqdm",
            "--extra-body", '{"skip_special_tokens": false, "temperature": 0}',
            "--seed", str(crc32(name.encode()) % 10_000), "--save-result", "--save-detailed",
            "--result-dir", str(out), "--result-filename", f"{name}.json",
        ]  # fmt: skip
        run(words, "vllm.log")
        return out / f"{name}.json"

    # The template's tokens come on top of theirs and are part of ours: their count is asked.
    probe = json.loads(theirs("probe", 2).read_text(encoding="utf-8"))
    length = round(fmean(probe["input_lens"]))
    rounds: dict[str, list[Figures]] = {"ours": [], "vllm": [], "vllm_by_text": []}
    for number in range(given.rounds):
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
        folder = out / f"ours-{number}"
        words = [
            *deployctl, "loadtest", "--url", url, "--model", given.model.name,
            "--users", str(given.users), "--requests", str(given.requests), "--warmup", "0s",
            "--input-tokens", str(length), "--output-tokens", str(given.output_tokens),
            "--duration", "600s", "--out", str(folder), "--output", "json",
        ]  # fmt: skip
        run(words, "ours.log")
        rounds["ours"].append(of_ours(folder))
        path = theirs(f"vllm-{number}", given.requests)
        rounds["vllm"].append(of_vllm(path, by_text=False))
        rounds["vllm_by_text"].append(of_vllm(path, by_text=True))
    return rounds


if __name__ == "__main__":
    sys.exit(main())
