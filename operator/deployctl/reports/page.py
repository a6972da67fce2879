"""One HTML file that needs no network, from a template and the style sheet of every report."""

from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


def page(template: Path, plots: dict[str, str], **values: Any) -> str:
    """Fills a template. Everything in `values` is escaped; `plots` are our own SVG and are not.

    jinja2 is imported here: most verbs make no page.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    # matplotlib escapes the text in its SVG.
    ours = {name: Markup(text) for name, text in {**plots, "style": style}.items()}  # noqa: S704
    return environment.from_string(template.read_text(encoding="utf-8")).render(**values, **ours)
