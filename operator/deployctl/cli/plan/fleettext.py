"""A fleet's plan as a person reads it: a table by card, or why it does not fit and what would."""

from collections.abc import Iterator

from rich.text import Text

from deployctl.cli.plan.text import VERDICTS, heading, reason_text, wrapped
from deployctl.planning.fleet.result import CardShare, FleetCard, FleetPlan
from deployctl.planning.plan import ServingPlan

_HEADER = (
    f"{'card':4}  {'service':16} {'share':>6}{'GiB':>7}{'weights':>9}{'KV cache':>10}"
    f"{'context':>9}{'full req.':>11}"
)


def fleet_text(plan: FleetPlan, *, explain: bool) -> Text:
    """Writes the plan for a terminal of 80 columns. `explain`: with the cost of every fix."""
    text = Text()
    word, style = VERDICTS[plan.verdict]
    text.append(word, style=style)
    count = len(plan.needs)
    text.append(f"  {count} service{'s' if count > 1 else ''} on {_cards(plan)}\n")
    for reason in plan.reasons:
        reason_text(text, reason, "red")
    if plan.verdict == "fits":
        _table(text, plan)
        _after(text, plan)
    else:
        heading(text, "Least", "what each needs at least of a card")
        for need in plan.needs:
            of = f" on each of {need.cards} cards" if need.cards > 1 else ""
            gib = f"{need.gib:7.1f} GiB of {need.gpu}{of}" if need.gpu else "  more than a card has"
            text.append(f"  {need.service:16}{gib}\n")
    if plan.fixes and explain:
        heading(text, "Fixes", "each is enough; the one that costs you least first")
        for fix in plan.fixes:
            wrapped(text, str(fix), hang=2, style="cyan")
            wrapped(text, f"  cost: {fix.cost}", hang=6)
    return text


def _cards(plan: FleetPlan) -> str:
    kinds = [card.gpu for card in plan.cards]
    if kinds == ["cpu"]:
        return "this host's CPU"
    return ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))


def _table(text: Text, plan: FleetPlan) -> None:
    services = {service.name: service for service in plan.services}
    text.append(f"\n{_HEADER}\n", style="dim")
    for card in plan.cards:
        for number, share in enumerate(card.shares):
            text.append(f"{card.index if number == 0 else '':>4}  ")
            _row(text, share, services[share.service])
        text.append(f"{'' if card.shares else card.index:>4}  ")
        text.append("".join(_left(card)), style="dim")


def _row(text: Text, share: CardShare, plan: ServingPlan) -> None:
    name = share.service if len(share.service) <= 16 else share.service[:15] + "…"
    part = f"{share.share:.2f}" if share.share is not None else "–"
    text.append(f"{name:16}", style="bold")
    text.append(
        f" {part:>6}{share.gib:>7.1f}{share.weights_gib:>9.1f}{share.kv_cache_gib:>10.1f}"
        f"{plan.max_model_len:>9,}{plan.max_concurrency:>11,.1f}\n"
    )


def _left(card: FleetCard) -> Iterator[str]:
    yield f"{'left':16} {'':>6}{card.left_gib:>7.1f}  of {card.memory_gib:.1f} GiB"
    if card.held_gib:
        yield f", {card.held_gib:g} of which others hold"
    yield "\n"


def _after(text: Text, plan: FleetPlan) -> None:
    """The order, what it costs, and what each plan warns of."""
    text.append("\n")
    wrapped(text, f"They start one after the other: {', '.join(plan.order)}.", hang=2)
    warned = [(service.name, each) for service in plan.services for each in service.warnings]
    if warned:
        heading(text, "Warnings")
    for name, warning in warned:
        reason_text(
            text,
            type(warning)(warning.code, f"{name}: {warning.message}", warning.fix),
            "yellow",
            blank=False,
        )
