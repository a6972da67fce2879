"""Looks at the port, the Hub and the Hub token. The token itself never leaves this module."""

import re
import socket
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path

from deployctl.doctor.facts import Hub
from deployctl.doctor.shell import bounded
from deployctl.hub import DEFAULT_ENDPOINT

HUB_TIMEOUT_S = 6.0
_Answer = tuple[int | None, str | None, float | None]  # status, error, clock skew in seconds


def ask_port(port: int, host: str = "127.0.0.1") -> tuple[bool | None, str | None]:
    """Tries to listen on the port for a moment. Returns whether it is free, else why not."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except PermissionError:
        return False, "this user may not listen there"
    except OSError as error:
        return False, error.strerror or str(error)
    return True, None


def ask_hub(environ: Mapping[str, str], home: Path | None = None) -> Hub:
    """Asks the Hub for its front page's headers, and looks at the shape of the token."""
    source, problem = token_shape(environ, home or Path.home())
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Hub(offline=True, token_source=source, token_problem=problem)
    endpoint = environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    nothing: _Answer = (None, f"no answer in {HUB_TIMEOUT_S:.0f} s", None)
    status, error, skew = bounded(lambda: _head(endpoint), HUB_TIMEOUT_S, nothing)
    return Hub(False, endpoint, status, error, skew, source, problem)


def _head(endpoint: str) -> _Answer:
    from datetime import UTC, datetime

    import httpx

    try:
        answer = httpx.head(endpoint, timeout=HUB_TIMEOUT_S - 1, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return None, str(error) or type(error).__name__, None
    skew = None
    if "date" in answer.headers:
        try:
            theirs = parsedate_to_datetime(answer.headers["date"])
            skew = (datetime.now(UTC) - theirs).total_seconds()
        except (ValueError, TypeError):
            skew = None
    return answer.status_code, None, skew


def token_shape(environ: Mapping[str, str], home: Path) -> tuple[str | None, str | None]:
    """Says where a Hub token was found and what is wrong with it, without showing it."""
    token, source = environ.get("HF_TOKEN"), "HF_TOKEN"
    if token is None:
        cache = Path(environ.get("HF_HOME") or home / ".cache" / "huggingface").expanduser()
        file = Path(environ.get("HF_TOKEN_PATH") or cache / "token").expanduser()
        try:
            with file.open(encoding="utf-8", errors="replace") as stream:
                token, source = stream.read(4096), str(file)
        except OSError:
            return None, None
    if not token.strip():
        return source, "it is empty"
    if re.search(r"\s", token.strip()):
        return source, "it holds blanks or several lines"
    if not re.fullmatch(r"hf_[A-Za-z0-9_]{20,}", token.strip()):
        return source, "it does not look like hf_ and 34 letters and digits"
    return source, None
