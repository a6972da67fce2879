"""This host, as far as it decides what a study measures; and what else runs on it."""

from deployctl import host
from deployctl.doctor.detect import ask_gpus
from deployctl.errors import TargetError
from deployctl.events import Event, Tell
from deployctl.operations.deploy.services import open_store
from deployctl.operations.tuned import this_hardware
from deployctl.planning.plan import ServingPlan
from deployctl.targets import open_driver
from deployctl.tuning.plans import Plans, bench_name
from deployctl.tuning.recommendation import Fingerprint


def fingerprint(plans: Plans, baseline: ServingPlan) -> Fingerprint:
    """What this machine is, as far as it decides what is measured."""
    memory = host.memory()
    target = plans.base.target or "process"
    driver = None
    if plans.profile.kind == "cuda":
        cards = ask_gpus(thorough=False).cards
        driver = next((card.driver for card in cards if card.driver), None)
    return Fingerprint(
        hardware=this_hardware(plans.profile, plans.base.gpus),
        cores=host.cores(),
        memory_gib=round(memory.total_gib if memory else 0.0, 1),
        driver=driver,
        target=target,
        engine_version=baseline.engine.version,
        image=baseline.engine.image if target == "docker" else None,
    )


def check_not_running(service: str, tell: Tell) -> None:
    """Makes sure that the service is not running: there is room for one engine, not for two.

    Warns of other services on this machine: they take from what is measured.

    Raises:
        TargetError: it runs.
    """
    settings, store = open_store()
    for ref in store.services():
        if ref.service == bench_name(service):
            continue  # what a tune left behind is ended at the first start
        try:
            live = [r for r in store.releases(ref) if r.status in ("pending", "deployed")]
            driver = open_driver(ref.kind, settings) if live else None
            runs = driver is not None and any(
                driver.state(release).condition == "running" for release in live
            )
        except TargetError as error:
            tell(Event("warning", f"whether {ref.service} runs is not known: {error.message}"))
            continue
        if not runs:
            continue
        if ref.service == service:
            raise TargetError(
                f"{service} is running, and the engine under trial needs its place",
                where=f"target {ref.kind}",
                hint=f"deployctl down {service}, tune, and deployctl up again (--tuned); or tune "
                "on another machine of the same kind",
            )
        text = f"{ref.service} is running here too, and takes from what is measured"
        tell(Event("warning", text))
