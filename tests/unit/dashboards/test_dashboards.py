"""Our dashboards as files: what Grafana's own model makes of them, names that there are, and what
somebody who looks at them is told."""

import json
import re
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from scripts.dashboards.__main__ import files

from deployctl import assets
from deployctl.checking import Options, check_texts
from deployctl.engines.vllm import exported
from deployctl.promql import Aggregation, LabelMatcher, Selector, parse, walk, write
from deployctl.render.alerting import Objectives, Scope, rule_groups

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "dashboards"
BOARDS = {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}
EXPORTERS = {
    name: entry
    for group in assets.table("deploy", "engines", "metrics-exporters.yaml").values()
    for name, entry in group["metrics"].items()
}
PROMETHEUS = {"up", "ALERTS"}  # its own series
# Labels that a scrape, Prometheus or a rule gives, rather than what is scraped.
GIVEN = {
    "namespace", "service", "pod", "instance", "alertname", "alertstate", "severity", "gateway",
    "commit",  # a Pushgateway's group
}  # fmt: skip
GRAFANAS = {"__rate_interval", "__range", "__all", "__field"}

every = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board):
    return [(panel, target["expr"]) for panel in panels(board) for target in panel["targets"]]


def selectors(board):
    for panel, query in queries(board):
        for part, around in walk(parse(query)):
            if isinstance(part, Selector) and not part.variable:
                yield panel, part, around


def recorded():
    wanted = Objectives(ttft_s=1, itl_s=1, e2e_s=1)
    groups = rule_groups(Scope("a", exported.newest(), (LabelMatcher("a", "=", "b"),)), wanted)
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def test_the_files_are_what_is_made():
    made = files()
    assert {file: file.read_text() for file in FOLDER.glob("*.json")} == made
    assert len(made) == len(BOARDS) > 0


@every
def test_grafanas_model_reads_it_and_writes_the_same(board):
    again = JSONEncoder().encode(Dashboard.from_json(board))
    assert json.loads(again) == board


def test_ids_are_unique():
    uids = [board["uid"] for board in BOARDS.values()]
    assert len(set(uids)) == len(uids)
    assert all(len(uid) <= 40 for uid in uids)  # Grafana's limit
    for board in BOARDS.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in panels(board):
            letters = [target["refId"] for target in panel["targets"]]
            assert len(set(letters)) == len(letters)


@every
def test_no_data_source_is_said_but_the_one_that_is_chosen(board):
    sources = re.findall(r'"uid": "([^"]*)", "type": "(\w+)"|"type": "(\w+)", "uid": "([^"]*)"',
                         json.dumps(board))  # fmt: skip
    found = {(a or d, b or c) for a, b, c, d in sources}
    assert found == {("${datasource}", "prometheus"), ("-- Grafana --", "grafana")}
    for panel in panels(board):
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"])


@every
def test_every_panel_says_what_it_shows_and_in_what(board):
    for panel in panels(board):
        assert panel["title"]
        assert len(panel["description"]) > 30, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


@every
def test_a_share_is_shown_as_one_and_not_made_a_percentage(board):
    for panel, query in queries(board):
        assert not re.search(r"\b100 \*|\* 100\b", query), panel["title"]
        if panel["fieldConfig"]["defaults"]["unit"] == "percent":
            read = {p.name for p, _ in walk(parse(query)) if isinstance(p, Selector)}
            assert {EXPORTERS[name].get("u") for name in read} == {"percent"}


@every
def test_a_query_is_written_as_it_is_read(board):
    for _, query in queries(board):
        assert write(parse(query)) == query


@every
def test_every_name_is_one_that_there_is(board):
    known = set(exported.samples(exported.newest())) | recorded() | PROMETHEUS | set(EXPORTERS)
    read = {part.name for _, part, _ in selectors(board)}
    assert read <= known
    assert read


@every
def test_series_are_taken_apart_by_labels_that_they_have(board):
    for panel, part, around in selectors(board):
        metric = exported.samples(exported.newest()).get(part.name)
        own = EXPORTERS[part.name]["l"] if part.name in EXPORTERS else metric and metric.labels
        has = set(own or ()) | GIVEN | {"le"}
        by = {label for each in around if isinstance(each, Aggregation) for label in each.labels}
        assert by | {matcher.label for matcher in part.matchers} <= has, panel["title"]


