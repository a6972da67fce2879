"""What facts mean to a person: quantization in words, and remarks on what needs care. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from deployctl import assets
from deployctl.model import tables
from deployctl.model.facts import ModelFacts, Quantization

SERVERS = {
    "gguf": "llama.cpp or Ollama",
    "onnx": "ONNX Runtime or Triton",
    "unknown": "no known engine",
}

# The only files in which vLLM looks for the method by itself.
DECLARED_IN = ("config.json", "hf_quant_config.json")


class Remark(NamedTuple):
    """Something that needs care. `code` is stable; `blocks` says that it is not served so."""

    code: str
    message: str
    fix: str
    blocks: bool = False


def remark(code: str, **values: str) -> Remark:
    """The remark of a code, in the words of deploy/engines/remarks.yaml, with its values."""
    known = assets.table("deploy", "engines", "remarks.yaml")[code]
    message, fix = known["message"].format(**values), known["fix"].format(**values)
    return Remark(code, message, fix, known.get("blocks", False))


def describe(quantization: Quantization | None) -> str:
    """A quantization in one sentence, e.g. `awq, 4 bits, groups of 128: weights in …`."""
    if quantization is None:
        return "none: weights as they were trained"
    parts = [quantization.method]
    if quantization.packing and quantization.packing.lower() != quantization.method:
        parts[0] += f" ({quantization.packing})"
    if quantization.bits:
        parts.append(f"{quantization.bits} bits")
    if quantization.group_size == -1:
        parts.append("one scale a column")
    elif quantization.group_size:
        parts.append(f"groups of {quantization.group_size}")
    if quantization.act_order:
        parts.append("act-order")
    if quantization.symmetric is not None:
        parts.append("symmetric" if quantization.symmetric else "asymmetric")
    if quantization.zero_point:
        parts.append("zero points")
    known = tables.METHODS.get(quantization.method, {})
    return f"{', '.join(parts)}: {known.get('meaning', 'an unknown method')}"


def remarks(facts: ModelFacts) -> list[Remark]:
    """What needs care; what keeps it from being served comes first."""
    every = [*_formats(facts), *_methods(facts), *_access(facts)]
    return sorted(every, key=lambda r: not r.blocks)


def served(facts: ModelFacts) -> bool:
    """Whether the pinned vLLM serves it as it is, given the flags that the remarks name."""
    return facts.engine == "vllm" and not any(r.blocks for r in remarks(facts))


def _formats(facts: ModelFacts) -> Iterator[Remark]:
    if facts.engine != "vllm":
        fix = "take a checkpoint in safetensors, AWQ or GPTQ for instance"
        what = f"vLLM does not serve {facts.format.upper()}; {SERVERS[facts.format]} does"
        if facts.format == "unknown":
            what = "there are no weights in a known format"
        yield Remark("format", what, fix, blocks=True)
    elif facts.architecture is None:
        yield remark("not_a_language_model")
    if facts.pickle:
        yield remark("pickle")


def _methods(facts: ModelFacts) -> Iterator[Remark]:
    quantization = facts.quantization
    if facts.engine != "vllm":
        return
    if quantization is None:
        if facts.packed:
            yield remark("quantization_undeclared")
        return
    method, file = quantization.method, quantization.file
    known = tables.METHODS.get(method, {"served": False})
    absent = [
        names[0]
        for names in known.get("requires", ())
        if not any(name in quantization.raw for name in names)
    ]
    if absent:
        yield remark("quantization_incomplete", file=file, absent=" and ".join(absent))
    if not known.get("served", True):
        yield remark("quantization_unknown", method=method)
    if known.get("deprecated"):
        yield remark("quantization_deprecated", method=method)
    if quantization.act_order:
        yield remark("act_order")
    if file not in DECLARED_IN:
        yield remark("quantization_file", file=file, method=method)


def _access(facts: ModelFacts) -> Iterator[Remark]:
    if facts.remote_code:
        yield remark("remote_code")
    if facts.gated:
        yield remark("gated")
    if facts.chat_template is False:
        yield remark("chat_template")
