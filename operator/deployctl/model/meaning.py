"""What facts mean to a person: quantization in words, and remarks on what needs care. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

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


UNDECLARED = Remark(
    "quantization_undeclared",
    "the weights are packed, but neither config.json nor a quantizer's file describes how",
    "take the publisher's quantization_config or quantize_config.json",
    blocks=True,
)


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
    return sorted(every, key=lambda remark: not remark.blocks)


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
        yield Remark(
            "not_a_language_model",
            "config.json describes no language model",
            "give a checkpoint of a decoder",
            blocks=True,
        )
    if facts.pickle:
        yield Remark(
            "pickle",
            "the weights are pickles, which can run any code when loaded",
            "take a safetensors revision, or pass --allow-pickle if you trust its author",
        )


def _methods(facts: ModelFacts) -> Iterator[Remark]:
    quantization = facts.quantization
    if facts.engine != "vllm":
        return
    if quantization is None:
        if facts.packed:
            yield UNDECLARED
        return
    method = quantization.method
    known = tables.METHODS.get(method, {"served": False})
    absent = [
        names[0]
        for names in known.get("requires", ())
        if not any(name in quantization.raw for name in names)
    ]
    if absent:
        yield Remark(
            "quantization_incomplete",
            f"{quantization.file} does not say {' and '.join(absent)}, which vLLM needs",
            "add what the quantizer was told, or take the publisher's file",
            blocks=True,
        )
    if not known.get("served", True):
        yield Remark(
            "quantization_unknown",
            f"vLLM 0.32 has no quantization method {method}",
            "take an AWQ, GPTQ or FP8 checkpoint of the same model",
            blocks=True,
        )
    if known.get("deprecated"):
        yield Remark(
            "quantization_deprecated",
            f"vLLM is about to drop {method}",
            "--engine-arg allow_deprecated_quantization=true for now",
        )
    if quantization.act_order:
        yield Remark(
            "act_order",
            "act-order makes the kernel look up each row's group, and ties all of them "
            "together under tensor parallelism",
            "a checkpoint without desc_act is faster",
        )
    if quantization.file not in DECLARED_IN:
        yield Remark(
            "quantization_file",
            f"only {quantization.file} says how it is quantized; vLLM looks in config.json",
            f"--engine-arg quantization={method}",
        )


def _access(facts: ModelFacts) -> Iterator[Remark]:
    if facts.remote_code:
        yield Remark(
            "remote_code",
            "only the checkpoint's own Python can read it",
            "read that code, then pass --trust-remote-code",
        )
    if facts.gated:
        yield Remark(
            "gated",
            "the repository is gated: whoever downloads needs access and a token",
            "set HF_TOKEN or --hf-token-file where it runs",
        )
    if facts.chat_template is False:
        yield Remark(
            "chat_template",
            "there is no chat template: /v1/chat/completions will refuse",
            "use /v1/completions, or give one with --engine-arg chat_template=FILE",
        )
