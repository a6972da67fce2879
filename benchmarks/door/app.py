"""What uvicorn serves: streams on a schedule, with the door before them or without it.

DOOR_APP says which application streams: `bare`, the least that ASGI allows, `silent`, the same that
tells usage in the stream alone, or `fastapi`, built as vLLM builds its own. DOOR_CONFIGURATION
names the door's configuration; without it there is no door. DOOR_INTERVAL_S are the seconds between
two texts.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
FIRST_S = 0.3  # from the request to the first text, as in benchmarks/fidelity
INTERVAL_S = float(os.environ.get("DOOR_INTERVAL_S", "0.02"))  # between two texts
_CHUNK = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1764000000,
        "model": "demo",
        "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}],
    }
)
EVENT = f"data: {_CHUNK}\n\n".encode()
_USAGE = {"prompt_tokens": 12, "completion_tokens": 64, "total_tokens": 76}
TOLD = f"data: {json.dumps({'choices': [], 'usage': _USAGE})}\n\n".encode()
DONE = b"data: [DONE]\n\n"
TELLS = os.environ.get("DOOR_APP") != "silent"


class Usage:
    """As vLLM's UsageInfo."""

    prompt_tokens, completion_tokens = 12, 64


class Told:
    """As vLLM's RequestResponseMetadata, which it leaves in a request's state."""

    final_usage_info: Usage | None = None


async def engine(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answers with `max_tokens` chunks, and usage if asked for."""
    if scope["type"] == "lifespan":
        for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answer})
        return
    loop = asyncio.get_running_loop()
    begun = loop.time()
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    asked = json.loads(body)
    told = scope.setdefault("state", {})["request_metadata"] = Told()
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(asked["max_tokens"]):
        due = begun + FIRST_S + number * INTERVAL_S
        await asyncio.sleep(max(0.0, due - loop.time()))
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
    if asked.get("stream_options"):
        await send({"type": "http.response.body", "body": TOLD, "more_body": True})
    if TELLS:
        told.final_usage_info = Usage()
    await send({"type": "http.response.body", "body": DONE})


def as_vllm() -> Any:
    """FastAPI with CORS before it, a model for the body, and every chunk made from values."""
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse
    from pydantic import BaseModel, ConfigDict
    from starlette.middleware.cors import CORSMiddleware

    class Asked(BaseModel):
        model_config = ConfigDict(extra="allow")

        model: str
        messages: list[dict[str, Any]]
        stream: bool
        stream_options: dict[str, Any] | None = None
        max_tokens: int

    class Choice(BaseModel):
        index: int = 0
        delta: dict[str, str]
        finish_reason: str | None = None

    class Chunk(BaseModel):
        id: str = "chatcmpl-0123456789abcdef0123456789abcdef"
        object: str = "chat.completion.chunk"
        created: int = 1764000000
        model: str = "demo"
        choices: list[Choice]

    async def texts(asked: Asked, told: Told) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(asked.max_tokens):
            due = begun + FIRST_S + number * INTERVAL_S
            await asyncio.sleep(max(0.0, due - loop.time()))
            chunk = Chunk(choices=[Choice(delta={"content": " word"})])
            yield f"data: {chunk.model_dump_json()}\n\n"
        if asked.stream_options:
            yield TOLD.decode()
        told.final_usage_info = Usage()
        yield DONE.decode()

    served = FastAPI()
    everything = {"allow_origins": ["*"], "allow_methods": ["*"], "allow_headers": ["*"]}
    served.add_middleware(CORSMiddleware, **everything)

    async def chat(asked: Asked, raw_request: Request) -> StreamingResponse:
        told = raw_request.state.request_metadata = Told()
        return StreamingResponse(texts(asked, told), media_type="text/event-stream")

    served.post("/v1/chat/completions", response_model=None)(chat)
    return served


def _served() -> Any:
    application = as_vllm() if os.environ.get("DOOR_APP") == "fastapi" else engine
    configuration = os.environ.get("DOOR_CONFIGURATION")
    if configuration is None:
        return application
    from deployctl_door.configuration import load
    from deployctl_door.door import Door

    return Door(application, load(Path(configuration)))


app = _served()
