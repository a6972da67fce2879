"""The chat page of a service behind the gateway: what Caddy answers with, and where. Pure.

One file of ours (`deploy/chat/index.html`), the same for all services: it asks the API that stands
beside it, below the same address, and no other host. Its policy lets its own script and style run,
by their hashes, and nothing else; what a model says cannot become either.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from deployctl import assets
from deployctl.errors import InputError
from deployctl.planning.plan import ServingPlan
from deployctl.render import caddy
from deployctl.spec import ServiceSpec

_BARE = "/chat"
_PATH = f"{_BARE}/"  # below a service's address
_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


def refuse(plan: ServingPlan, spec: ServiceSpec) -> None:
    """Refuses the page of an engine that has nothing to say.

    Raises:
        InputError: it embeds, or scores.
    """
    if spec.with_chat and "generate" not in plan.engine.tasks:
        raise InputError(
            f"{plan.model} generates no text: there is nothing to chat with",
            where="with_chat",
            hint="leave --with-chat out",
        )


def address(spec: ServiceSpec, gateway: str | None) -> str | None:
    """Where the page of a service is, by the gateway's address for it; None where it has none."""
    return f"{gateway}{_PATH}" if spec.with_chat and gateway else None


def routes(pages: Iterable[tuple[str | None, str, bool]]) -> list[dict[str, Any]]:
    """Caddy's routes of the pages of services, each by its domain, its name, and whether the
    address without a name is its own, too. That one leads to the page and has none: a browser
    keeps the key by the page's address, and this may be another service's tomorrow."""
    pages = list(pages)
    if not pages:
        return []
    below = [caddy.at(domain, f"/{service}{_PATH}") for domain, service, _ in pages]
    bare = [caddy.at(domain, f"/{service}{_BARE}") for domain, service, _ in pages]
    # From where it was asked; and always, unlike what leads there from an address without a name.
    found = [caddy.route(below, _answer()), caddy.route(bare, _leads(308, _PATH.removeprefix("/")))]
    for domain, service, root in pages:
        if root:
            there = _leads(307, f"/{service}{_PATH}")
            found.append(caddy.route([caddy.at(domain, _BARE, _PATH)], there))
    return found


def _leads(status: int, where: str) -> dict[str, Any]:
    headers = {"Location": [where]}
    return {"handler": "static_response", "status_code": status, "headers": headers}


def _answer() -> dict[str, Any]:
    text = _page()
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": _policy(text),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    listed = {name: [value] for name, value in headers.items()}
    return {"handler": "static_response", "status_code": 200, "headers": listed, "body": text}


def _policy(text: str) -> str:
    hashes = {kind: _hash(content) for kind, content in _INLINE.findall(text)}
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {hashes['script']}",
            f"style-src {hashes['style']}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


@cache
def _page() -> str:
    return assets.path("deploy", "chat", "index.html").read_text(encoding="utf-8")