@every
def test_what_is_chosen_at_the_top_reaches_every_series(board):
    chosen = {v["name"] for v in board["templating"]["list"] if v["type"] == "query"}
    assert {"namespace", "service"} <= chosen
    for panel, part, _ in selectors(board):
        if part.name in EXPORTERS:  # of hosts, which no service has for itself
            continue
        read = {matcher.value.strip("$") for matcher in part.matchers}
        assert "service" in read, (panel["title"], part.name)
        if part.name.startswith("vllm:"):
            assert chosen - {"run"} <= read, (panel["title"], part.name)
        if part.name.startswith("deployctl_loadtest_"):
            # Told by a Pushgateway or a host: in no namespace of the service's.
            assert read - {"run", "service"} <= {
                m.value for m in part.matchers if m.operator in ("=", "!=")
            }
            assert "run" in read, (panel["title"], part.name)


@every
def test_every_variable_is_there_and_used(board):
    there = [variable["name"] for variable in board["templating"]["list"]]
    text = json.dumps(board)
    used = set(re.findall(r"\$\{?(\w+)", text)) - GRAFANAS
    assert used == set(there)
    assert len(set(there)) == len(there)
    assert there[0] == "datasource"


@every
def test_a_table_joins_its_queries_to_lines_and_names_their_columns(board):
    for panel in panels(board):
        if panel["type"] != "table":
            assert not panel.get("transformations"), panel["title"]
            continue
        join, organize = panel["transformations"]
        assert not any("disabled" in each for each in (join, organize)), panel["title"]
        assert join["id"] == "joinByField"
        key = join["options"]["byField"]
        for target in panel["targets"]:
            assert re.search(rf"by \((.*, )?{key}\) ", target["expr"]), target["expr"]
        columns = [each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]]
        assert list(organize["options"]["renameByName"].values()) == columns


@every
def test_panels_do_not_overlap(board):
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@every
def test_a_link_to_a_runbook_leads_to_one(board):
    links = [link for panel in panels(board) for link in panel.get("links", ())]
    for link in links:
        page = re.fullmatch(r"\$\{runbooks\}/(\w+)\.md", link["url"])[1]
        assert (ROOT / "docs" / "runbooks" / f"{page}.md").is_file()
        assert link["title"] == page


@every
def test_events_are_shown_in_it(board):
    shown = {one["name"]: one["target"]["tags"][:2] for one in board["annotations"]["list"]}
    assert shown == {
        "Releases": ["deployctl", "release"],
        "Rollbacks": ["deployctl", "rollback"],
        "Load tests": ["deployctl", "loadtest"],
        "Tuning trials": ["deployctl", "trial"],
    }


def test_check_finds_nothing_in_them():
    texts = {f"{name}.json": json.dumps(board) for name, board in BOARDS.items()}
    notes = check_texts(texts, Options()).findings
    # That speculation is not every engine's: the section says so.
    assert {f.code for f in notes} <= {"metric-conditional"}
    assert all("vllm:spec_decode_" in f.message for f in notes)


def test_an_alert_that_fired_leads_to_its_runbook():
    [shown] = [p for p in panels(BOARDS["service"]) if p["title"] == "Alerts over time"]
    [link] = shown["fieldConfig"]["defaults"]["links"]
    assert link["url"] == "${runbooks}/${__field.labels.alertname}.md"
    [target] = shown["targets"]
    assert "by (alertname, alertstate)" in target["expr"]


def test_the_names_of_exporters_are_read_from_a_source():
    for group in assets.table("deploy", "engines", "metrics-exporters.yaml").values():
        assert re.search(r"\b[0-9a-f]{7}\b", group["source"])
        assert {entry["t"] for entry in group["metrics"].values()} <= {"gauge", "counter"}


def test_golden_signals_and_objectives_are_on_one_screen():
    first = next(p["gridPos"]["y"] for p in BOARDS["service"]["panels"] if p["type"] == "row")
    assert first <= 24  # rows of 38 pixels on a screen of 1080, under Grafana's bar
    shown = {p["title"] for p in BOARDS["service"]["panels"] if p["gridPos"]["y"] < first}
    assert {"Requests", "Errors", "Time to first token", "KV cache", "Budget burn, 1 hour"} <= shown


def test_the_line_of_the_kv_cache_is_where_the_alert_begins():
    (full,) = [
        rule["expr"]
        for group in rule_groups(Scope("a", exported.newest(), ()), Objectives())
        for rule in group["rules"]
        if rule.get("alert") == "VllmKvCacheFull"
    ]
    lines = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
        for board in BOARDS.values()
        for panel in panels(board)
        if "the line is where the alert begins" in panel["description"]
    }
    assert len(lines) == 3
    lines["Headroom in the KV cache"] = 1 - lines["Headroom in the KV cache"]
    assert all(f" > {line:g} and " in full for line in lines.values())
