"""A plan as a person reads it: verdict, memory, flags, reasons with fixes, why."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence

from rich.text import Text

from deployctl.cli.plan.cards import cards_text
from deployctl.errors import Reason
from deployctl.planning.comparison import ComparedGpu, GpuComparison
from deployctl.planning.plan import SHORT_REQUEST, MemoryBudget, ServingPlan
from deployctl.units import duration

_WIDTH = 78
_BAR = 60
_INDENT = "  "
VERDICTS = {
    "fits": ("fits", "bold green"),
    "does_not_fit": ("does not fit", "bold red"),
    "cannot_run": ("cannot run", "bold red"),
}
# Part of the budget, its style and the letter that fills the bar where there is no colour.
_PARTS = (
    ("weights", "weights_gib", "blue", "W"),
    ("activation peak", "activation_gib", "magenta", "a"),
    ("non-torch", "non_torch_gib", "cyan", "n"),
    ("CUDA graphs", "cudagraph_gib", "yellow", "g"),
    ("KV cache", "kv_cache_gib", "green", "K"),
)


def plan_text(plan: ServingPlan, title: str, *, counted: bool, colour: bool) -> Text:
    """Writes a plan for a terminal of 80 columns. `counted`: graphs are in the budget."""
    text = Text()
    word, style = VERDICTS[plan.verdict]
    text.append(word, style=style)
    others = len(plan.alternatives) - 1
    more = f", or another of {others + 1} kinds" if others > 0 else ""
    text.append(f"  {plan.served_model_name} on {title}{more}\n")
    for line in _summary(plan):
        wrapped(text, line, hang=2)
    for reason in plan.reasons:
        reason_text(text, reason, "red")
    if plan.memory is not None and plan.accelerator == "cuda":
        _memory(text, plan.memory, counted=counted, colour=colour)
    elif plan.memory is not None:
        _host(text, plan.memory, plan.replicas)
    text.append_text(cards_text(plan))
    heading(text, "Flags", f"vLLM {plan.engine.version}, {plan.engine.image}")
    wrapped(text, " ".join(shlex.quote(word) for word in plan.engine.args), hang=4)
    for name, value in plan.engine.env.items():
        text.append(f"{_INDENT}{name}={shlex.quote(value)}\n")
    chosen = ", ".join(f"{k} {_value(v)}" for k, v in plan.engine.defaults.items())
    if chosen:
        wrapped(text, f"in force: {chosen}", style="dim", hang=4)
    if plan.warnings:
        heading(text, "Warnings")
        for warning in plan.warnings:
            reason_text(text, warning, "yellow", blank=False)
    if plan.notes:
        heading(text, "Why")
        for note in plan.notes:
            wrapped(text, note, hang=2)
    return text


def explained(plan: ServingPlan) -> Text:
    """Writes what `plan --explain` adds: the search's steps, and every fix with its figures."""
    text = Text()
    if plan.search:
        heading(text, "Search", "what was tried, in this order")
        header = f"{'GPUs':>4}{'tensor':>8}{'stages':>8}  {'KV cache':10}{'GiB':>9}{'context':>11}"
        text.append(f"{_INDENT}{header}\n", style="dim")
    for step in plan.search:
        tensor, stages = step.tensor_parallel_size, step.pipeline_parallel_size
        length = f"{step.max_model_len:,}" if step.max_model_len else "–"
        text.append(
            f"{_INDENT}{tensor * stages:>4}{tensor:>8}{stages:>8}  {step.kv_cache_dtype:10}"
            f"{step.kv_cache_gib:>9.2f}{length:>11}  {step.outcome}\n"
        )
    if plan.fixes:
        heading(text, "Fixes", "each is enough; the one that costs you least first")
    for fix in plan.fixes:
        wrapped(text, fix.change, hang=2, style="cyan")
        short = f", {int(fix.concurrency_2048):,} of {SHORT_REQUEST:,} tokens"
        gives = (
            f"{fix.max_model_len:,} tokens of context, {fix.max_concurrency:,.1f} full requests "
            f"at once{short if fix.max_model_len > SHORT_REQUEST else ''}, "
            f"{fix.kv_cache_gib:.1f} GiB of KV cache"
        )
        wrapped(text, f"  gives: {gives}", hang=6)
        wrapped(text, f"  cost: {fix.cost}", hang=6)
    return text


