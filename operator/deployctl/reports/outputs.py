"""What a step of a pipeline hands to the next: a verdict, a line, and what a verb answered.

One `name=value` a line, as GitHub Actions reads them from the file of `$GITHUB_OUTPUT`. GitLab
takes such lines as a dotenv report, of 5 KiB at most: `json` is longer. No value has a second line.
"""

import json
from collections.abc import Iterator
from typing import Any

from deployctl.errors import DeployctlError
from deployctl_loadtest.foreign import message

MOST_JSON = 512 * 1024  # bytes; GitHub takes 1 MiB of a job's outputs, each character as two bytes
_VERDICTS = {0: "good", 1: "bug", 2: "bad-input", 3: "refused", 4: "failed", 5: "slo-missed"}
_INTERRUPTED = "interrupted"


def outputs(code: int, answer: Any, error: DeployctlError | None) -> str:
    """The lines. `code`: the exit code; `answer`: the JSON document, None where there is none."""
    document = answer if isinstance(answer, dict) else {}
    verdict = _VERDICTS.get(code, _INTERRUPTED)
    found = {
        "verdict": verdict,
        "summary": message(error.message if error else str(_first(document, "summary") or verdict)),
        "url": _first(document, "url"),
        "revision": _first(document, "revision"),
    }
    lines = [f"{name}={message(str(value or ''))}" for name, value in found.items()]
    text = "" if answer is None else json.dumps(answer, separators=(",", ":"), sort_keys=True)
    lines.append(f"json={text if len(text) <= MOST_JSON else ''}")
    return "\n".join(lines) + "\n"


def _first(document: dict[str, Any], name: str) -> Any:
    """A field of the answer, else of the first of its services that has it."""
    for place in _places(document):
        if isinstance(value := place.get(name), str | int):
            return value
    return None


def _places(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield document
    services = document.get("services")
    if isinstance(services, list):
        yield from (each for each in services if isinstance(each, dict))
