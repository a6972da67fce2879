"""A case: one real start-up, what was asked for and what vLLM logged."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.data import read_text

from deployctl.errors import DeployctlError
from deployctl.hardware import GpuProfile, load_profile
from deployctl.model import Documents, ModelFacts, facts_from
from deployctl.planning.settings import Sharding, resolve
from deployctl.spec import ServiceSpec

HERE = Path(__file__).parent
# Flags of a case that are settings of ours; `other` is prose.
_SETTINGS = (
    "max_model_len",
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
    "kv_cache_dtype",
    "dtype",
    "enforce_eager",
)
# Sources from which the planner's fitted constants were taken. The others were held back: no
# constant was set from them. The case file is a sample that its readers have seen whole.
FITTED = (
    "llm-d-incubation/llm-d-planner",
    "llm-d/llm-d-benchmark",
    "public GitHub notes (vLLM vs ollama benchmark)",
    "public blog source file (saiyam-pathak",
    "public GitHub README (GKE snapshot benchmark",
    "public GitHub file (Korean hands-on notes",
    "public blog source file (jinwoong",
    "public GitHub file (Lab 1",
)

# Cases are added in rounds. The sealed ones of this one are out of sight; those of the rounds
# before it were reported once and then opened.
ROUND = 6
PARTS = (
    "fitted",
    "held_out",
    *(f"round_{n}_{kind}" for n in range(1, ROUND + 1) for kind in ("open", "sealed")),
)


@dataclass(frozen=True)
class Case:
    """One line of a case file."""

    raw: dict[str, Any]

    @property
    def id(self) -> str:
        """Its name."""
        return str(self.raw["id"])

    @property
    def version(self) -> str | None:
        """The engine's version, where the source says it and it is a release."""
        text = self.raw.get("vllm_version")
        return text if isinstance(text, str) and text[:1].isdigit() and "dev" not in text else None

    @property
    def modern(self) -> bool:
        """Whether it is known to be the engine that planning describes: 0.8 and newer."""
        if self.version is not None:
            numbers = [int(n) for n in self.version.split(".")[:2] if n.isdigit()]
            return numbers >= [0, 8] and self.raw.get("engine_era") != "v0"
        return self.raw.get("engine_era") == "v1"

    @property
    def fitted(self) -> bool:
        """Whether a constant was taken from its source."""
        return str(self.raw.get("source", "")).startswith(FITTED)

    @property
    def part(self) -> str:
        """Whence it is: `fitted`, `held_out`, or the round that added it and how."""
        if "round" in self.raw:
            kind = "sealed" if self.raw["sealed"] else "open"
            return f"round_{self.raw['round']}_{kind}"
        return "fitted" if self.fitted else "held_out"

    @property
    def hidden(self) -> bool:
        """Whether it is out of sight: sealed, in the round under way."""
        return bool(self.raw.get("sealed")) and self.raw["round"] == ROUND

    @property
    def observed(self) -> dict[str, Any]:
        """What vLLM logged."""
        return dict(self.raw["observed"])

    @property
    def served(self) -> bool:
        """Whether it started."""
        return bool(self.observed["outcome"] == "served")

    @property
    def native(self) -> bool:
        """Whether nothing but the engine and the card's own driver decides what is free: not so
        under WSL2, where Windows manages the card's memory and its desktop has a part of it."""
        return self.raw.get("host") != "wsl2"

    @property
    def warm(self) -> bool:
        """Whether the log shows that the compile cache was found; else it is a first start."""
        return self.raw.get("compile_cache") == "warm"

    @cached_property
    def profile(self) -> GpuProfile:
        """The card, with the memory that the case gives."""
        profile = load_profile(self.raw["gpu_profile"])
        return profile.model_copy(update={"memory_gib": float(self.raw["gpu_total_gib"])})

    @cached_property
    def facts(self) -> ModelFacts:
        """The checkpoint: its config.json, and its image processor's limit where a case has it.

        Raises:
            DeployctlError: the config cannot be read.
        """
        return facts_from(
            Documents(
                source=f"/{self.id}",
                local=True,
                config=dict(self.raw["config"]),
                image_processor=self.raw.get("image_processor"),
            )
        )

    @cached_property
    def spec(self) -> ServiceSpec:
        """The wish, in our words."""
        flags = self.raw.get("flags") or {}
        settings = {name: flags[name] for name in _SETTINGS if flags.get(name) is not None}
        if self.facts.architecture is not None:
            # Whoever named no context had the model's own, where the planner would choose.
            own = self.facts.architecture.max_position_embeddings
            settings.setdefault("max_model_len", own)
        arguments = dict(self.raw.get("engine_args") or {})
        explicit = self.raw.get("flags_explicit") or ()
        if flags.get("quantization") and "quantization" in explicit:
            arguments["quantization"] = flags["quantization"]
        tensor = int(self.raw.get("tensor_parallel_size") or 1)
        pipeline = int(self.raw.get("pipeline_parallel_size") or 1)
        return ServiceSpec.model_validate(
            {
                **settings,
                "model": f"/{self.id}",
                "gpu": self.raw["gpu_profile"],
                "gpus": max(int(self.raw.get("gpu_count") or 1), tensor * pipeline),
                "tensor_parallel_size": tensor,
                "pipeline_parallel_size": pipeline,
                "trust_remote_code": True,
                "engine_version": self.version,
                # What the log says that others held of the card when the engine looked.
                "gpu_memory_held_gib": self.raw.get("held_gib"),
                "engine_args": arguments,
                # Set by the user, or what the log says amounts to one.
                "env": dict(self.raw.get("environment") or {}),
            }
        )


def alike(case: Case) -> str:
    """The same for starts of the same checkpoint, card and engine with equal flags.

    Flags are equal where the engine's settings are. The name of a dtype aside: memory depends on
    its width alone.
    """
    facts, profile = case.facts, case.profile
    sharding = Sharding(case.spec.tensor_parallel_size or 1, case.spec.pipeline_parallel_size or 1)
    settings = resolve(case.spec, facts, profile, sharding)
    same = replace(settings, dtype=str(settings.dtype_bytes), held=0.0)
    return repr((case.raw["config"], profile.name, round(profile.memory_gib, 1), same))


def read(path: Path) -> list[Case]:
    """Reads a case file, one JSON object a line; it may be compressed (`.gz`).

    Raises:
        DeployctlError: a line is no case.
    """
    cases = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            cases.append(Case(json.loads(line)))
        except ValueError as error:
            raise DeployctlError(f"not a case: {error}", where=f"{path}:{number}") from error
    return cases
