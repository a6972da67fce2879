"""Values of the door before the engine: its routes, and what a request may ask for."""

from typing import Annotated

from pydantic import Field

from deployctl.engines.vllm import DEFAULT_VERSION, routes
from deployctl.render.values.base import Section

_DEFAULT = routes.access(DEFAULT_VERSION, ("generate",))
_MOST = 10**12

Route = Annotated[
    str, Field(pattern=r"^[A-Z]{3,7} (/([A-Za-z0-9_.-]+|\{[a-z_]+\}))+$", max_length=200)
]
Most = Annotated[int, Field(ge=1, le=_MOST)]


class DoorRoutes(Section):
    """Who may ask what, as METHOD /path; all else is let in by nobody."""

    user: list[Route] = Field(
        list(_DEFAULT.user),
        max_length=200,
        description="With an API key: the routes of the model's task. [default: a generating "
        "model's]",
    )
    operator: list[Route] = Field(
        list(_DEFAULT.operator), max_length=200, description="With the operator's token alone."
    )


class RequestLimits(Section):
    """The most that one request may ask for; more is refused before the engine sees it."""

    bytes: Most = Field(32 << 20, description="Of the body.")
    seconds: float = Field(30.0, gt=0, le=86400, description="For the whole body to come in.")
    depth: Most = Field(64, description="Of arrays and objects within each other.")
    # Not called n, which YAML 1.1 reads as false.
    choices: Most = Field(16, description="n and best_of.")
    tokens: int = Field(
        0, ge=0, le=_MOST, description="max_tokens and the like; 0: the engine's own limit."
    )
    logprobs: Most = Field(20, description="Of a token.")
    prompts: Most = Field(256, description="Of one request: prompts, inputs or documents.")


class DoorSection(Section):
    """The door before every engine: who may ask what, and how much."""

    routes: DoorRoutes = Field(DoorRoutes(), description=DoorRoutes.__doc__)
    request_log: bool = Field(
        False, description="A line of JSON a request in the engine's log; never a prompt."
    )
    tell_request_id: bool = Field(
        False, description="Tell the engine the id that a request has here, for its traces."
    )
    limits: RequestLimits = Field(RequestLimits(), description=RequestLimits.__doc__)
