"""A service's life on a real Kubernetes, from its first `up` to `down --volumes`.

The engine is a fake, for nothing here depends on what it computes; test_serving.py has real ones.
"""

import json

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.namespaces import Namespace

CLAIM = {"cache": {"enabled": True, "size": "1Gi"}}


@pytest.fixture
def up(namespace, fake_image, tiny_checkpoint):
    """`up` of the one service, by whoever has the namespace."""
    words = namespace.words(fake_image, tiny_checkpoint, values=CLAIM)

    def up(*more, by=namespace, code=0):
        return by("up", *words, *more, code=code)

    return up


def test_a_life(namespace, up, no_image, tmp_path):
    up()
    first = namespace.pods()
    (service,) = json.loads(namespace("status", "--output", "json").stdout)["services"]
    assert (service["health"], service["revision"]) == ("serving", 1)
    assert service["url"] == f"http://chat.{namespace.name}.svc:8000/v1"

    # The same once more touches nothing; and whoever has the namespace sees the same service.
    assert "unchanged" in up().stderr
    other = Namespace(namespace.cluster, tmp_path / "another", namespace.name)
    assert "unchanged" in up(by=other).stderr
    assert namespace.pods() == first

    # Its keys are in its Secret, and no pod restarts for one more.
    other("keys", "add", "chat", "ann", "--target", "kubernetes")
    listed = namespace("keys", "list", "chat", "--target", "kubernetes").stdout
    assert "ann" in listed
    assert namespace.pods() == first

    # An image that nobody has: why is said, and what serves is not touched.
    failed = up("--image", no_image, "--max-num-seqs", "4", code=4)
    assert no_image in failed.stderr
    assert "what serves was not touched" in failed.stderr
    assert namespace.pods() == first
    assert namespace.json("status", "chat", "--target", "kubernetes")["health"] == "serving"

    # Another flag: another pod. Back again: as before.
    up("--max-num-seqs", "4")
    assert not set(namespace.pods()) & set(first)
    assert "Application startup complete" in namespace("logs", "chat").stdout
    namespace("rollback", "chat")
    history = namespace("history", "chat", "--output", "json").stdout
    statuses = [release["status"] for release in json.loads(history)["revisions"]]
    assert statuses == ["superseded", "failed", "superseded", "deployed"]
    assert "revision 2 never served" in namespace("rollback", "chat", "--to", "2", code=2).stderr
    out = tmp_path / "out"
    namespace(
        "loadtest", "chat", "--users", "2", "--duration", "8s", "--warmup", "1s",
        "--output-tokens", "8", "--out", out,
    )  # fmt: skip
    requests = json.loads((out / "summary.json").read_text())["requests"]
    assert requests["ok"] > 0
    assert requests["failures"] == []

    namespace("down", "chat")
    kept = {name.partition("/")[2] for name in namespace.kinds()}
    records = {f"deployctl.chat.v{number}" for number in range(1, 5)}
    assert kept == {"chat-cache", "chat-api-key", *records}
    copy = next(namespace.state.rglob("operator_token"))
    before = copy.read_bytes()
    namespace("down", "chat", "--volumes")
    until(  # a claim goes with the last pod that has it
        lambda: {name.partition("/")[2] for name in namespace.kinds()} == records,
        seconds=60,
        what="nothing but the records is left",
    )
    copy.write_bytes(before)  # as another state folder still has it
    namespace("keys", "list", "chat")
    assert not copy.exists(), "what was taken away is in no copy, for no up to bring back"
