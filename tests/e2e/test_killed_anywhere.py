"""kill -9 at random moments in every verb that changes something, on a fake engine and on a real
one: nothing is lost, and the next command says what it found.

`./test night -k killed_anywhere` kills 200 times, and ten on the real one; a failure prints the
seed.
"""

import json
import os
import random
import signal
import sys
import time

import pytest
from tests.e2e.gateway_parts import needs_caddy

import ports
import process_shell
from process_shell import PATIENCE_S, until

many = pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.night)])
# Seconds within which a verb is killed: about as long as it takes. Those that hold the service's
# lock count from there, so that a slow machine, which takes long to start Python, is no excuse.
LONGEST_S = {"up": 3.0, "rollback": 3.0, "down": 1.0, "add": 1.5, "revoke": 1.5}
REAL_S = {**LONGEST_S, "up": 45.0, "rollback": 45.0}  # a real engine loads for half a minute
LOCKS = ("up", "rollback", "down")


@pytest.fixture
def chance():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", file=sys.stderr)
    return random.Random(seed)


class Service:
    """An exposed service with a key that must outlive everything."""

    def __init__(self, shell, chance, longest_s=LONGEST_S, own=(), again=()):
        self.shell, self.chance, self.longest_s, self.own = shell, chance, longest_s, own
        self.again = again  # said to both verbs that make a revision
        code, _, err = shell.up("--expose", *own)
        assert code == 0, err
        self.kept = self.add("kept")
        self.names = 0

    def add(self, name):
        code, out, err = self.shell.run("keys", "add", "tiny", name)
        assert code == 0, err
        return out.strip()

    def words(self, verb):
        if verb == "up":
            number = f"--env=NUMBER={self.chance.randrange(4)}"
            return self.shell.up_words("--expose", number, *self.own, *self.again)
        if verb == "add":
            self.names += 1
            return ["keys", "add", "tiny", f"key-{self.names}"]
        if verb == "revoke":
            return ["keys", "revoke", "tiny", f"key-{self.names}"]
        return [verb, "tiny", *(self.again if verb == "rollback" else ())]

    def kill(self, verb):
        process = self.shell.start(*self.words(verb))
        if verb in LOCKS:
            until(lambda: process.poll() is not None or self.holder() == process.pid)
        time.sleep(self.chance.uniform(0, self.longest_s[verb]))
        process.kill()
        _, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err

    def holder(self):
        """The pid that is in the service's lock."""
        try:
            lock = self.shell.state / "process" / "tiny" / "lock"
            return json.loads(lock.read_text())["pid"]
        except (OSError, ValueError):
            return None

    def revisions(self):
        code, out, err = self.shell.run("history", "tiny", "--output", "json")
        assert code == 0, err
        return {r["revision"]: r["status"] for r in json.loads(out)["revisions"]}

    def key_names(self):
        code, out, err = self.shell.run("keys", "list", "tiny", "--output", "json")
        assert code == 0, err
        return {key["name"] for key in json.loads(out)["keys"]}


@many
def test_nothing_is_lost(shell, chance, kills):
    loses_nothing(Service(shell, chance), kills)


@pytest.mark.night
@pytest.mark.parametrize("kills", [25])
def test_nothing_is_lost_where_one_engine_takes_over_from_another(shell, chance, kills):
    needs_caddy()
    own = ("--gateway", "--gateway-port", str(ports.free()))
    service = Service(shell, chance, own=own, again=("--beside", "yes"))
    loses_nothing(service, kills)


@pytest.mark.night
@pytest.mark.vllm
@pytest.mark.parametrize("kills", [10])
def test_nothing_is_lost_of_a_real_engine(shell, chance, kills, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(process_shell, "PATIENCE_S", 600.0)
    monkeypatch.setitem(shell.environment, "PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    shell.model = tiny_checkpoint
    own = ("--name", "tiny", "--enforce-eager", "--max-model-len", "512")
    loses_nothing(Service(shell, chance, REAL_S, own), kills)


def loses_nothing(service, kills):
    shell, chance = service.shell, service.chance
    known, told = service.revisions(), 0
    for number in range(kills):
        verb = chance.choice(["up", "up", "rollback", "down", "add", "revoke"])
        service.kill(verb)
        found = service.revisions()
        said = f"kill {number}, in {verb}: {known} became {found}"
        assert found.keys() >= known.keys(), said
        assert "kept" in service.key_names(), said
        unfinished = [revision for revision, status in found.items() if status == "pending"]
        code, _, err = shell.run(*service.words("up"))
        assert code == 0, f"{said}: {err}"
        for revision in unfinished:
            assert f"revision {revision}" in err, f"{said}: {err}"
            told += 1
        known = service.revisions()
        [serving] = [revision for revision, status in known.items() if status == "deployed"]
        assert "pending" not in known.values(), said
        assert shell.status(0)["health"] == "serving", said
        runs = {path.parent.name for path in shell.state.rglob("runs/*/supervisor.json")}
        assert runs == {f"{serving:06d}"}, said  # and no engine of another revision
    assert told or kills < 50
    code, _, err = shell.run("down", "tiny")
    assert code == 0, err
    assert shell.left() == []


@many
def test_a_tune_goes_on(shell, chance, kills, tmp_path):
    study = tmp_path / "study"
    own = ["--model", shell.model, "--gpu", "cpu", "--env=FAKE_ENGINE_SILENT=1"]
    begin = ["tune", *own, "--slo", "ttft_p95=500ms", "--study", study, "-o", "json"]
    resume = ["tune", "--resume", "--study", study, "-o", "json"]
    for _ in range(max(1, kills // 10)):
        file = study / "study.jsonl"
        begun = file.read_bytes() if file.exists() else b""
        process = shell.start(*(resume if begun else begin))
        time.sleep(chance.uniform(0.5, 6.0))
        process.kill()
        _, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        whole = begun[: begun.rfind(b"\n") + 1]
        assert not begun or file.read_bytes().startswith(whole)
    last = shell.start(*(resume if study.exists() else begin))
    orphans = set(shell.left())
    until(lambda: (left := set(shell.left())) and not left & orphans)
    last.send_signal(signal.SIGINT)
    out, err = last.communicate(timeout=PATIENCE_S)
    assert last.returncode == 130, err
    assert json.loads(out)["verdict"] == "interrupted"
    assert shell.left() == []
