"""Has a checkpoint's files downloaded where an engine will look for them: starts the program that
does it, tells how far it is, and says in our words what goes wrong.
"""

import json
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from deployctl.errors import (
    DeployctlError,
    HubError,
    InterruptedByUserError,
    ModelError,
    TargetError,
)
from deployctl.events import Event, Tell
from deployctl.hub.listing import Listing
from deployctl.units import duration, size

_MODULES = ("place", "download", "answer")  # in the order of their imports
_END_S = 5.0  # for the program to end when it is told to
_AGAIN = "what has come is kept: run it again, and it goes on from there"
# Runs modules that come as text, under the names by which they know each other.
_BOOT = """\
import json, sys, types
told = json.loads(sys.stdin.readline())
for name, text in told["modules"].items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
sys.modules[name].main(told["job"])
"""


@dataclass(frozen=True)
class FetchProgress:
    """How far a download is."""

    done: int  # bytes, what had come before included
    total: int
    per_s: float  # bytes a second since it was begun; 0 where that is not known yet


@dataclass(frozen=True)
class Transferred:
    """A checkpoint that is there, whole and checked."""

    path: str  # in the words of the machine where it is
    downloaded: int  # bytes that came now


@dataclass(frozen=True)
class Request:
    """What is to be where. The token is never shown."""

    listing: Listing
    endpoint: str
    token: str | None
    revision: str | None = None  # as the user says it: the branch that the cache then knows
    folder: Path | None = None  # instead of the cache
    offline: bool = False  # look, and ask nobody

    def job(self) -> dict[str, Any]:
        """What the program is told."""
        return {
            "model": self.listing.model,
            "commit": self.listing.commit,
            "revision": self.revision,
            "endpoint": self.endpoint,
            "token": self.token,
            "folder": str(self.folder) if self.folder else None,
            "offline": self.offline,
            "files": [asdict(file) for file in self.listing.files],
        }


def transfer(
    request: Request, python: Sequence[str], environment: Mapping[str, str], tell: Tell
) -> Transferred:
    """Downloads what is missing, with the Python that `python` starts: the engine's own.

    Raises:
        HubError: the Hub refuses, fails or cannot be reached, or sends what is wrong.
        ModelError: what the Hub listed is not there any more.
        TargetError: no room, no permission, or a Python that cannot do it.
        InterruptedByUserError: Ctrl-C. What has come is kept.
    """
    folder = Path(__file__).with_name("program")
    modules = {
        f"deployctl.hub.program.{name}": (folder / f"{name}.py").read_text(encoding="utf-8")
        for name in _MODULES
    }
    words = [*python, "-P", "-B", "-c", _BOOT]
    try:
        with _started(words, environment) as (child, said):
            assert child.stdin is not None
            assert child.stdout is not None
            with suppress(BrokenPipeError):
                child.stdin.write(json.dumps({"modules": modules, "job": request.job()}) + "\n")
                child.stdin.close()
            for text in child.stdout:
                line = _read(text)
                if line.get("event") == "done":
                    return Transferred(str(line["path"]), int(line["downloaded"]))
                if line.get("event") == "error":
                    raise _error(line, request)
                _show(line, request, tell)
            child.wait()
    except KeyboardInterrupt as error:
        raise InterruptedByUserError(
            f"interrupted while {request.listing.model} was fetched", hint=_AGAIN
        ) from error
    why = said[-1] if said else f"exit code {child.returncode}"
    raise TargetError(
        f"the download ended without a word: {why}",
        where=words[0],
        hint=_AGAIN,
    )


