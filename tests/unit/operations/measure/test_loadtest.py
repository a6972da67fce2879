"""What a load test asks of a server before it makes any load."""

from contextlib import nullcontext

import httpx
import pytest

from deployctl import web
from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.operations.measure.loadtest import load_test
from deployctl.operations.measure.request import LoadRequest

HERE = Endpoint("http://h:1", "m", "key", operator_token="token")


@pytest.fixture
def shown(monkeypatch):
    """What a server was shown that lets nobody in."""
    shown = []

    def answer(request):
        shown.append(request.headers.get("Authorization"))
        return httpx.Response(401, json={})

    def client(endpoint, _timeout):
        transport = httpx.MockTransport(answer)
        return nullcontext(
            httpx.Client(transport=transport, base_url=endpoint.url, headers=endpoint.sent())
        )

    monkeypatch.setattr(web, "client", client)
    return shown


@pytest.mark.parametrize(
    ("on", "endpoint", "shows", "says", "hint"),
    [
        (None, HERE, "Bearer token", "refuses the operator's token", "--api-key-file"),
        ("kubernetes", HERE, "Bearer key", "refuses the API key", "--api-key-file"),
        (
            "kubernetes",
            HERE._replace(api_key=None, service="chat"),
            None,
            "wants an API key",
            "deployctl keys add chat default",
        ),
    ],
)
def test_load_from_pods_is_let_in_as_clients_are(shown, on, endpoint, shows, says, hint):
    with pytest.raises(TargetError, match=says) as refused:
        load_test(LoadRequest(on=on), endpoint)
    assert shown == [shows]
    assert hint in refused.value.hint
