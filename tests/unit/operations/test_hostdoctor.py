"""What doctor says of the gateway of a host."""

from types import SimpleNamespace

import pytest

from deployctl.errors import DockerError
from deployctl.operations import hostdoctor

UP = SimpleNamespace(docker=SimpleNamespace(server="26.1"))
DOWN = SimpleNamespace(docker=SimpleNamespace(server=None))


class MemoryGateway:
    def __init__(self, services, trouble="", fails=None):
        self._services, self._trouble, self._fails = services, trouble, fails

    def entries(self):
        if self._fails:
            raise self._fails
        return [SimpleNamespace(service=name) for name in self._services]

    def trouble(self):
        return self._trouble


@pytest.mark.parametrize(
    ("facts", "gateway", "said"),
    [
        (UP, MemoryGateway(["chat", "code"]), [("pass", "before chat, code")]),
        (UP, MemoryGateway(["chat"], "it does not run"), [("warn", "chat: it does not run")]),
        (UP, MemoryGateway([], "it does not run"), []),
        (UP, MemoryGateway([], fails=DockerError("no")), [("warn", "no")]),
        (UP, None, []),
        (DOWN, MemoryGateway([], fails=DockerError("no")), []),
    ],
    ids=["well", "down", "unused", "unknown", "none", "no engine"],
)
def test_a_gateway_that_has_services_and_does_not_answer_is_told(monkeypatch, facts, gateway, said):
    driver = SimpleNamespace(gateway=gateway)
    monkeypatch.setattr(hostdoctor, "open_driver", lambda target, settings: driver)
    found = hostdoctor._gateway(facts, SimpleNamespace(target="docker"))
    assert [(check.status, check.detail) for check in found] == said
    assert all(check.id == "gateway" for check in found)
