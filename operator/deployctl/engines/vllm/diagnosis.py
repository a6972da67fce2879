"""Why vLLM failed, from its log: the cause in plain words, and the lines worth showing."""

import re
from collections.abc import Sequence
from typing import NamedTuple


class Diagnosis(NamedTuple):
    """An engine's failure in plain words."""

    message: str
    hint: str
    line: str = ""  # the engine's own words


_FAILURES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"No available memory for the cache blocks"),
        "the weights leave no memory for the KV cache",
        "lower max_num_batched_tokens or max_num_seqs, raise gpu_memory_utilization, or use "
        "more GPUs",
    ),
    (
        re.compile(r"To serve at least one request with the models?'s max seq len"),
        "the KV cache is too small for one request of the full context",
        "lower max_model_len, or give the KV cache more memory",
    ),
    (
        re.compile(r"Free memory on device.*less than desired GPU memory utilization"),
        "something else holds memory on the GPU",
        "free the GPU (nvidia-smi lists who uses it) or lower gpu_memory_utilization",
    ),
    (
        re.compile(r"CUDA out of memory|torch\.OutOfMemoryError"),
        "the GPU ran out of memory",
        "lower gpu_memory_utilization, max_num_seqs or max_num_batched_tokens",
    ),
    (
        re.compile(r"is greater than the derived max_model_len"),
        "max_model_len is beyond what the model was trained for",
        "lower max_model_len to the model's own context",
    ),
    (
        re.compile(r"Total number of attention heads .* must be divisible by tensor parallel"),
        "the attention heads do not divide by the tensor-parallel size",
        "choose a tensor_parallel_size that divides the number of heads",
    ),
    (
        re.compile(r"unrecognized arguments?: (.*)"),
        "this vLLM does not know the argument {0}",
        "check the flag against the engine version (deployctl plan does)",
    ),
    (
        re.compile(
            r"SafetensorError|HeaderTooLarge|InvalidHeaderDeserialization|MetadataIncomplete"
        ),
        "a weights file is damaged or cut short",
        "fetch the checkpoint again",
    ),
    (
        re.compile(r"[Aa]ddress already in use"),
        "another program listens on the port",
        "choose another port with --port",
    ),
    (
        re.compile(r"GatedRepoError|401 Client Error|403 Client Error"),
        "the Hub refuses the download",
        "accept the model's terms on the Hub and give a token in HF_TOKEN",
    ),
    (
        re.compile(r"No space left on device"),
        "the disk is full",
        "free space where models and caches are kept",
    ),
    (
        re.compile(r"oom-kill|DefaultCPUAllocator: can't allocate memory|^MemoryError"),
        "the machine ran out of memory",
        "lower max_model_len or kv_cache_gib, or free memory",
    ),
    (
        re.compile(
            r"Available memory on node .* is less than|Not enough (?:available )?memory on node"
        ),
        "the machine has less free memory than the KV cache and the weights need",
        "lower kv_cache_gib, or free memory",
    ),
    (
        re.compile(r"Model architectures? \[?(.*?)\]? (?:are|is) not supported"),
        "this vLLM does not know the architecture {0}",
        "choose a newer release with --engine-version, or another checkpoint",
    ),
    (
        re.compile(
            r"(?:torch\.bfloat16|bfloat16|float16) is not supported for quantization method (\w+)"
        ),
        "the {0} kernel does not take this dtype",
        "choose the other 16-bit type with --dtype float16 or --dtype bfloat16",
    ),
    (
        re.compile(r"The NVIDIA driver on your system is too old|no NVIDIA driver"),
        "the NVIDIA driver is missing or too old for this vLLM",
        "deployctl doctor says which driver is needed",
    ),
    (
        re.compile(r"contains custom code which must be executed|trust_remote_code=True"),
        "the checkpoint wants to run its own code",
        "read that code, then allow it with --trust-remote-code",
    ),
    (
        re.compile(r"ModuleNotFoundError: No module named 'vllm'"),
        "vLLM is not installed in this Python environment",
        "pip install 'deployctl[cpu]' (or deployctl[vllm] on a GPU machine)",
    ),
    (
        # A pydantic ValidationError names the class; what is wrong is a line below it.
        re.compile(r"\bValue error, (.+?)(?: \[type=|$)"),
        "vLLM refuses a setting: {0}",
        "change that setting",
    ),
)
# "(Worker pid=1) ERROR 11-24 08:17:05 [core.py:1510] " before what is said
_PREFIX = re.compile(r"^(?:\([^)]*\)\s)?(?:[A-Z]+ \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?")
_ERROR = re.compile(r"(?:[\w.]*(?:Error|Exception|Interrupt))(?::|$)")
# Errors that only say that another process of the engine failed.
_ECHOES = re.compile(
    r"Engine core initialization failed|Worker failed with error|WorkerProc initialization failed|"
    r"EngineDeadError|Engine process failed to start"
)
_NOISE = re.compile(
    r"\s|$|Traceback \(most|During handling|The above exception|nanobind:|See https?://|"
    r".*resource_tracker|\^+$|\[rank\d+\]:\s*$"
)


def diagnose(lines: Sequence[str]) -> Diagnosis | None:
    """Finds the cause of a failure in the engine's last lines, oldest first."""
    for pattern, message, hint in _FAILURES:
        for line in lines:
            found = pattern.search(line)
            if found:
                return Diagnosis(message.format(*found.groups()), hint, _said(line))
    errors = [said for said in map(_said, lines) if _ERROR.match(said)]
    causes = [said for said in errors if not _ECHOES.search(said)] or errors
    if not causes:
        return None
    return Diagnosis(causes[-1], "the engine's log has the whole story", causes[-1])


def telling(lines: Sequence[str], count: int) -> list[str]:
    """The last `count` lines that tell something: no frames of tracebacks, no noise at exit."""
    return [line for line in lines if not _NOISE.match(_said(line))][-count:]


def _said(line: str) -> str:
    """What a line says, without the process, level, time and source before it."""
    return _PREFIX.sub("", line, count=1)
