"""`deployctl inspect`: what a checkpoint says of itself, as text or as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl.cli.console import Output
from deployctl.errors import SpecError
from deployctl.units import size

if TYPE_CHECKING:
    from deployctl.model import Architecture, ModelFacts

INSPECT_VERSION = 1
_WIDTH = 14


def command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Folder, .gguf file, or Hub id.", show_default=False),
    ] = None,
    model_option: Annotated[
        str | None,
        typer.Option("--model", envvar="DEPLOYCTL_MODEL", help="The same as MODEL."),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(envvar="DEPLOYCTL_REVISION", help="Branch, tag or commit on the Hub."),
    ] = None,
    hf_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="DEPLOYCTL_HF_TOKEN_FILE",
            help="File that holds the Hub token. HF_TOKEN works too.",
        ),
    ] = None,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="text, or json in a documented format.")
    ] = Output.text,
) -> None:
    """Show what a checkpoint is and which engine serves it.

    Reads config.json, the quantization settings and the headers of the weights,
    never the weights: a model on the Hub is inspected in seconds.

    deployctl inspect Qwen/Qwen2.5-7B-Instruct-AWQ

    deployctl inspect ./my-checkpoint --output json
    """
    from deployctl import hub
    from deployctl.cli.console import answer_json, out
    from deployctl.model import facts_from
    from deployctl.operations.prepare import hub_token

    source = model or model_option
    if not source:
        raise SpecError("a model is required", where="MODEL", hint="give a folder or a Hub id")
    token = hub_token(hf_token_file)
    facts = facts_from(hub.fetch(source, revision=revision, token=token))
    if output is Output.json:
        answer_json(document(facts))
    else:
        out.print(text(facts), markup=False)


def document(facts: "ModelFacts") -> dict[str, Any]:
    """The JSON answer (docs/guides/formats.md). The documents' raw contents are left out."""
    from deployctl.model import meaning

    hidden: Any = {
        "architecture": {"raw", "vision", "audio", "image_pixels"},
        "quantization": {"raw"},
        "template": True,
    }
    return {
        "version": INSPECT_VERSION,
        "served": meaning.served(facts),
        **facts.model_dump(mode="json", exclude=hidden),
        "quantization_meaning": meaning.describe(facts.quantization),
        "remarks": [remark._asdict() for remark in meaning.remarks(facts)],
    }


def text(facts: "ModelFacts") -> str:
    """The answer for a person."""
    from deployctl.model import meaning

    rows = [("model", facts.source), ("revision", facts.revision or "")]
    rows += [
        ("format", _format(facts)),
        ("served by", meaning.SERVERS.get(facts.format, "vLLM")),
    ]
    if facts.quantization is not None or facts.architecture is not None:
        rows.append(("quantization", meaning.describe(facts.quantization)))
    if facts.architecture is not None:
        rows += _architecture(facts.architecture)
    if facts.parameters:
        rows.append(("parameters", count(facts.parameters)))
    if facts.bytes_by_dtype:
        stored = (f"{dtype} {size(held)}" for dtype, held in facts.bytes_by_dtype.items())
        rows.append(("stored as", ", ".join(stored)))
    rows.append(("chat template", _template(facts)))
    if facts.base_models:
        rows.append(("made of", ", ".join(facts.base_models)))
    lines = [f"{name:<{_WIDTH}}{value}" for name, value in rows if value]
    remarks = meaning.remarks(facts)
    if remarks:
        lines.append("")
    for remark in remarks:
        lines.append(f"{'refused' if remark.blocks else 'note'}: {remark.message}")
        lines.append(f"   fix: {remark.fix}")
    return "\n".join([*lines, "", _verdict(facts)])


def _verdict(facts: "ModelFacts") -> str:
    from deployctl.model import meaning

    if not meaning.served(facts):
        return "vLLM does not serve it."
    asked = ["--allow-pickle"] if facts.pickle else []
    asked += ["--trust-remote-code"] if facts.remote_code else []
    return f"vLLM serves it, with {' and '.join(asked)}." if asked else "vLLM serves it."


def _template(facts: "ModelFacts") -> str:
    knows = {True: ", knows tools", False: ", knows no tools", None: ""}[facts.template_tools]
    return {True: f"yes{knows}", False: "no", None: ""}[facts.chat_template]


def _format(facts: "ModelFacts") -> str:
    held = f", {size(facts.weight_bytes)}" if facts.weight_bytes else ""
    return f"{facts.format}{held}"


def _architecture(arch: "Architecture") -> list[tuple[str, str]]:
    name = arch.name or "no class named"
    kind = f" ({arch.model_type})" if arch.model_type and arch.model_type != name else ""
    extra = ", takes more than text" if arch.multimodal else ""
    tied = "the output layer shares them" if arch.tied_embeddings else "with its own output layer"
    rows = [
        ("architecture", f"{name}{kind}{extra}"),
        ("layers", f"{arch.num_layers}, hidden size {arch.hidden_size:,}"),
        ("feed-forward", _forward(arch)),
        ("attention", _attention(arch)),
        ("vocabulary", f"{arch.vocab_size:,} tokens, {tied}"),
        ("context", _context(arch)),
    ]
    if not arch.model_type or arch.model_type != arch.name:
        rows.append(("dtype", arch.dtype))
    return rows


def _forward(arch: "Architecture") -> str:
    if not arch.num_experts:
        return f"{arch.intermediate_size:,}"
    text = f"{arch.experts_per_token} of {arch.num_experts} experts of "
    text += f"{arch.moe_intermediate_size or arch.intermediate_size:,}"
    if arch.shared_expert_size:
        text += f", and {arch.shared_expert_size:,} shared"
    if 0 < arch.moe_layers < arch.num_layers:
        dense = arch.num_layers - arch.moe_layers
        text += f"; {arch.intermediate_size:,} in {dense} dense layers"
    return text


def _attention(arch: "Architecture") -> str:
    if not arch.num_heads:
        return "none"
    if arch.mla:
        return f"{arch.num_heads} heads over a compressed KV of {arch.kv_lora_rank}"
    heads = f"{arch.num_heads} heads, {arch.num_kv_heads} for keys and values, of {arch.head_dim}"
    full = sum(kind == "full_attention" for kind in arch.layer_types)
    if not arch.layer_types:
        return heads
    window = f", the others see {arch.sliding_window:,} tokens" if arch.sliding_window else ""
    return f"{heads}; {full} layers see everything{window}"


def _context(arch: "Architecture") -> str:
    text = f"{arch.max_position_embeddings:,} tokens"
    if 0 < arch.default_model_len < arch.max_position_embeddings:
        text += f" ({arch.default_model_len:,} unless asked for)"
    return text


def count(value: int) -> str:
    """A number of parameters for a person: `135 M`, `7.62 B`."""
    for name, scale in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return str(value)
