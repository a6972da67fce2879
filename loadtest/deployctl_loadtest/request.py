"""What is sent: path, headers and body of one request to an OpenAI-compatible server. Pure."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

Api = Literal["chat", "completions"]
PATHS: dict[str, str] = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


@dataclasses.dataclass(frozen=True)
class Target:
    """Whom to ask, and how."""

    model: str
    api: Api = "chat"
    ignore_eos: bool = True  # vLLM's own; other engines may refuse it
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # over what we would send

    @property
    def path(self) -> str:
        """The URL's path."""
        return PATHS[self.api]

    def chat(self, messages: list[dict[str, Any]], output_tokens: int) -> bytes:
        """The body of a chat request."""
        return self._body({"messages": messages}, output_tokens)

    def completion(self, prompt: str, output_tokens: int) -> bytes:
        """The body of a completion request."""
        return self._body({"prompt": prompt}, output_tokens)

    def _body(self, what: dict[str, Any], output_tokens: int) -> bytes:
        content: dict[str, Any] = {
            "model": self.model,
            **what,
            "max_tokens": output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.ignore_eos:
            content["ignore_eos"] = True
            # Past its end a model writes special tokens, which would otherwise be left out of
            # the text: chunks without text, and a last text before the last token.
            content["skip_special_tokens"] = False
        content.update(self.extra)
        return json.dumps(content).encode()


def headers(api_key: str | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The headers. Compression is refused: it would hold chunks back."""
    values = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
    }
    if api_key:
        values["Authorization"] = f"Bearer {api_key}"
    return {**values, **(more or {})}