@contextmanager
def _started(
    words: Sequence[str], environment: Mapping[str, str]
) -> "Iterator[tuple[subprocess.Popen[str], deque[str]]]":
    """A program, with the last lines of what it says on stderr; it is ended with the block.

    In a session of its own, so that a Ctrl-C reaches us alone.
    """
    try:
        child = subprocess.Popen(
            list(words),
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise TargetError(f"cannot run {words[0]}: {error.strerror}", where=words[0]) from error
    said: deque[str] = deque(maxlen=20)
    stream = child.stderr
    assert stream is not None
    reader = Thread(target=lambda: said.extend(line.rstrip() for line in stream), daemon=True)
    reader.start()
    try:
        with child:
            try:
                yield child, said
            finally:
                if child.poll() is None:
                    child.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        child.wait(_END_S)
                    child.kill()
    finally:
        reader.join(_END_S)


def _read(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}  # an image may greet
    return line if isinstance(line, dict) else {}


def _show(line: dict[str, Any], request: Request, tell: Tell) -> None:
    model, event = request.listing.model, line.get("event")
    if event == "note":
        tell(Event("warning", str(line["text"])))
    elif event == "plan" and line["files"]:
        there = request.listing.size - line["need"]
        more = f", {size(there)} are there" if there else ""
        tell(Event("phase", f"fetching {size(line['need'])} of {model}{more}"))
    elif event == "progress":
        now = FetchProgress(line["done"], line["total"], line["per_s"])
        text = f"{size(now.done)} of {size(now.total)}"
        if now.per_s > 0:
            left = duration((now.total - now.done) / now.per_s)
            text += f" · {size(now.per_s)}/s · {left} left"
        tell(Event("progress", text, now))


def _error(line: dict[str, Any], request: Request) -> DeployctlError:
    """What the program's last line means."""
    kind, model = line["kind"], request.listing.model
    file = f"{model}/{line.get('file', '')}".rstrip("/")
    if kind == "http":
        import httpx

        from deployctl.hub.refusals import refusal

        response = httpx.Response(line["status"], headers=line["headers"])
        error = refusal(response, f"{request.endpoint}/{model}", with_token=bool(request.token))
        error.hint = "; ".join(filter(None, [error.hint, _AGAIN]))
        return error
    if kind in ("network", "timeout", "proxy"):
        from deployctl.hub.refusals import unreachable

        message = "the Hub did not answer in time" if kind == "timeout" else "the Hub was lost"
        if kind == "proxy":
            message = "the proxy does not let us through to the Hub"
        lost = unreachable(f"{message}: {line['text']}", request.endpoint)
        lost.hint = f"{_AGAIN}; {lost.hint}"
        return lost
    return _of_files(kind, line, file)


def _of_files(kind: str, line: dict[str, Any], file: str) -> DeployctlError:
    path = str(line.get("path", ""))
    if kind == "room":
        return TargetError(
            f"no room on the disk: {size(line['need'])} are to come and {size(line['free'])} are "
            f"free, {size(line['need'] - line['free'])} too little",
            where=path,
            hint="free some, or have the cache elsewhere (HF_HOME); nothing was downloaded",
        )
    if kind == "full":
        return TargetError("the disk is full", where=path, hint=f"free some; {_AGAIN}")
    if kind == "denied":
        return TargetError(
            "the cache may not be written", where=path, hint="check its owner, or set HF_HOME"
        )
    if kind == "missing":
        names = line["files"]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return ModelError(
            f"offline, and {names[0]}{more} is not there, or not whole",
            where=path,
            hint="run deployctl fetch once with the network",
        )
    if kind == "digest":
        return HubError(
            "what came is not what the Hub lists: its digest is another",
            where=file,
            hint="it is thrown away; try again, and if it stays so, another mirror (HF_ENDPOINT)",
        )
    if kind == "mirror":
        return HubError(
            "neither the list of files nor the file itself says its digest",
            where=file,
            hint="this mirror cannot be checked; name another in HF_ENDPOINT",
        )
    if kind == "python":
        return TargetError(
            f"the engine's Python has no huggingface_hub: {line['text']}",
            hint="use an image of vLLM's own",
        )
    return TargetError(str(line.get("text", kind)), where=file, hint=_AGAIN)
