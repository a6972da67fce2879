"""What is sent: path, headers and body of one request to an OpenAI-compatible server. Pure."""

import dataclasses
import json
from typing import Any, Literal

from deployctl_loadtest import words

Api = Literal["chat", "completions"]
PATHS: dict[str, str] = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


@dataclasses.dataclass(frozen=True)
class Workload:
    """What traffic: lengths in tokens, and the seed that makes its prompts."""

    model: str
    api: Api = "chat"
    input_tokens: int = 128  # about; see `words`
    output_tokens: int = 64  # at most; exactly, with ignore_eos
    ignore_eos: bool = True  # vLLM's own; other engines may refuse it
    seed: int = 0

    @property
    def path(self) -> str:
        """The URL's path."""
        return PATHS[self.api]

    def body(self, number: int) -> bytes:
        """The body of request `number`. No two have the same prompt."""
        seed = f"{self.seed}/{number}"
        content: dict[str, Any] = {"model": self.model}
        if self.api == "chat":
            length = self.input_tokens - words.CHAT_TEMPLATE_TOKENS
            content["messages"] = [{"role": "user", "content": words.prompt(length, seed)}]
        else:
            content["prompt"] = words.prompt(self.input_tokens, seed)
        content["max_tokens"] = self.output_tokens
        content["temperature"] = 0
        content["stream"] = True
        content["stream_options"] = {"include_usage": True}
        if self.ignore_eos:
            content["ignore_eos"] = True
            # Past its end a model writes special tokens, which would otherwise be left out of
            # the text: chunks without text, and a last text before the last token.
            content["skip_special_tokens"] = False
        return json.dumps(content).encode()


def headers(api_key: str | None) -> dict[str, str]:
    """The headers. Compression is refused: it would hold chunks back."""
    values = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
    }
    if api_key:
        values["Authorization"] = f"Bearer {api_key}"
    return values
