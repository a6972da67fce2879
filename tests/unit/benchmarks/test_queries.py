"""The comparison of dashboards: what is counted of a folder of repositories."""

import json
import sys

import pytest
from benchmarks.queries import __main__ as queries


@pytest.fixture
def peers(tmp_path):
    def put(file, *expressions):
        panel = {"targets": [{"expr": expression} for expression in expressions]}
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps({"title": "t", "panels": [panel]}))

    put("good/d.json", "vllm:num_requests_running")
    put("old/a/d.json", "vllm:gpu_cache_usage_perc", "sum(vllm:gpu_cache_usage_perc)")
    put("old/b.json", "vllm:kv_cache_usage_perc", "sum(vllm:generation_tokens_total)")
    put("old/.hidden/d.json", "vllm:num_requests_swapped")
    put("other/d.json", "node_load1")
    (tmp_path / "other" / "image.yaml").write_text("image: vllm:latest\n")
    return tmp_path


def test_dead_names_are_told_by_repository(peers):
    good, old = queries.measured(peers, "0.33.0")
    assert (good.name, good.reads, good.unread, good.dead) == ("good", 1, 0, {})
    assert (old.name, old.files) == ("old", ["b.json", "a/d.json"])
    assert (old.reads, old.unread) == (4, 2)
    assert old.dead == {
        "vllm:gpu_cache_usage_perc": {"since": "0.12.0", "instead": "vllm:kv_cache_usage_perc"}
    }
    assert old.others == {"counter-without-rate": 1}
    (before,) = [peer for peer in queries.measured(peers, "0.9.1") if peer.name == "old"]
    assert set(before.dead) == {"vllm:kv_cache_usage_perc"}


def test_the_command_line(peers, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["queries", "--peers", str(peers), "--output", "json"])
    assert queries.main() == 0
    assert [peer["name"] for peer in json.loads(capsys.readouterr().out)["peers"]] == [
        "good",
        "old",
    ]
    monkeypatch.setattr(sys, "argv", ["queries", "--peers", str(peers)])
    assert queries.main() == 0
    assert "| old | 2 | 4 | 2 | 1 | counter-without-rate 1 |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["queries", "--peers", str(peers / "other")])
    assert queries.main() == 2
