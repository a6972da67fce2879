"""The cards of a plan by claim, as a person reads them: which will do, which not and why."""

import textwrap

from rich.text import Text

from deployctl.planning.plan import CardOption, ServingPlan

_WIDTH = 78


def cards_text(plan: ServingPlan) -> Text:
    """Writes a row a kind of card; nothing where none are claimed."""
    text = Text()
    if not plan.cards:
        return text
    text.append("\nCards by claim", style="bold")
    asked = plan.alternatives
    several = len(asked) > 1
    text.append(f"  {'the first that is free, in this order' if several else ''}\n", style="dim")
    for card in plan.cards:
        _row(text, card, asked=card in asked)
    if any(card.fits and card not in asked for card in plan.cards):
        text.append(
            "* not by name: a claim has eight alternatives; any other card covers it\n", style="dim"
        )
    return text


def _row(text: Text, card: CardOption, *, asked: bool) -> None:
    text.append(f"  {card.gpu:15}", style="green" if card.fits else "red")
    if card.fits:
        price = f"${card.usd_per_hour:.2f}/h" if card.usd_per_hour is not None else "no price"
        span = "–".join(dict.fromkeys(filter(None, (card.least_capability, card.most_capability))))
        memory = f"{card.memory_mib / 1024:.1f} GiB"
        cells = f"{memory:>10} or more · compute capability {span}"
        text.append(
            f"{cells}{'' if card.gpu == 'other' else ' · ' + price}{'' if asked else ' *'}\n"
        )
        return
    lacks = f"lacks {card.missing_gib:.1f} GiB: " if card.missing_gib else ""
    lines = textwrap.wrap(lacks + card.why, _WIDTH - 17, break_on_hyphens=False) or [""]
    text.append(("\n" + " " * 17).join(lines) + "\n")
