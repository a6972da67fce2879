"""What dashboards of ours are made of: variables, annotations, panels, and whose series they read.

A panel is 24 wide at most; panels fill a line from the left, then the next one. Every panel says in
its description what it shows and from where on it is bad.
"""

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

from deployctl.engines.vllm import exported
from deployctl.engines.vllm.series import Series
from deployctl.promql import Expression, FunctionCall, LabelMatcher, Selector, write
from deployctl.promql.write import quantile, rate, total

NEWEST = exported.newest()
WINDOW = "$__rate_interval"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
WHERE = (
    LabelMatcher("namespace", "=~", "$namespace"),
    LabelMatcher("service", "=~", "$service"),
)
_REPLICA = LabelMatcher("instance", "=~", "$replica")
FLEET = Series(NEWEST, *WHERE)
BESIDE = Series(NEWEST, *WHERE, _REPLICA)
# What is beside the engine's own series has no model.
ENGINE = Series(NEWEST, *WHERE, LabelMatcher("model_name", "=~", "$model"), _REPLICA)
GOOD, POOR, BAD, NEUTRAL = "green", "orange", "red", "text"
Steps = Sequence[tuple[float, str]]
Panel = Any  # a builder of the SDK, which has no common class for panels


@dataclass(frozen=True)
class Query:
    """A query and what its series are called."""

    expression: Expression
    legend: str = ""
    instant: bool = False


def recorded(name: str) -> Selector:
    """A series that the service's rules record."""
    return Selector(f"deployctl:{name}", (LabelMatcher("service", "=~", "$service"),))


def firing(*matchers: LabelMatcher) -> Selector:
    """Prometheus' own series of alerts."""
    return Selector("ALERTS", (LabelMatcher("service", "=~", "$service"), *matchers))


def quantiles(metric: str) -> tuple[Query, ...]:
    """The median and the tail of a latency."""
    buckets = ENGINE.buckets(metric)
    return tuple(
        Query(quantile(share, buckets, WINDOW), f"p{100 * share:g}") for share in (0.5, 0.95, 0.99)
    )


def objective(name: str) -> Query:
    """A latency's limit, a line: `NaN`, which draws nothing, where none is promised."""
    return Query(FunctionCall("vector", (Selector(f"${name}_objective"),)), "objective")


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
    wide: int = 3,
    high: int = 4,
) -> Panel:
    """What it is now, a number for each query, in the colour of its step."""
    panel = _common(stat.Panel(), title, description, unit, alerts)
    panel.span(wide).height(high).no_value(none)
    panel.thresholds(_thresholds(steps, base if steps else NEUTRAL))
    panel.graph_mode(kinds.BigValueGraphMode.NONE).color_mode(kinds.BigValueColorMode.VALUE)
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
    """What was so, and when: a line a series, coloured while it is 1."""
    panel = _common(statetimeline.Panel(), title, description, "bool_yes_no", ())
    panel.span(wide).height(high).no_value("none").thresholds(_thresholds([(1, BAD)], GOOD))
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    panel.show_value(kinds.VisibilityMode.NEVER)
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
    panel.with_transformation(models.DataTransformerConfig("joinByField", {"byField": key}))
    organized: dict[str, object] = {
        "excludeByName": {"Time": True, **{f"Time {n + 1}": True for n in range(len(columns))}},
        "renameByName": {old: new for old, new in renamed.items() if new},
    }
    panel.with_transformation(models.DataTransformerConfig("organize", organized))
    targets = [_target(Query(c.expression, "", True), at) for at, c in enumerate(columns)]
    return panel.targets([t.format(PromQueryFormat.TABLE) for t in targets])


@dataclass(frozen=True)
class Section:
    """Panels under a heading; without a title they stand first."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    name: str
    title: str
    description: str
    sections: tuple[Section, ...]
    constants: tuple[Any, ...] = ()
    one_service: bool = True
    replicas: bool = True

    def build(self) -> models.Dashboard:
        """As Grafana's model has it, each panel with an id of its own."""
        board = dashboard.Dashboard(self.title).uid(f"deployctl-{self.name}")
        board.description(f"{self.description} Queries are those of vLLM {NEWEST}.")
        board.tags(["deployctl"]).editable().refresh("30s").time("now-3h", "now")
        board.tooltip(models.DashboardCursorSync.CROSSHAIR).timezone("browser")
        board.variables([*variables(self.one_service, self.replicas), *self.constants])
        board.annotations(annotations(*(["$service"] if self.one_service else [])))
        board.link(
            dashboard.DashboardLink("Dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["deployctl"])
            .include_vars(True)
            .keep_time(True)
        )
        for section in self.sections:
            if section.title:
                board.with_row(dashboard.Row(section.title))
            for panel in section.panels:
                board.with_panel(panel)
        made = board.build()
        for at, panel in enumerate(made.panels or (), 1):
            panel.id_val = at
        return made


def _asked(name: str, label: str, query: str, all_of: bool = True) -> dashboard.QueryVariable:
    made = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.sort(models.VariableSort.ALPHABETICAL_ASC)
    if all_of:
        made.include_all(True).all_value(".*").multi(True)
        made.current(models.VariableOption(text="All", value="$__all", selected=True))
    return made


def variables(one_service: bool, replicas: bool) -> tuple[Any, ...]:
    """What is chosen at the top: where the figures are, and of what."""
    seen = "vllm:num_requests_running"
    services = write(Series(NEWEST, WHERE[0]).gauge(seen))
    here = write(FLEET.gauge(seen))
    found = [
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        _asked("namespace", "Namespace", f"label_values({seen}, namespace)"),
        _asked("service", "Service", f"label_values({services}, service)", all_of=not one_service),
    ]
    if replicas:
        found += [
            _asked("model", "Model", f"label_values({here}, model_name)"),
            _asked("replica", "Replica", f"label_values({here}, instance)"),
        ]
    return tuple(found)


def constant(name: str, value: str, description: str) -> dashboard.ConstantVariable:
    """A value that queries or links use, which `render` sets for a service."""
    return dashboard.ConstantVariable(name).value(value).description(description)


def annotations(*more: str) -> list[dashboard.AnnotationQuery]:
    """What happened, as Grafana is told of it by tags: `deployctl`, what it was, the service."""
    grafana = models.DataSourceRef(type_val="grafana", uid="-- Grafana --")
    found = []
    for name, tag, color in (
        ("Releases", "release", "blue"),
        ("Rollbacks", "rollback", BAD),
        ("Load tests", "loadtest", "purple"),
        ("Tuning trials", "trial", "yellow"),
    ):
        target = dashboard.AnnotationTarget().type("tags").limit(100).match_any(False)
        target.tags(["deployctl", tag, *more])
        query = dashboard.AnnotationQuery().name(name).datasource(grafana).target(target)
        found.append(query.enable(True).icon_color(color))
    return found