def _summary(plan: ServingPlan) -> Iterator[str]:
    gpus = plan.world_size
    if plan.accelerator == "cpu":
        where = "this CPU" if plan.replicas == 1 else f"{plan.replicas} replicas on this CPU"
    else:
        where = "one GPU" if gpus == 1 else f"{gpus} GPUs"
        if plan.pipeline_parallel_size > 1:
            where += f" ({plan.tensor_parallel_size} × {plan.pipeline_parallel_size} stages)"
        if plan.replicas > 1:
            where = f"{plan.replicas} replicas of {where}"
    parts = [where, plan.context_words]
    if plan.verdict == "fits":
        parts.append(plan.requests_words)
    yield " · ".join(parts)
    if plan.verdict == "fits":
        yield f"start-up within {duration(plan.startup_budget_s)}" + _price(plan)


def _price(plan: ServingPlan) -> str:
    cost = plan.cost
    if cost is None:
        return ""
    million = cost.usd_per_million_output_tokens
    return f" · ${cost.usd_per_hour:.2f}/h, est. ${million:.2f} a million tokens"


def _memory(text: Text, memory: MemoryBudget, *, counted: bool, colour: bool) -> None:
    share = memory.budget_gib / memory.gpu_total_gib
    heading(
        text,
        "Memory of a GPU",
        f"{memory.budget_gib:.1f} of {memory.gpu_total_gib:.1f} GiB ({share:.0%})",
    )
    inside = [p for p in _PARTS if counted or p[1] != "cudagraph_gib"]
    sizes = [max(0.0, getattr(memory, name)) for _, name, _, _ in inside]
    whole = max(memory.gpu_total_gib, sum(sizes))
    text.append(_INDENT)
    used = 0
    for (_, _, style, letter), size in zip(inside, sizes, strict=True):
        width = round(size / whole * _BAR)
        width = min(max(width, 1 if size > 0 else 0), _BAR - used)
        text.append(("█" if colour else letter) * width, style=style)
        used += width
    text.append("·" * (_BAR - used) + "\n", style="dim")
    for label, name, style, letter in _PARTS:
        size = getattr(memory, name)
        text.append(f"{_INDENT}{'█' if colour else letter} ", style=style)
        text.append(f"{label:16}{size:8.2f} GiB")
        if name == "kv_cache_gib" and size < 0:
            text.append("  so much is missing", style="red")
        elif name == "kv_cache_gib":
            text.append(f"  {memory.kv_cache_tokens:,} tokens of {_bytes(memory)}")
        if name == "activation_gib" and memory.compile_gib >= 0.01:
            words = f"  {memory.compile_gib:.2f} GiB of it while a first start compiles"
            text.append(words, style="dim")
        if name == "cudagraph_gib" and not counted and size:
            text.append("  on top of the budget", style="dim")
        text.append("\n")


def _host(text: Text, memory: MemoryBudget, replicas: int) -> None:
    each = ", of which each replica takes" if replicas > 1 else ""
    heading(text, "Memory of the host", f"{memory.gpu_total_gib:.1f} GiB{each}")
    text.append(f"{_INDENT}weights   {memory.weights_gib:8.2f} GiB\n")
    text.append(
        f"{_INDENT}KV cache  {memory.kv_cache_gib:8.2f} GiB  "
        f"{memory.kv_cache_tokens:,} tokens of {_bytes(memory)}\n"
    )


