"""A result in Prometheus' own text: names of our table, and nothing that was not measured."""

import dataclasses

import pytest
from prometheus_client import values as kinds_of_values
from prometheus_client.parser import text_string_to_metric_families

from deployctl.engines.vllm import exported
from deployctl.load import exposition
from verdict_parts import HELD, MISSED, made


def families(result, run="chat-1"):
    return {f.name: f for f in text_string_to_metric_families(exposition.text(result, run))}


def values(result, name, run="chat-1"):
    """By the labels that are not every series'."""
    found = families(result, run).get(f"deployctl_loadtest_{name}")
    return {
        " ".join(v for k, v in s.labels.items() if k not in ("service", "run")): s.value
        for s in (found.samples if found else ())
    }


def test_names_kinds_labels_and_texts_are_those_of_the_table():
    said = {
        name: metric for name, metric in exported.of(exported.newest()).items()
        if name.startswith("deployctl_loadtest_")
    }  # fmt: skip
    found = families(made(HELD)[0])
    assert set(found) == set(said)
    for name, family in found.items():
        assert family.type == said[name].kind
        assert family.documentation == exported.help_of(name, exported.newest())
        assert all(set(sample.labels) == said[name].labels for sample in family.samples)


def test_figures_are_those_of_the_result():
    result, _ = made(HELD)
    assert values(result, "latency_seconds")["ttft p95"] == result.latency.ttft_s.p95
    assert values(result, "requests") == {"ok": 200, "failed": 0, "incomplete": 0}
    assert values(result, "load") == {"closed": 2}
    assert values(result, "tokens_per_second")["output"] == result.throughput.output_tokens_per_s
    assert values(result, "slo") == {"met": 1, "missed": 0, "unresolved": 0}
    assert values(result, "started_timestamp_seconds") == {"": 1795506300}
    assert values(made(MISSED)[0], "slo")["missed"] == 1
    assert values(made(cpu=1.0)[0], "trustworthy") == {"": 0}


def test_of_an_open_loop_the_load_is_the_rate():
    result, _ = made()
    setup = dataclasses.replace(result.setup, mode="open", rate=3.5)
    assert values(dataclasses.replace(result, setup=setup), "load") == {"open": 3.5}


def test_what_was_not_measured_has_no_series():
    result, _ = made(None)
    without = dataclasses.replace(
        result, latency=dataclasses.replace(result.latency, ttft_s=None), slo=None
    )
    kinds = {key.split()[0] for key in values(without, "latency_seconds")}
    assert kinds == {"itl", "tpot", "e2e"}
    assert values(without, "slo") == values(without, "goodput_per_second") == {}


def test_every_series_says_whose_and_which_run_it_is():
    result, _ = made()
    named = dataclasses.replace(result, setup=dataclasses.replace(result.setup, service="chat"))
    for service, one in (("m", result), ("chat", named)):
        samples = [s for f in families(one, 'odd"run').values() for s in f.samples]
        assert {(s.labels["service"], s.labels["run"]) for s in samples} == {(service, 'odd"run')}


@pytest.mark.parametrize("folder", [".", "missing"])
def test_nothing_is_written_for_other_processes(tmp_path, monkeypatch, folder):
    """A finished run ended with FileNotFoundError where PROMETHEUS_MULTIPROC_DIR was not there."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / folder))
    monkeypatch.setattr(kinds_of_values, "ValueClass", kinds_of_values.MultiProcessValue())
    assert values(made()[0], "trustworthy") == {"": 1}
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_text_are_made_one():
    result, _ = made()
    named = dataclasses.replace(result, setup=dataclasses.replace(result.setup, model="m\udcff"))
    assert values(named, "load", run="chat-\udce9") == {"closed": 2}
    sample = families(named, "chat-\udce9")["deployctl_loadtest_load"].samples[0]
    assert (sample.labels["service"], sample.labels["run"]) == ("m\ufffd", "chat-\ufffd")
