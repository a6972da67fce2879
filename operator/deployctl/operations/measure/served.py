"""Asks an OpenAI-compatible server what it serves."""

from typing import NamedTuple

from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, TargetError


class Served(NamedTuple):
    """A model that a server lists."""

    id: str
    owner: str  # "vllm" for vLLM

    @property
    def is_vllm(self) -> bool:
        """Whether vLLM's own request fields can be sent."""
        return self.owner == "vllm"


def models(endpoint: Endpoint, *, timeout: float = 10.0) -> list[Served]:
    """Lists what the server serves; nothing if it has no such list. `timeout` is in seconds.

    Raises:
        TargetError: no answer, or not the list that was asked for.
    """
    import httpx

    where = f"{endpoint.url}/v1/models"
    try:
        with httpx.Client(timeout=timeout, trust_env=False, verify=endpoint.trust()) as client:
            response = client.get(where, headers=endpoint.sent())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TargetError(
            f"the server does not answer: {error or type(error).__name__}",
            where=where,
            hint=_unreachable(endpoint),
        ) from error
    if response.status_code in (401, 403):
        raise TargetError(
            f"the server refuses the API key (HTTP {response.status_code})"
            if endpoint.api_key
            else f"the server wants an API key (HTTP {response.status_code})",
            where=where,
            hint="give --api-key-file, or set DEPLOYCTL_API_KEY",
        )
    if response.status_code == 404 and endpoint.model is not None:
        return []  # a gateway may leave the list out; the name is known anyway
    try:
        document = response.json()
        found = [Served(str(m["id"]), str(m.get("owned_by"))) for m in document["data"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TargetError(
            f"the answer is no list of models (HTTP {response.status_code})",
            where=where,
            hint="is this the address of an OpenAI-compatible server?",
        ) from error
    return found


def choose(endpoint: Endpoint, found: list[Served]) -> Served:
    """The model to ask for: the endpoint's own, or the only one served.

    Raises:
        InputError: the server does not serve it, or serves several.
    """
    names = ", ".join(model.id for model in found) or "nothing"
    if endpoint.model is not None:
        if not found:
            return Served(endpoint.model, "unknown")
        for model in found:
            if model.id == endpoint.model:
                return model
        raise InputError(
            f"the server does not serve {endpoint.model!r}",
            where=endpoint.url,
            hint=f"it serves {names}",
        )
    # An adapter or alias is listed beside its base, which comes first; do not guess among them.
    if len(found) != 1:
        raise InputError(
            f"the server serves {len(found)} models", where=endpoint.url, hint=f"--model: {names}"
        )
    return found[0]


def _unreachable(endpoint: Endpoint) -> str:
    if endpoint.service:
        return f"deployctl status says whether {endpoint.service} runs"
    return "check the address, and that the server runs"
