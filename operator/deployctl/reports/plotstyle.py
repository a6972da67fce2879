"""How every plot looks, and how it becomes SVG text."""

import io
import re
from typing import Any

from matplotlib.figure import Figure

INK, FAINT, BLUE, ORANGE, RED, GREEN = (
    "#334155",
    "#cbd5e1",
    "#2563eb",
    "#ea580c",
    "#dc2626",
    "#0d9488",
)
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",  # text stays text: small, sharp, found by a search
    "svg.hashsalt": "deployctl",  # the same result gives the same bytes
}


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element whose ids begin with `name`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Ids are the document's: two plots in one file must not share them.
    text = re.sub(r'id="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    return re.sub(r'xlink:href="#', f'xlink:href="#{name}-', text)
