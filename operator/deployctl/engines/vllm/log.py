"""What vLLM's log says of its start: the phase it is in. Why it failed is in `diagnosis`."""

import re
from typing import NamedTuple


class Phase(NamedTuple):
    """A stage of the start-up. `key` is stable; `title` is for people."""

    key: str
    title: str


# In the order in which they happen; one line announces at most one. From the log calls of
# vLLM 0.8 to 0.32 (entrypoints/, v1/worker/, compilation/) and from logs of real starts.
_PHASES: tuple[tuple[Phase, re.Pattern[str]], ...] = (
    (
        Phase("configuring", "reading the model's configuration"),
        re.compile(r"vLLM API server version|non-default args:"),
    ),
    (Phase("workers", "starting the workers"), re.compile(r"Initializing an? (V1 )?LLM engine")),
    (
        Phase("downloading", "downloading weights"),
        re.compile(r"Time spent downloading weights|Downloading .*(weights|safetensors)"),
    ),
    (
        Phase("loading", "loading weights"),
        re.compile(
            r"Starting to load model|Loading .*checkpoint shards|Loading model from scratch"
        ),
    ),
    (
        Phase("compiling", "compiling"),
        re.compile(
            r"Starting torch\.compile|Start compiling|for vLLM's torch\.compile|"
            r"Dynamo bytecode transform time|Compiling a graph for|Cache the graph of"
        ),
    ),
    (
        Phase("warming", "warming up"),
        re.compile(
            r"Warming up|GPU KV cache size|CPU KV cache size|Initial profiling/warmup run|"
            r"Capturing (CUDA|cudagraph|the model|model)|Graph capturing"
        ),
    ),
    (
        Phase("serving", "opening the server"),
        re.compile(
            r"Starting vLLM (API )?server (on|\d)|Started server process|"
            r"Application startup complete"
        ),
    ),
)


# v1/engine/core.py logs it when the start-up has failed, and the process should end.
_GIVEN_UP = re.compile(r"EngineCore failed to start")


def given_up(line: str) -> bool:
    """Tells whether a log line says that the start has failed, whatever still runs."""
    return _GIVEN_UP.search(line) is not None


def phase(line: str) -> Phase | None:
    """Tells which phase a log line announces, or None."""
    for found, pattern in reversed(_PHASES):
        if pattern.search(line):
            return found
    return None
