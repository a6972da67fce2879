"""What the Hub's refusals and silences mean, in our words."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from deployctl.endpoint import without_credentials
from deployctl.errors import DeployctlError, HubError, ModelError
from deployctl_loadtest import foreign

# By the Hub's X-Error-Code: what is missing, and what to do.
_MISSING = {
    "RevisionNotFound": ("the Hub has no such revision", "look at its branches and tags"),
    "EntryNotFound": ("the Hub has no such file", "the checkpoint changed"),
}


def refusal(response: httpx.Response, where: str, *, with_token: bool) -> DeployctlError:
    """What the Hub's answer, no success, means to whoever asked for `where`."""
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    if status == 429:
        return HubError(
            "the Hub asks for fewer requests",
            where=where,
            hint=f"wait{_retry_after_text(response)} and try again"
            + ("" if with_token else "; with HF_TOKEN set the limit is higher"),
        )
    if code in _MISSING:
        message, hint = _MISSING[code]
        return ModelError(message, where=where, hint=hint)
    said = response.headers.get("X-Error-Message", "").lower()
    if code == "GatedRepo" or (status == 403 and "gated" in said):
        return HubError(
            "the model is gated, and access has not been granted",
            where=where,
            hint=f"ask for access on {where}, then "
            + ("use the token of that account" if with_token else "set HF_TOKEN"),
        )
    if status == 404 or code == "RepoNotFound":
        return ModelError(
            "the Hub has no such model, or it is private",
            where=where,
            hint="check the spelling" + ("" if with_token else "; if private, set HF_TOKEN"),
        )
    if status in (401, 403):
        return HubError(
            f"the Hub refuses access (HTTP {status})",
            where=where,
            hint="the token may be expired or may not read this repository"
            if with_token
            else "set HF_TOKEN to a token that may read it",
        )
    return HubError(
        f"the Hub answered HTTP {status}", where=where, hint="try again later; see its status"
    )


def from_error(error: Exception, endpoint: str) -> HubError:
    """What an exception of httpx means."""
    if isinstance(error, httpx.UnsupportedProtocol):
        return HubError(
            f"the Hub is not asked further: {_plain(error)}",
            where=endpoint,
            hint="name another address in HF_ENDPOINT, or give a local folder",
        )
    if isinstance(error, httpx.TimeoutException):
        message = "the Hub did not answer in time"
    elif isinstance(error, httpx.TooManyRedirects):
        message = "the Hub redirects endlessly"
    elif "certificate" in str(error).lower():
        message = "the Hub's certificate is not trusted"
    else:
        message = f"the Hub cannot be reached: {_plain(error)}"
    return unreachable(message, endpoint)


def unreachable(message: str, endpoint: str) -> HubError:
    """No answer came. Which proxy the way leads through is said, without its password."""
    proxy = getproxies().get(urlsplit(endpoint).scheme)
    way = ""
    if proxy and not proxy_bypass(urlsplit(endpoint).hostname or ""):
        way = f" through the proxy {proxy.rpartition('@')[2].removeprefix('http://')}"
    return HubError(
        message,
        where=endpoint + way,
        hint="check the network and proxy (HTTPS_PROXY), name a mirror in HF_ENDPOINT, "
        "or give a local folder",
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `Retry-After` or from the Hub's `RateLimit: …;t=seconds`."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        match = re.search(r";\s*t=(\d{1,6})", headers.get("RateLimit", ""))
        text = match[1] if match else ""
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text) else None


def _retry_after_text(response: httpx.Response) -> str:
    asked = retry_after(response.headers)
    return f" {asked:.0f} s" if asked is not None else " a little"


def _plain(error: Exception) -> str:
    text = foreign.message(without_credentials(str(error)))
    return re.sub(r"^\[[^]]*\]\s*", "", text).strip() or type(error).__name__
