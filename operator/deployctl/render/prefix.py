"""Routing by prefix, as Caddy's JSON: a prompt goes where its beginning is in the cache. Pure.

Which of several engines has a request is a matter of its *opening* (rendezvous hashing of it and
the engine's name): of a chat what comes before the first user's message and that one, of other
prompts the first characters. It is the same for all turns of a conversation, and for all that asks
about one long text. An engine that comes or goes moves the openings of its own and no others.

The engine of an opening may be away, or busy: it has as many requests as it computes at once, and
one more would wait in it. Then the request goes on as if there were no such routing, to the engine
with the fewest under way. None of Caddy's policies does both, so a first proxy tries that one
engine, once, and its errors lead to the routes that come after. A body is in memory meanwhile: as
it came, to be read here, and to be sent once more.
"""

from typing import Any

from deployctl.render import caddy

OPENING = "X-Deployctl-Opening"  # a header within the gateway alone: no engine sees it
_BODY = "deployctl_body"
_OPENING = "deployctl_opening"
_MOST = 1000  # characters, of each part of an opening: RE2 repeats nothing more often
_TEXT = rf'"(?:[^"\\]|\\.){{0,{_MOST}}}'
_PART = r'(?:\[\s*\{\s*"type"\s*:\s*"text"\s*,\s*"text"\s*:\s*)?'
_USER = rf'"role"\s*:\s*"user"\s*,\s*"content"\s*:\s*{_PART}{_TEXT}'
# A list up to the text of its first user's message; else its beginning; or a text.
_PROMPT = rf"\[.{{0,{_MOST}}}?{_USER}|\[.{{0,{_MOST}}}|{_TEXT}"
PROMPTS = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/messages": "messages",
    "/v1/responses": "input",
}  # where each route has it


def opening(name: str) -> str:
    """The regular expression (RE2) that finds the opening in a body: its first group."""
    return rf'(?s)"{name}"\s*:\s*({_PROMPT})'


def first_choice(
    kept: list[dict[str, Any]], proxy: dict[str, Any], turned_away: str, at_once: int | None
) -> dict[str, Any]:
    """Routes requests of which the body is `kept` to the engine of their opening. It is tried
    once, by this `proxy`; where it has as many as `at_once`, or its answer is `turned_away`, or it
    is away, the request goes on to the routes that follow.
    """
    busy = {} if at_once is None else {"max_requests": at_once}
    proxy = {
        **proxy,
        "upstreams": [{**each, **busy} for each in proxy["upstreams"]],
        "load_balancing": {
            "selection_policy": {"policy": "header", "field": OPENING},
            "retry_match": [{"expression": turned_away}],
        },
        "headers": {"request": {"delete": [OPENING]}},
    }
    tells = {OPENING: [f"{{http.regexp.{_OPENING}.1}}"]}
    chosen = {
        "match": [
            {"path": [path], "vars_regexp": {_BODY: {"name": _OPENING, "pattern": opening(name)}}}
            for path, name in PROMPTS.items()
        ],
        "handle": [{"handler": "headers", "request": {"set": tells}}, proxy],
        "terminal": True,
    }
    anew = [
        {"handler": "headers", "request": {"delete": [OPENING]}},
        {"handler": "request_body", "set": f"{{http.vars.{_BODY}}}"},
    ]
    failed = {
        "handler": "error",
        "error": "{http.error.message}",
        "status_code": "{http.error.status_code}",
    }
    has_failed = [{"not": [{"expression": caddy.NEVER_BEGAN}]}]
    errors = {"routes": [caddy.route(has_failed, failed), {"handle": anew}]}
    return {
        "match": [{**each, "path": list(PROMPTS)} for each in kept],
        "handle": [
            {"handler": "vars", _BODY: "{http.request.body}"},
            {"handler": "subroute", "routes": [chosen], "errors": errors},
        ],
    }
