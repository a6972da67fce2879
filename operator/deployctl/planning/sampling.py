"""How the engine samples where a request does not say, and who said so. Pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from deployctl.engines.vllm.versions import at_least
from deployctl.model import ModelFacts

# ModelConfig.get_diff_sampling_param of vLLM's config/model.py, and the first release that has
# each: what of generation_config.json, or in its place, becomes a default.
_SINCE = {
    "temperature": "0.8.5",
    "top_p": "0.8.5",
    "top_k": "0.8.5",
    "min_p": "0.8.5",
    "repetition_penalty": "0.8.5",
    "presence_penalty": "0.31.0",
    "frequency_penalty": "0.31.0",
    "max_new_tokens": "0.8.5",
}
_LIMIT = "max_new_tokens"
# From this release on a request may ask for more (get_max_tokens).
_LIMIT_YIELDS = "0.17.0"
FILE = "generation_config.json"


class Sampling(NamedTuple):
    """The defaults by their names in generation_config.json, and what is said of them."""

    defaults: dict[str, float]
    notes: tuple[str, ...] = ()


def sampling(
    facts: ModelFacts, arguments: Mapping[str, Any], version: str, because: str
) -> Sampling:
    """What requests get that do not say, under these engine arguments (by Python's names).

    `because` is why the file is not read, where the arguments say so.
    """
    source = str(arguments.get("generation_config") or "auto")
    own = _numbers(facts.generation, version)
    given = _numbers(_object(arguments.get("override_generation_config")), version)
    defaults = {**(own if source == "auto" else {}), **given}
    return Sampling(
        {name: defaults[name] for name in _SINCE if name in defaults},
        tuple(_notes(source, own, given, version, because)),
    )


def _notes(
    source: str,
    own: Mapping[str, float],
    given: Mapping[str, float],
    version: str,
    because: str,
) -> Iterable[str]:
    kept = {name: value for name, value in own.items() if name not in given}
    read = source == "auto"
    said = [f"{_listed(kept)} ({FILE})"] if read and kept else []
    said += [f"{_listed(given)} (as asked)"] if given else []
    if not read:
        plain = "vLLM's own sampling" if source == "vllm" else f"what {source} says"
        instead = f", not {_listed(own)} of {FILE}" if own else ""
        said.append(f"{'otherwise ' if given else ''}{plain}{instead}, {because}")
    if said:
        yield f"Where a request does not say: {'; '.join(said)}."
    limit = given.get(_LIMIT, own.get(_LIMIT) if read else None)
    if limit is not None and not at_least(version, _LIMIT_YIELDS):
        yield f"No request gets more than {limit:g} tokens: vLLM {version} holds all to {_LIMIT}."


def _numbers(document: Mapping[str, Any], version: str) -> dict[str, float]:
    return {
        name: document[name]
        for name, since in _SINCE.items()
        if at_least(version, since)
        and isinstance(document.get(name), int | float)
        and not isinstance(document[name], bool)
    }


def _object(value: Any) -> dict[str, Any]:
    """JSON as an engine argument has it; what is none is the engine's to refuse."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
