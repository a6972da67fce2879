"""Plans: the spec and the plan of each configuration, before anything runs. Pure."""

from dataclasses import dataclass, field

from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning.estimates import BOOT_S, DOWNLOAD_BYTES_S, STARTUP_MARGIN
from deployctl.planning.make import make_plan
from deployctl.planning.plan import ServingPlan
from deployctl.planning.settings import fold
from deployctl.render.gateway import NO_GATEWAY
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.tuning.overlay import replaced
from deployctl.tuning.trial import Configuration, Failure, Prior

# A roofline needs no price, but the plan gives it together with one.
_ANY_PRICE = 1.0
# Of a core, in decoding: vLLM 0.32 with a 135M model gave 42 tokens/s to four streams on two
# cores, and 435 to sixteen with one of 7M.
CPU_FLOPS = 4e9
SUFFIX = "-tune"
_LONGEST = 40  # characters of a service's name


def configured(spec: ServiceSpec, configuration: Configuration) -> ServiceSpec:
    """The spec with these settings in the place of its own.

    One engine serves on the targets that are tuned, so that there is one replica.
    """
    spec, _ = fold(spec)
    return spec.model_copy(update={**replaced(spec, configuration.settings), "replicas": 1})


def bench_name(service: str) -> str:
    """The name that engines under trial run under: the service itself is left alone."""
    return service[: _LONGEST - len(SUFFIX)].rstrip("-") + SUFFIX


def candidate(spec: ServiceSpec, configuration: Configuration, *, port: int) -> ServiceSpec:
    """The spec with a configuration's settings, under the bench's name and port."""
    return configured(spec, configuration).model_copy(
        update={
            "name": bench_name(spec.service),
            "port": port,
            # A process is asked over loopback. A Docker engine may be on another host.
            "expose": spec.expose and spec.target == "docker",
            **NO_GATEWAY,
        }
    )


def refusal(plan: ServingPlan) -> str | None:
    """Why a plan cannot run; None where it can."""
    if plan.verdict == "fits":
        return None
    return "; ".join(reason.message for reason in plan.reasons) or plan.verdict


@dataclass
class Plans:
    """The plans of a space, made once each. `request_tokens`: of a typical prompt and answer."""

    base: ServiceSpec  # target settled; of one replica
    facts: ModelFacts
    profile: GpuProfile
    request_tokens: float
    cores: int = 1  # of this host
    checkpoint: str = ""  # the digest of a folder that is sent to another host
    _plans: dict[Configuration, ServingPlan] = field(default_factory=dict, init=False)

    @property
    def target(self) -> TargetKind:
        """Where engines under trial run."""
        assert self.base.target is not None, "prepare settles it"
        return self.base.target

    def plan(self, configuration: Configuration) -> ServingPlan:
        """What would run."""
        if configuration not in self._plans:
            priced = self.profile
            if priced.price_per_hour_usd is None:
                priced = priced.model_copy(update={"price_per_hour_usd": _ANY_PRICE})
            wish = configured(self.base, configuration)
            made = make_plan(wish, self.facts, priced, advise=False)
            self._plans[configuration] = made
        return self._plans[configuration]

    def candidate(
        self, configuration: Configuration, *, port: int
    ) -> tuple[ServiceSpec, ServingPlan]:
        """The spec of an engine under trial, and its plan."""
        spec = candidate(self.base, configuration, port=port)
        plan = make_plan(spec, self.facts, self.profile)
        return spec, plan.model_copy(update={"checkpoint": self.checkpoint})

    def refused(self, configuration: Configuration) -> Failure | None:
        """Why it cannot run, by the plan; None where it can."""
        reason = refusal(self.plan(configuration))
        return None if reason is None else Failure("refused_by_plan", reason, 0.0)

    def prior(self, configuration: Configuration) -> Prior:
        """What the plan expects of it."""
        plan = self.plan(configuration)
        cuda = self.profile.kind == "cuda"
        # On a CPU the bandwidth's roofline is far above what is reached.
        cost, memory = plan.cost if cuda else None, plan.memory
        return Prior(
            concurrency=memory.kv_cache_tokens / max(1.0, self.request_tokens)
            if memory
            else plan.max_concurrency or None,
            decode_tokens_s=cost.decode_tokens_s if cost else None if cuda else self._on_a_cpu(),
            prefill_tokens_s=cost.prefill_tokens_s if cost else None,
            # The budget is the slow end, with a margin, and a cold start.
            startup_s=max(BOOT_S, plan.startup_budget_s / STARTUP_MARGIN - self._download_s()) / 2,
        )

    def _download_s(self) -> float:
        """What the budget of a start has for a download, which trials do not make."""
        stored = 0 if self.facts.local else self.facts.weight_bytes or 0
        return stored / DOWNLOAD_BYTES_S

    def _on_a_cpu(self) -> float | None:
        """Tokens a second of a small batch, whatever the settings."""
        parameters = self.facts.parameters
        return CPU_FLOPS * self.cores / (2 * parameters) if parameters else None
