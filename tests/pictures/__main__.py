"""Our dashboards as pictures: drawn from their JSON and a real Prometheus' data with Grafana's own
components (npm's @grafana/ui and @grafana/data), photographed by a headless Chromium.

    python -m tests.pictures http://127.0.0.1:9090 guarded --work DIR [--minutes 10] [--until T]

writes docs/images/dashboard-*.png. DIR keeps the npm packages (`npm install` there is slow the
first time). For who writes docs: no test needs it, and nothing of it is shipped. Heatmaps and state
timelines are panels of Grafana's server, not of @grafana/ui: page.jsx draws them by itself.
"""

import argparse
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
BOARDS = HERE.parents[1] / "deploy" / "dashboards"
IMAGES = HERE.parents[1] / "docs" / "images"
POINTS = 240  # of a line
CELL, GAP, WIDE = 30, 8, 1560  # pixels of Grafana's grid: a row's height, what is between, all
CHROMIUM = ("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--virtual-time-budget=20000", "--force-device-scale-factor=1")  # fmt: skip


def shown(value):
    """A label's value; a test's own folder is no place that anybody has."""
    return re.sub(r"^/(var/)?tmp/.*", "/srv/cache", value)


class Source:
    """A Prometheus, asked for a span of time."""

    def __init__(self, url, minutes, until):
        self.url = url
        self.end = until
        self.start = self.end - 60 * minutes
        self.step = max(1, (self.end - self.start) / POINTS)

    def ask(self, query, instant):
        """Every series: its labels and its points, in milliseconds."""
        span = {"start": self.start, "end": self.end, "step": self.step}
        where = "query" if instant else "query_range"
        form = {"query": query, **({"time": self.end} if instant else span)}
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/{where}", data) as answer:
            found = json.load(answer)["data"]["result"]
        return [
            {
                "labels": {name: shown(value) for name, value in each["metric"].items()},
                "points": [
                    [1000 * at, float(value)]
                    for at, value in each.get("values", [each.get("value")])
                ],
            }
            for each in found
        ]


def values_of(board, service):
    """What is chosen at the top, and the board's constants."""
    values = {
        "__rate_interval": "15s",
        "__range": "10m",
        "service": service,
        "datasource": "prometheus",
    }
    for variable in board["templating"]["list"]:
        if variable["type"] in ("constant", "textbox"):
            values[variable["name"]] = str(variable["query"])
    return values | {"ttft_objective": "0.5", "itl_objective": "0.05", "e2e_objective": "5"}


def drawn(board, source, service):
    """The board's panels with what their queries give."""
    values = values_of(board, service)

    def chosen(text):
        return re.sub(r"\$\{?(\w+)\}?", lambda m: values.get(m[1], ".*"), text)

    panels = []
    for panel in board["panels"]:
        targets = panel.get("targets", ())
        data = {t["refId"]: source.ask(chosen(t["expr"]), t.get("instant")) for t in targets}
        panels.append({**panel, "data": data})
    return {"title": board["title"], "panels": panels, "from": 1000 * source.start,
            "to": 1000 * source.end, "step": 1000 * source.step}  # fmt: skip


def built(work):
    """The page's script, with Grafana's components in it."""
    for name in ("package.json", "page.jsx", "page.html"):
        shutil.copy(HERE / name, work / name)
    if not (work / "node_modules").exists():
        subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=work, check=True)
    subprocess.run(["npm", "run", "--silent", "build"], cwd=work, check=True)


def photograph(work, name, page):
    """Writes docs/images/dashboard-NAME.png."""
    low = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in page["panels"])
    (work / "data.js").write_text(f"window.board = {json.dumps(page)};")
    image = IMAGES / f"dashboard-{name}.png"
    size = f"--window-size={WIDE},{low * (CELL + GAP) + 70}"
    address = f"file://{work / 'page.html'}"
    where = ["--allow-file-access-from-files", f"--user-data-dir={work / 'chromium'}"]
    subprocess.run([*CHROMIUM, *where, size, f"--screenshot={image}", address], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("prometheus")
    parser.add_argument("service")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--until", type=float, default=time.time(), help="seconds since 1970")
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    IMAGES.mkdir(exist_ok=True)
    built(given.work)
    source = Source(given.prometheus, given.minutes, given.until)
    for file in sorted(BOARDS.glob("*.json")):
        page = drawn(json.loads(file.read_text()), source, given.service)
        photograph(given.work, file.stem, page)


if __name__ == "__main__":
    main()
