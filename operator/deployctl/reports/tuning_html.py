"""A tuning study as one HTML file that needs no network."""

from pathlib import Path

from deployctl.reports import tuning_wording as words
from deployctl.reports.tuning_view import StudyView

_TEMPLATE = Path(__file__).with_name("tuning.html.j2")


def render(view: StudyView) -> str:
    """Returns the document. Everything that came from outside is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from deployctl.reports import load_html, plots_tuning

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    phases = words.phases(view)
    return template.render(
        view=view,
        style=Markup(load_html.style()),  # noqa: S704
        tone=words.TONES.get(view.verdict, "note"),
        headline=words.headline(view),
        tiles=words.tiles(view),
        comparison=words.comparison(view),
        candidates=words.candidates(view),
        phases=phases,
        priced=any(row.usd for row in phases),
        budget=words.budget(view),
        # Our own SVG: matplotlib escapes the text in it.
        pareto=Markup(plots_tuning.pareto(view)),  # noqa: S704
        effects=Markup(plots_tuning.effects(view)),  # noqa: S704
        against=Markup(plots_tuning.against(view)),  # noqa: S704
        timeline=Markup(plots_tuning.timeline(view)),  # noqa: S704
    )
