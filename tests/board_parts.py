"""Our dashboards' queries as Grafana would send them, and rules' as Prometheus evaluates them; and
which of them a service that serves has no data for, and why.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import yaml

from deployctl.promql import Selector, parse, walk, write
from deployctl.render.dashboards import dashboards

# What Grafana puts in where nobody chose anything, and objectives are set.
CHOSEN = {"card_price": "1.5", "availability_budget": "0.005", "late_budget": "0.05",
          "ttft_objective": "1", "itl_objective": "0.05", "e2e_objective": "30",
          "namespace": ".*", "model": ".*", "replica": ".*", "run": ".*",
          "__range": "1h"}  # fmt: skip
EMPTY = Path(__file__).parent / "data" / "empty-series.yaml"


def panel_queries(version, **chosen):
    """Every query of every panel of a release's dashboards, by the panel's name."""
    values = {**CHOSEN, **chosen}
    return {
        f"{name.removesuffix('.json')}: {panel['title']} ({panel['id']}{target['refId']})": re.sub(
            r"\$\{?(\w+)\}?", lambda m: values[m[1]], target["expr"]
        )
        for name, text in dashboards(version, True).items()
        for panel in json.loads(text)["panels"]
        for target in panel.get("targets", ())
    }


def rule_queries(groups):
    """What is recorded, and of alerts, which have no data while all is well, every series that they
    read; by the rule's name."""
    found = {}
    for number, rule in enumerate(rule for group in groups for rule in group["rules"]):
        if "record" in rule:
            found[f"{rule['record']} ({number})"] = rule["expr"]
            continue
        for at, selector in enumerate(selectors(rule["expr"])):
            name = f"{rule['alert']} ({number}.{at})"
            found[name] = write(replace(selector, window=None, at=""))
    return found


def selectors(query):
    """Every series that a query reads."""
    return [part for part, _ in walk(parse(query)) if isinstance(part, Selector)]


def excuse(query):
    """Why a query may be without data on an engine of the tests: the first reason that EMPTY has
    for a series that it reads, or None."""
    read = [write(replace(selector, window=None, at="")) for selector in selectors(query)]
    for reason, patterns in yaml.safe_load(EMPTY.read_text()).items():
        if any(re.match(pattern, series) for pattern in patterns for series in read):
            return reason
    return None
