"""The page of popular quantized checkpoints: what `plan` says of each on four cards.

docs/reference/checkpoints.jsonl has a checkpoint a line: its id, its family, its config.json and
whence that is. The plans are those of `--model` and `--gpu` alone.
"""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from deployctl.hardware import load_profile
from deployctl.model import Documents, facts_from
from deployctl.planning.make import make_plan
from deployctl.planning.plan import ServingPlan
from deployctl.planning.settings import UNTIMED
from deployctl.spec import ServiceSpec

FILE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "checkpoints.jsonl"
CARDS = ("rtx4090", "l4", "a100-80gb", "h100")
_QUANT_FILE = "hf_quant_config.json"
INTRODUCTION = """\
What `deployctl plan --model … --gpu …` says of {count} popular quantized checkpoints, on one card
and with nothing else asked for, but `--trust-remote-code` where it stands. {started} of {cells}
start.

- **32,768** tokens: the context, in bold where it is all that the model takes. *FP8*: the KV
  cache is in FP8, as the checkpoint asks, or since two bytes a value would hold too little.
  ≈: at the edge, where little decides whether it starts (`plan` says how little).
- 136 × 2k: so many requests of 2,048 tokens run at once, in 15.0 GiB of KV cache.
- ✗: refused, with the reason, the change that costs least, and → the context that it gives.
  Weights may be more than the card has, or leave nothing for the KV cache beside working memory.
  `compilation_config='{{…}}'` is for kernels that the compiler does not time.
  `plan --explain` has the figures, and every other change in full.

The config.json is *published*: somebody's copy of it, as linked; or *rebuilt*: the architecture,
as linked, with the settings of the quantizer. The size of the weights is computed from it; `plan`
reads their headers too. The figures are for vLLM {version}.

[checkpoints.jsonl](checkpoints.jsonl) has the configs, one a line.
"""


class Checkpoint(NamedTuple):
    """One line of the file."""

    id: str
    family: str
    published: bool
    source: str  # an address
    documents: Documents


@cache
def checkpoints(file: Path = FILE) -> tuple[Checkpoint, ...]:
    """Reads the file."""
    return tuple(_checkpoint(json.loads(line)) for line in file.read_text("utf-8").splitlines())


def _checkpoint(line: dict[str, Any]) -> Checkpoint:
    quantizer = line.get("quantize_config")
    documents = Documents(
        source=line["id"],
        local=False,
        config=line["config"],
        quantize_config=quantizer,
        quantize_config_file=_QUANT_FILE if quantizer else None,
        files={"config.json": None, "model.safetensors": None},
    )
    published = line["config_is"] == "published"
    return Checkpoint(line["id"], line["family"], published, line["source"], documents)


def plans(checkpoint: Checkpoint) -> list[ServingPlan]:
    """Its plan on each card, with consent to its own code where only that reads it."""
    facts = facts_from(checkpoint.documents)
    spec = ServiceSpec(model=checkpoint.id, gpu="auto", trust_remote_code=facts.remote_code)
    return [
        make_plan(spec.model_copy(update={"gpu": card}), facts, load_profile(card))
        for card in CARDS
    ]


def page(known: Iterable[Checkpoint] | None = None) -> str:
    """The page as markdown, its heading included."""
    rows = [(one, plans(one)) for one in (checkpoints() if known is None else known)]
    every = [plan for _, made in rows for plan in made]
    introduction = INTRODUCTION.format(
        count=len(rows),
        version=every[0].engine.version,
        started=sum(plan.verdict == "fits" for plan in every),
        cells=len(every),
    )
    lines = ["# Popular checkpoints on four cards", "", introduction]
    for family, members in groupby(rows, key=lambda row: row[0].family):
        lines += [f"## {family}", "", *_table(members), ""]
    return "\n".join(lines)


def _table(rows: Iterable[tuple[Checkpoint, list[ServingPlan]]]) -> Iterator[str]:
    titles = (load_profile(card).title.removeprefix("NVIDIA ") for card in CARDS)
    yield f"| checkpoint | {' | '.join(titles)} |"
    yield "|---" * (len(CARDS) + 1) + "|"
    for one, made in rows:
        word = "published" if one.published else "rebuilt"
        owner, _, name = one.id.partition("/")
        title = f"{owner}/<br>{name}<br>[{word}]({one.source})"
        if facts_from(one.documents).remote_code:
            title += "<br>`--trust-remote-code`"
        yield f"| {title} | {' | '.join(cell(plan) for plan in made)} |"


def cell(plan: ServingPlan) -> str:
    """One plan: what it gives, or why it is refused and what helps."""
    if plan.verdict != "fits" or plan.memory is None:
        return f"✗ {_why(plan)}<br>{_way(plan)}"
    context = f"{plan.max_model_len:,}"
    if plan.max_model_len == plan.model_context:
        context = f"**{context}**"
    if str(plan.engine.defaults.get("kv_cache_dtype")).startswith("fp8"):
        context += " *FP8*"
    if any(warning.code == "at_the_edge" for warning in plan.warnings):
        context += " ≈"
    most = min(plan.concurrency_2048, plan.engine.defaults["max_num_seqs"])
    return f"{context}<br>{int(most):,} × 2k<br>{plan.memory.kv_cache_gib:.1f} GiB"


def _why(plan: ServingPlan) -> str:
    reason = plan.reasons[0]
    memory = plan.memory
    if memory is not None and reason.code == "weights_too_large":
        alone = memory.weights_gib > memory.gpu_total_gib
        return f"{memory.weights_gib:.1f} GiB of weights{'' if alone else ' leave no KV cache'}"
    if reason.code == "attention_not_supported_on_gpu":
        return "no kernel for its attention"
    if reason.code == "dtype_not_supported" and "FP8 KV cache" in reason.message:
        return "no kernel for its FP8 KV cache"
    if reason.code == "kv_cache_too_small":
        return f"holds {plan.longest_context:,} tokens"
    return reason.message.replace("|", "\\|")


def _way(plan: ServingPlan) -> str:
    if not plan.fixes:
        return plan.reasons[0].fix.replace("|", "\\|")
    way = plan.fixes[0]
    # As many GPUs are split so without a word; a line a flag keeps the columns narrow.
    change = way.change.removesuffix(f" --tensor-parallel-size {way.gpus}").replace(UNTIMED, "{…}")
    flags = "<br>".join(f"`--{flag}`" for flag in change.removeprefix("--").split(" --"))
    return f"{flags}<br>→ {way.max_model_len:,}"
