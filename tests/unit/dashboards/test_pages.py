"""Whatever our panels and rules read of an engine is on the page that it really gave, release by
release, or is listed with its reason (tests/data/empty-series.yaml). Of other releases the names
are read from their source; test_dashboards.py and test_alerting.py hold ours to those.
"""

import re
from pathlib import Path

import pytest

import pages
from board_parts import excuse, panel_queries, rule_queries, selectors
from deployctl.engines.vllm import exported
from deployctl.promql import LabelMatcher, write
from deployctl.render.alerting import Objectives, Scope, host_groups, rule_groups

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "dashboards.md"
NOT_ITS_OWN = ("deployctl:", "deployctl_loadtest_")
OURS = "deployctl_"  # the door, the same for every release: the newest page has all of it


def of_the_engine(version):
    """By what reads it, every series that panels and rules want of an engine."""
    chat = (LabelMatcher("service", "=", "chat"),)
    wanted = Objectives(ttft_s=1.0, itl_s=0.05, e2e_s=30.0)
    groups = rule_groups(Scope("chat", version, chat, speculates=True), wanted)
    queries = panel_queries(version, service="chat", __rate_interval="1m") | rule_queries(groups)
    known = exported.samples(version)
    others = NOT_ITS_OWN if version == pages.versions()[-1] else (OURS,)
    return {
        (name, write(selector)): selector
        for name, query in queries.items()
        for selector in selectors(query)
        if selector.name in known and not selector.name.startswith(others)
    }


@pytest.mark.parametrize("version", pages.versions())
def test_a_release_gives_what_panels_and_rules_read(version):
    found, wanted = pages.samples(pages.recorded(version)), of_the_engine(version)
    assert len(wanted) > 100
    missing = [where for where, s in wanted.items() if not pages.selects(s, found)]
    assert [(name, series) for name, series in missing if not excuse(series)] == []


@pytest.mark.parametrize("version", pages.versions())
def test_a_release_gives_the_names_and_labels_that_we_know_of_it(version):
    known = exported.samples(version)
    for name, labels in pages.samples(pages.recorded(version)):
        assert name in known, name
        own = known[name].labels
        assert own is None or set(labels) - {"le", "quantile"} <= own, (name, labels)


def test_what_rules_of_a_machine_read_is_told_there_or_has_a_reason():
    """By node-exporter and Prometheus itself, which are all that tests/e2e/test_scraped.py has."""
    read = rule_queries(host_groups(Scope("", pages.versions()[-1], ()))).values()
    assert [q for q in read if not q.startswith(("node_", "prometheus_")) and not excuse(q)] == []


def test_a_page_without_a_name_is_found_out():
    version = pages.versions()[-1]
    page = pages.recorded(version).replace("vllm:num_requests_waiting{", "vllm:waiting{")
    found = pages.samples(page)
    missing = {w for w, s in of_the_engine(version).items() if not pages.selects(s, found)}
    assert any("num_requests_waiting" in query for _, query in missing)


def test_the_guide_says_which_releases_were_asked():
    (row,) = re.findall(r"^\| a page that a real engine gave \| (.*) \|$", GUIDE.read_text(), re.M)
    assert row.split(", ") == pages.versions()
