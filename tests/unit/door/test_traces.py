"""The id that a request has at the door, told to an engine that traces it."""

import pytest

CHAT = "/v1/chat/completions"
KEY = "the-default-key"


@pytest.fixture
def ids(build):
    """`ids(told, headers)`: the ids that the engine was told, and the one that was answered."""
    from deployctl_door.door import Door

    from .conftest import Engine

    def run(ask, told, headers):
        engine = Engine()
        seen = []

        async def app(scope, receive, send):
            seen.extend(v for n, v in scope["headers"] if n.lower() == b"x-request-id")
            await engine(scope, receive, send)

        door = Door(app, build(tell_request_id=told)._configuration)
        answer = ask("POST", CHAT, key=KEY, body={}, through=door, headers=headers)
        assert answer.status == 200
        return [each.decode() for each in seen], answer.headers["x-request-id"]

    return run


@pytest.mark.parametrize(
    "headers",
    [
        (),
        [("x-request-id", "r-1")],
        [("X-Request-ID", "r-1")],
        [("x-request-id", "a b")],  # none to repeat
        [("x-request-id", "r-1"), ("x-request-id", "r-2")],
    ],
)
def test_the_engine_has_the_id_of_the_answer_and_no_other(ask, ids, headers):
    seen, answered = ids(ask, True, headers)
    assert seen == [answered]
    if len(headers) == 1 and headers[0][1] == "r-1":
        assert answered == "r-1"


def test_without_traces_a_request_is_passed_on_as_it_came(ask, ids):
    assert ids(ask, False, ())[0] == []
    assert ids(ask, False, [("x-request-id", "r-1")])[0] == ["r-1"]


def test_trace_context_reaches_the_engine(ask, build):
    from deployctl_door.door import Door

    from .conftest import Engine

    engine, seen = Engine(), {}

    async def app(scope, receive, send):
        seen.update(scope["headers"])
        await engine(scope, receive, send)

    door = Door(app, build(tell_request_id=True)._configuration)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ask("POST", CHAT, key=KEY, body={}, through=door, headers=[("traceparent", parent)])
    assert seen[b"traceparent"] == parent.encode()