def _bytes(memory: MemoryBudget) -> str:
    return f"{memory.kv_bytes_per_token / 1024:,.1f} KiB"


def reason_text(text: Text, reason: Reason, style: str, *, blank: bool = True) -> None:
    """Adds why something is refused or warned of, and the fix."""
    if blank:
        text.append("\n")
    lines = textwrap.wrap(f"{reason.code}: {reason.message}", _WIDTH - 2, subsequent_indent="  ")
    for number, line in enumerate(lines):
        start = len(text) + len(_INDENT)
        text.append(f"{_INDENT}{line}\n")
        if number == 0:
            text.stylize(style, start, start + len(reason.code))
    for line in textwrap.wrap(
        f"fix: {reason.fix}", _WIDTH - 4, subsequent_indent="     ", break_on_hyphens=False
    ):
        text.append(f"{_INDENT}  {line}\n", style="cyan")


def heading(text: Text, title: str, rest: str = "") -> None:
    """Adds a heading."""
    text.append(f"\n{title}", style="bold")
    text.append(f"  {rest}\n" if rest else "\n", style="dim")


def wrapped(text: Text, words: str, *, hang: int, style: str = "") -> None:
    """Adds words, in lines that fit."""
    lines = textwrap.wrap(
        words,
        _WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    text.append("\n".join(lines) + "\n", style=style)


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def comparison_text(comparison: GpuComparison) -> Text:
    """Writes the table of `plan --compare`."""
    text = Text()
    text.append(f"{comparison.model.rstrip('/').rsplit('/', 1)[-1]}", style="bold")
    users = f"{comparison.users} users" if comparison.users > 1 else "one user"
    held = " (the longest that all hold)" if comparison.context_chosen else ""
    text.append(f"  {comparison.max_model_len:,} tokens of context{held}, {users}\n\n")
    header = (
        f"{'card':15}{'':13}{'GPUs':>4}{'context':>9}{'full req.':>10}{'longest':>9}"
        f"{'$/h':>7}{'$/M out':>9}"
    )
    text.append(header + "\n", style="dim")
    for candidate in comparison.candidates:
        _row(text, candidate, cheapest=candidate.gpu == comparison.cheapest)
    if any(candidate.plan.fp8_chosen for candidate in comparison.candidates):
        text.append("* with an FP8 KV cache\n", style="dim")
    if comparison.cheapest:
        text.append(f"\n{comparison.cheapest}", style="bold green")
        text.append(" is the cheapest that is enough. Prices are the profiles'; what a token\n")
        text.append("costs is an estimate until a load test replaces it.\n")
    refusals = [c for c in comparison.candidates if c.plan.verdict != "fits"]
    for candidate in refusals:
        text.append(f"\n{candidate.gpu}", style="bold")
        for reason in candidate.plan.reasons[:1]:
            reason_text(text, reason, "red")
    return text


def _row(text: Text, candidate: ComparedGpu, *, cheapest: bool) -> None:
    plan = candidate.plan
    word, style = VERDICTS[plan.verdict]
    text.append(f"{candidate.gpu:15}", style="bold green" if cheapest else "")
    text.append(f"{word:13}", style=style)
    text.append(f"{candidate.gpus:>4}")
    length = f"{plan.max_model_len:,}" if plan.verdict == "fits" else "–"
    cells: Sequence[str] = (
        length + ("*" if plan.fp8_chosen else ""),
        f"{plan.max_concurrency:,.1f}" if plan.verdict == "fits" else "–",
        f"{plan.longest_context:,}" if plan.longest_context else "–",
        f"{plan.cost.usd_per_hour:.2f}" if plan.cost else "–",
        f"{plan.cost.usd_per_million_output_tokens:.2f}" if plan.cost else "–",
    )
    for cell, width in zip(cells, (9, 10, 9, 7, 9), strict=True):
        text.append(f"{cell:>{width}}")
    text.append("\n")
