"""A dashboard of panels: its variables, and what happened meanwhile.

Panels fill a line of 24 from the left, then the next one.
"""

from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models
from scripts.dashboards.panels import BAD, SOURCE, Panel
from scripts.dashboards.queries import FLEET, NEWEST, WHERE

from deployctl.engines.vllm.series import Series
from deployctl.promql import write


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


def asked(name: str, label: str, query: str, all_of: bool = True) -> dashboard.QueryVariable:
    """A choice of what a query finds."""
    made = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.sort(models.VariableSort.ALPHABETICAL_ASC)
    if all_of:
        # Without the label, too: there is no namespace on a host. A service there always is.
        made.include_all(True).all_value(".+" if name == "service" else ".*").multi(True)
        made.current(models.VariableOption(text="All", value="$__all", selected=True))
    return made


def variables(one_service: bool, replicas: bool) -> tuple[Any, ...]:
    """What is chosen at the top: where the figures are, and of what."""
    seen = "vllm:num_requests_running"
    services = write(Series(NEWEST, WHERE[0]).gauge(seen))
    here = write(FLEET.gauge(seen))
    found = [
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        asked("namespace", "Namespace", f"label_values({seen}, namespace)"),
        asked("service", "Service", f"label_values({services}, service)", all_of=not one_service),
    ]
    if replicas:
        found += [
            asked("model", "Model", f"label_values({here}, model_name)"),
            asked("replica", "Replica", f"label_values({here}, instance)"),
        ]
    return tuple(found)


def constant(name: str, value: str, description: str) -> dashboard.ConstantVariable:
    """A value that queries or links use, which `render` sets for a service."""
    return dashboard.ConstantVariable(name).value(value).description(description)


def textbox(name: str, label: str, value: str) -> dashboard.TextBoxVariable:
    """A value that who looks may change."""
    return dashboard.TextBoxVariable(name).label(label).default_value(value)


RUNBOOKS = constant("runbooks", "docs/runbooks", "Where docs/runbooks is published")


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
