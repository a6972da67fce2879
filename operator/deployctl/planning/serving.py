"""Serving as a model's author meant it: which parsers take tool calls and reasoning out of its
text, by which chat template, with which sampling; and why. Pure.

What the user says of any of it stands: a parser's name, or `none`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from deployctl.engines.vllm import flags, parsers
from deployctl.engines.vllm.versions import at_least
from deployctl.errors import Reason, did_you_mean
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning import families
from deployctl.planning.families import ENGINE, Family, Match
from deployctl.planning.plan import Serving
from deployctl.planning.sampling import sampling
from deployctl.planning.settings import EngineSettings
from deployctl.spec import ServiceSpec

NONE = "none"
AUTO = "enable_auto_tool_choice"
_TOOLS, _REASONING = parsers.FLAGS["tool"], parsers.FLAGS["reasoning"]
_COMMON = ("hermes", "llama3_json", "pythonic")  # in every release; the rest is one family's each
# From this release on the engine takes Mistral's tokenizer by itself (tokenizers/registry.py).
_FINDS_MISTRAL = "0.16.0"


class Choice(NamedTuple):
    """What was chosen: for the plan, as arguments of the engine, and in words."""

    serving: Serving
    arguments: dict[str, Any]  # by the names of Python, besides the user's own
    notes: tuple[str, ...] = ()
    warnings: tuple[Reason, ...] = ()


class _Tools(NamedTuple):
    """A tool parser or none, and the template that it needs; the reason goes after `because`."""

    parser: str | None
    because: str
    template: str | None = None
    template_why: str = ""


def declined(name: str, value: Any) -> bool:
    """Whether an engine argument says that there shall be no parser; vLLM has no such word."""
    return name.strip("-").replace("-", "_") in (_TOOLS, _REASONING) and str(value) == NONE


def refusals(settings: EngineSettings) -> Iterable[Reason]:
    """Refuses a parser that the release does not have, unless a plugin may bring it."""
    for kind, flag in parsers.FLAGS.items():
        given = settings.rest.get(flag)
        plugin = settings.rest.get(f"{kind}_parser_plugin")
        if not given or str(given) == NONE or plugin or not flags.known(settings.version):
            continue
        there = parsers.names(kind, settings.version)
        if str(given) not in there:
            plain = flag.replace("_", "-")
            near = did_you_mean(str(given), there)
            yield Reason(
                "wrong_flag_value",
                f"vLLM {settings.version} has no {kind} parser {given!r}",
                near or f"--engine-arg {plain}=NAME takes {', '.join(there)}; {NONE} for none",
            )


def choose(
    spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, settings: EngineSettings
) -> Choice:
    """Chooses parsers, template and what goes with them for a model that generates text."""
    rest, version = settings.rest, settings.version
    match = families.match(facts)
    tools = _tools(spec, facts, profile, settings, match)
    reasoning, why_reasoning = _reasoning(facts, settings, match)
    arguments: dict[str, Any] = {}
    if tools.parser:
        arguments |= {AUTO: True, _TOOLS: tools.parser, "chat_template": tools.template}
    if reasoning:
        # Up to 0.8 the parser alone did nothing.
        old = not at_least(version, "0.9.0") and flags.flag("enable-reasoning", version)
        arguments |= {"enable_reasoning": True} if old else {}
        arguments[_REASONING] = reasoning
    if match and (tools.parser or reasoning):
        arguments |= dict(match.family.arguments)
    because = "as asked"
    if match and "generation_config" not in rest:
        because = f"because {match.evidence} is of {match.family.title}"
    sampled = sampling(facts, {**arguments, **rest}, version, because)
    state = _state(facts, rest, tools, match)
    serving = Serving(
        tool_calls=state,
        tool_parser=tools.parser,
        reasoning_parser=reasoning,
        sampling=sampled.defaults,
    )
    passed = {name: value for name, value in arguments.items() if name not in rest and value}
    return Choice(
        serving,
        passed,
        (
            *_notes(tools, reasoning, why_reasoning),
            *_recommended(match, passed),
            *sampled.notes,
        ),
        (_unparsed(tools, settings),) if state == "text" else (),
    )


def _tools(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    settings: EngineSettings,
    match: Match | None,
) -> _Tools:
    rest, family = settings.rest, match.family if match else None
    given = rest.get(_TOOLS)
    if given == NONE or rest.get(AUTO) is False:
        return _Tools(None, "as asked")
    if given:
        return _Tools(str(given), "as asked")
    if family and family.without:
        return _Tools(None, family.without)
    template, why, known = _template(spec, facts, profile, settings, family)
    if not known:
        return _Tools(None, why)
    form = families.written(facts) if template is None and "chat_template" not in rest else None
    wanted = family.tools if family else ()
    because = f"{match.evidence} is of {match.family.title}" if match else ""
    if form and not set(wanted) & set(form.parsers) and (wanted or form.alone):
        # The template is what the model was tuned with; a name may be its ancestor's.
        wanted = form.parsers[:1] if form.alone else ()
        because = f"its chat template writes calls with {form.text}"
    elif form and wanted:
        wanted = tuple(name for name in wanted if name in form.parsers)
    if not wanted:
        known = facts.template_tools or match is not None
        return _Tools(None, "no parser of vLLM is known to read its calls" if known else "")
    parser = parsers.first("tool", wanted, settings.version)
    if parser is None:
        names = " or ".join(wanted)
        return _Tools(None, f"{because}, and vLLM {settings.version} has no parser {names}")
    return _Tools(parser, because, template, why)


def _template(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    settings: EngineSettings,
    family: Family | None,
) -> tuple[str | None, str, bool]:
    """vLLM's template where the checkpoint's own knows no tools; why; whether any knows them."""
    own = facts.template_tools or facts.mistral_tokenizer
    if "chat_template" in settings.rest or own or (family and family.template == ENGINE):
        return None, "", True
    named = family.template if family else None
    lacking = "its chat template knows no tools"
    if facts.chat_template is False:
        lacking = "it has no chat template"
    elif facts.template is None and named is None:
        return None, "", True  # nobody has looked
    elif facts.template is None:
        lacking = "its chat template was not read"
    if named is None:
        return None, lacking, False
    why = f"{lacking}; vLLM's own {named} knows tools"
    there = families.in_image(named, settings.version) if profile.kind == "cuda" else None
    if there is None or spec.image or spec.target == "process" or (family and family.offered):
        where = f" (in vLLM's image: {there})" if there else " (examples/ of vLLM's repository)"
        return None, f"{why}{where}: give it with --engine-arg chat_template=FILE", False
    return there, why, True


def _reasoning(
    facts: ModelFacts, settings: EngineSettings, match: Match | None
) -> tuple[str | None, str]:
    """The reasoning parser, or none, and why; no reason where nobody would expect one."""
    given = settings.rest.get(_REASONING)
    if given:
        return (None, "as asked") if given == NONE else (str(given), "as asked")
    if match is None or not match.family.reasoning:
        return None, ""
    family = match.family
    because = f"{match.evidence} is of {family.title}"
    own = facts.template if family.template is None else None
    if own is not None and family.thinks not in own.lower():
        return None, "its chat template knows no reasoning"
    mode = settings.rest.get("tokenizer_mode")
    if family.reasoning == ("mistral",) and mode != "mistral":
        found = facts.mistral_tokenizer and at_least(settings.version, _FINDS_MISTRAL)
        if not found or mode not in (None, "auto"):
            return None, "the parser needs Mistral's own tokenizer (--engine-arg tokenizer-mode)"
    parser = parsers.first("reasoning", family.reasoning, settings.version)
    if parser is None:
        names = " or ".join(family.reasoning)
        return None, f"{because}, and vLLM {settings.version} has no parser {names}"
    return parser, because


def _state(
    facts: ModelFacts, rest: Mapping[str, Any], tools: _Tools, match: Match | None
) -> Literal["parsed", "text", "off", "none"]:
    if tools.parser:
        return "parsed"
    if rest.get(_TOOLS) == NONE or rest.get(AUTO) is False:
        return "off"
    chats = match is None or match.family.chats
    return "text" if facts.template_tools and chats else "none"


def _notes(tools: _Tools, reasoning: str | None, why_reasoning: str) -> Iterable[str]:
    def said(what: str, parser: str | None, because: str) -> str:
        link = ", " if because == "as asked" else ", because "
        return f"{what}: {parser or NONE}{link}{because}."

    if tools.because:
        yield said("Tool calls", tools.parser, tools.because)
    if tools.template:
        yield f"The chat template is {tools.template}: {tools.template_why}."
    if why_reasoning:
        yield said("Reasoning", reasoning, why_reasoning)


def _recommended(match: Match | None, passed: Mapping[str, Any]) -> Iterable[str]:
    """Flags that go with the family, besides its parsers; sampling has a line of its own."""
    for name, value in match.family.arguments if match else ():
        if match and name in passed and name != "generation_config":
            flag = f"--{name.replace('_', '-')} {value}"
            yield f"{flag}, because {match.evidence} is of {match.family.title}."


def _unparsed(tools: _Tools, settings: EngineSettings) -> Reason:
    return Reason(
        "tool_calls_unparsed",
        "its chat template knows tools, but a request with tools is refused (HTTP 400): "
        f"{tools.because}",
        "name a parser with --engine-arg tool-call-parser=NAME "
        f"({', '.join(_COMMON)}, …), or say {NONE}",
    )
