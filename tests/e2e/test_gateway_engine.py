"""The gateway before a real vLLM: no update fails a request, and no crash one that comes later.

`./test night -k gateway_engine` runs all of it, half an hour; `-k "gateway_engine and few"` some.
"""

import json
import os
import signal

import psutil
import pytest
from tests.e2e import gateway_parts
from tests.e2e.engine_cache import knowing
from tests.e2e.gateway_parts import Users, needs_caddy
from tests.e2e.measured import KEY, START_S, Measured

import ports
import process_shell
from process_shell import until

pytestmark = [pytest.mark.vllm, pytest.mark.night]
BAD = ("--env", "VLLM_CPU_KVCACHE_SPACE=1000000")  # more than any machine has: the engine refuses


class Behind(Measured):
    """A service behind a gateway of its own."""

    name = "tiny"

    def __init__(self, folder, checkpoint, cache):
        self.gateway_port, port = ports.free(), ports.free()
        words = ["--gateway", "--gateway-port", self.gateway_port, "--hold", "600"]
        self.again = [
            "up", "--model", checkpoint, "--gpu", "cpu", "--name", self.name, "--port", port,
            "--api-key-file", folder / "key", "--enforce-eager", *words,
        ]  # fmt: skip
        super().__init__(folder, checkpoint, port, cache, *words)
        self.gateway = f"http://127.0.0.1:{self.gateway_port}"

    def update(self, number):
        """Seconds for which requests were held."""
        told = self.json(*self.again, "--max-num-seqs", 8 + number)
        held = told["services"][0]["gateway"]["held"]
        assert held["turned_away"] == 0
        return held["seconds"]

    def core(self):
        """The process of the engine's core."""
        # As its supervisor has it: status fails while the engine is silent.
        (record,) = self.folder.glob(f"state/process/{self.name}/runs/*/engine.json")
        try:
            children = psutil.Process(json.loads(record.read_text())["pid"]).children(
                recursive=True
            )
            cores = [each.pid for each in children if each.name().startswith("VLLM::EngineCor")]
        except (psutil.NoSuchProcess, ValueError):
            return None
        return cores[0] if cores else None


@pytest.fixture
def service(tmp_path, tiny_checkpoint, checkpoint_cache, monkeypatch):
    needs_caddy()
    for module in (process_shell, gateway_parts):
        monkeypatch.setattr(module, "PATIENCE_S", START_S)
    cache = knowing(tmp_path / "cache", checkpoint_cache, Behind.name)
    started = Behind(tmp_path, tiny_checkpoint, cache)
    yield started
    started.down()


def users_of(service):
    model = service.json("status", service.name)["services"][0]["model"]
    return Users(service.gateway, model=model, key=KEY)


@pytest.mark.parametrize(
    ("updates", "rollbacks", "bad"), [(2, 1, 1), (20, 5, 2)], ids=["few", "many"]
)
def test_no_update_fails_a_request(service, updates, rollbacks, bad, record_property):
    with users_of(service) as users:
        until(lambda: len(users.asked) > 8)
        held = [service.update(number) for number in range(updates)]
        for _ in range(bad):
            assert "serves again" in service(*service.again, *BAD, code=4).stderr
        for _ in range(rollbacks):
            service("rollback", service.name)
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 8)
    assert users.failed == []
    for name, value in (
        ("requests", len(users.asked)),
        ("held_s", [round(each, 1) for each in held]),
        ("longest_wait_s", round(users.longest_s, 1)),
    ):
        record_property(name, value)
        print(name, value)


@pytest.mark.parametrize("crashes", [1, 5], ids=["few", "many"])
def test_a_crash_fails_only_what_was_inside(service, crashes):
    with users_of(service) as users:
        for _ in range(crashes):
            seen = len(users.asked)
            until(lambda seen=seen: len(users.asked) > seen + 8)
            core = until(service.core)
            inside = gateway_parts.time.monotonic()
            os.kill(core, signal.SIGKILL)
            until(lambda core=core: service.core() not in (None, core))
            until(
                lambda inside=inside: any(
                    each.began > inside + 1 and not each.problem for each in list(users.asked)
                )
            )
            late = [e for e in users.failed if e.began > inside + 1]
            assert late == []
