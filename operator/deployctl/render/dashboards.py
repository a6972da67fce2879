"""Our dashboards for one release: its names of metrics, and without what it does not export.

deploy/dashboards has them for the newest one; the chart fills in the service's name, objectives and
runbooks (templates/monitoring/dashboards.yaml).
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from deployctl import assets
from deployctl.engines.vllm import exported

FOLDER = "dashboards"  # of the chart's files, as in deploy/
_SERIES = re.compile(r"vllm:[a-zA-Z0-9_]+")
_SPECULATION = "--speculative-config"


@cache
def dashboards(version: str, speculates: bool) -> Mapping[str, str]:
    """Every dashboard as JSON, by file name, for a release; `speculates`: whether the engine has
    --speculative-config."""
    found = {}
    for file in sorted(assets.path("deploy", FOLDER).glob("*.json")):
        board = json.loads(file.read_text(encoding="utf-8"))
        made = of_release(board, version, speculates=speculates)
        found[file.name] = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    return found


def of_release(board: Mapping[str, Any], version: str, *, speculates: bool) -> dict[str, Any]:
    """A dashboard of the newest release as one for another. A query for what that does not export
    is left out, a panel that had no other too, and a heading above none."""
    panels: list[dict[str, Any]] = []
    for panel in [*board["panels"], {"type": "row"}]:
        if panel["type"] == "row":
            if panels and panels[-1]["type"] == "row":
                panels.pop()
            panels.append(panel)
            continue
        asked = ((t, _renamed(t["expr"], version, speculates)) for t in panel["targets"])
        targets = [{**target, "expr": query} for target, query in asked if query is not None]
        if targets:
            panels.append({**panel, "targets": targets})
    said = str(board["description"]).replace(exported.newest(), version)
    return {**board, "description": said, "panels": panels[:-1]}


def _renamed(query: str, version: str, speculates: bool) -> str | None:
    """A query by a release's names; None where it exports no such metric."""
    names: dict[str, str] = {}
    for series in set(_SERIES.findall(query)):
        newest = exported.samples(exported.newest())[series]
        own = exported.named(newest.name, version)
        if own is None or own.kind != newest.kind:
            return None
        if own.when == _SPECULATION and not speculates:
            return None
        names[series] = own.name + newest.suffix(series)
    return _SERIES.sub(lambda series: names[series[0]], query)
