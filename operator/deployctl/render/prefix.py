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
_BEGINNING = rf"\[.{{0,{_MOST}}}"  # of a list
_STRING = r'"(?:[^"\\]|\\.)*"'
_TEXT = rf'"(?:[^"\\]|\\.){{0,{_MOST}}}'
_USER = r'"role"\s*:\s*"user"'
_CONTENT = r'"content"\s*:\s*'
# What comes before the text of a list's first part, such as `type`.
_BEFORE = r'(?:"[a-z_]+"\s*:\s*(?:"[^"\\]{0,99}"|\{[^{}]{0,99}\})\s*,\s*)*?'
_PART = rf'\[\s*\{{\s*{_BEFORE}"text"\s*:\s*'
# What is between `role` and `content`: nothing, or a name, an id and such.
_OTHERS = rf"(?:\s*,\s*{_STRING}\s*:\s*(?:{_STRING}|[\w.+-]+))*?\s*,\s*"
# A user's message up to its first text, or to where an image begins; and where `role` comes last.
_ROLE_FIRST = rf"{_USER}{_OTHERS}{_CONTENT}(?:(?:{_PART})?{_TEXT}|\[[^\]]{{0,{_MOST}}})"
_TEXT_FIRST = rf'({_CONTENT}{_TEXT})"{_OTHERS}{_USER}'
_PARTS_FIRST = rf'({_CONTENT}{_PART}{_TEXT})"(?:[^"\]]|{_STRING})*\]{_OTHERS}{_USER}'
# Up to the first user's message and with it; else how the list begins.
_MESSAGES = rf"({_BEGINNING}?)(?:({_ROLE_FIRST})|{_TEXT_FIRST}|{_PARTS_FIRST})|({_BEGINNING}"
_GROUPS = 5  # of which an opening is made, one after the other
PROMPTS = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/messages": "messages",
    "/v1/responses": "input",
}  # where each route has it


def opening(name: str) -> str:
    """The regular expression (RE2) that finds the opening in a body: its groups, joined."""
    wanted = {"prompt": f"()()()()({_BEGINNING}|{_TEXT})", "messages": f"{_MESSAGES})"}
    return rf'(?s)"{name}"\s*:\s*(?:{wanted.get(name, f"{_MESSAGES}|{_TEXT})")})'


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
    groups = range(1, _GROUPS + 1)
    tells = {OPENING: ["".join(f"{{http.regexp.{_OPENING}.{number}}}" for number in groups)]}
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
