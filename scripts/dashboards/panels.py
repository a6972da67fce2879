"""Panels: each says in its description what it shows, and from where on it is bad."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from scripts.dashboards.queries import WINDOW, Query

from deployctl.promql import Expression, Selector, write
from deployctl.promql.write import rate, total

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GOOD, POOR, BAD, NEUTRAL = "green", "orange", "red", "text"
Steps = Sequence[tuple[float, str]]
Panel = Any  # a builder of the SDK, which has no common class for panels


def _common(panel: Panel, title: str, description: str, unit: str, alerts: Sequence[str]) -> Panel:
    links = [
        dashboard.DashboardLink(alert)
        .type(models.DashboardLinkType.LINK)
        .url(f"${{runbooks}}/{alert}.md")
        .target_blank(True)
        for alert in alerts
    ]
    panel.title(title).description(description).unit(unit).datasource(SOURCE)
    return panel.links(links) if links else panel


def _target(query: Query, letter: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(write(query.expression)).ref_id(chr(ord("A") + letter))
    target.datasource(SOURCE)
    if query.legend:
        target.legend_format(query.legend)
    return target.instant() if query.instant else target.range()


def _thresholds(steps: Steps, base: str) -> dashboard.ThresholdsConfig:
    found = [models.Threshold(value=None, color=base)]
    found += [models.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    alerts: Sequence[str] = (),
    steps: Steps = (),
    stacked: bool = False,
    most: float | None = None,
    wide: int = 8,
    high: int = 7,
) -> Panel:
    """Lines over time; a step is a dashed line from where on it is bad."""
    panel = _common(timeseries.Panel(), title, description, unit, alerts)
    panel.span(wide).height(high).min(0).line_width(1).fill_opacity(8)
    panel.show_points(kinds.VisibilityMode.NEVER).span_nulls(False)
    panel.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .placement(kinds.LegendPlacement.BOTTOM)
        .display_mode(kinds.LegendDisplayMode.LIST)
    )
    panel.tooltip(
        common.VizTooltipOptions()
        .mode(kinds.TooltipDisplayMode.MULTI)
        .sort(kinds.SortOrder.DESCENDING)
    )
    if most is not None:
        panel.max(most)
    elif unit == "percentunit":
        panel.axis_soft_max(0.05)  # or none at all would be drawn below 10000%
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL)).fill_opacity(30)
    if steps:
        panel.thresholds(_thresholds(steps, "transparent"))
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        )
    if any(query.legend == "objective" for query in queries):
        panel.override_by_name(
            "objective",
            [
                models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": BAD}),
                models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
                models.DynamicConfigValue("custom.fillOpacity", 0),
            ],
        )
    return panel.targets([_target(query, at) for at, query in enumerate(queries)])


def figure(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Steps = (),
    base: str = GOOD,
    alerts: Sequence[str] = (),
    none: str = "no data",
    decimals: int | None = None,
    wide: int = 3,
    high: int = 4,
) -> Panel:
    """What it is now, a number for each query, in the colour of its step."""
    panel = _common(stat.Panel(), title, description, unit, alerts)
    panel.span(wide).height(high).no_value(none)
    panel.thresholds(_thresholds(steps, base if steps else NEUTRAL))
    panel.graph_mode(kinds.BigValueGraphMode.NONE).color_mode(kinds.BigValueColorMode.VALUE)
    if decimals is not None:
        panel.decimals(decimals)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.targets([_target(query, at) for at, query in enumerate(queries)])


def heat(title: str, description: str, unit: str, buckets: Selector, wide: int = 8) -> Panel:
    """A histogram over time: how many observations of a second fell into each bucket."""
    panel = _common(heatmap.Panel(), title, description, "reqps", ())
    panel.span(wide).height(8).calculate(False).cell_gap(1).hide_y_histogram()
    panel.y_axis(heatmap.YAxisConfig().unit(unit))
    panel.color(
        heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    )
    target = _target(Query(total(rate(buckets, WINDOW), "le"), "{{le}}"), 0)
    return panel.targets([target.format(PromQueryFormat.HEATMAP)])


def states(title: str, description: str, *queries: Query, wide: int = 24, high: int = 6) -> Panel:
    """Alerts, and when: a line a series, coloured while it is 1, which leads to its runbook."""
    panel = _common(statetimeline.Panel(), title, description, "bool_yes_no", ())
    panel.span(wide).height(high).no_value("none").thresholds(_thresholds([(1, BAD)], GOOD))
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    panel.show_value(kinds.VisibilityMode.NEVER)
    runbook = dashboard.DashboardLink("Runbook").type(models.DashboardLinkType.LINK)
    panel.data_links([runbook.url("${runbooks}/${__field.labels.alertname}.md").target_blank(True)])
    return panel.targets([_target(query, at) for at, query in enumerate(queries)])


@dataclass(frozen=True)
class Column:
    """A column of a table: a query that gives a value for each row."""

    title: str
    unit: str
    expression: Expression
    steps: Steps = ()


def rows(
    title: str,
    description: str,
    key: str,
    *columns: Column,
    alerts: Sequence[str] = (),
    wide: int = 24,
    high: int = 8,
) -> Panel:
    """A table: a line for each value of the label `key`, which every query keeps."""
    panel = _common(table.Panel(), title, description, "short", alerts)
    panel.span(wide).height(high).no_value("–")
    renamed = {"Time": ""}
    for at, column in enumerate(columns):
        letter = chr(ord("A") + at)
        # One query of several gives `Value #A`; of a single one just `Value`.
        value = f"Value #{letter}" if len(columns) > 1 else "Value"
        renamed[value] = column.title
        properties = [models.DynamicConfigValue("unit", column.unit)]
        if column.steps:
            steps = _thresholds(column.steps, GOOD).build()
            properties += [
                models.DynamicConfigValue("thresholds", steps),
                models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ]
        panel.override_by_name(column.title, properties)
    join = models.DataTransformerConfig("joinByField", options={"byField": key, "mode": "outer"})
    panel.with_transformation(join)
    organized: dict[str, object] = {
        "excludeByName": {"Time": True, **{f"Time {n + 1}": True for n in range(len(columns))}},
        "renameByName": {old: new for old, new in renamed.items() if new},
    }
    panel.with_transformation(models.DataTransformerConfig("organize", options=organized))
    targets = [_target(Query(c.expression, "", True), at) for at, c in enumerate(columns)]
    return panel.targets([t.format(PromQueryFormat.TABLE) for t in targets])
