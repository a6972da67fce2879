"""Traces: what the engine is told of its collector, and what is refused."""

import pytest
from pydantic import ValidationError

from deployctl.errors import SpecError
from deployctl.spec import ServiceSpec
from deployctl.spec.load import load_specs, problems

GRPC, HTTP = "http://collector.example:4317", "https://collector.example/v1/traces"


def test_the_engine_is_told_its_collector_and_how_that_is_spoken_to(config, plan):
    lean = {"max_model_len": 4096, "name": "chat"}
    assert not any("otlp" in word for word in plan(config("llama-8b"), **lean).engine.args)
    for version in ("0.8.5", "0.33.0"):
        made = plan(config("llama-8b"), **lean, otlp_traces_endpoint=GRPC, engine_version=version)
        words = made.engine.args
        assert words[words.index("--otlp-traces-endpoint") + 1] == GRPC
        assert made.engine.env["OTEL_SERVICE_NAME"] == "chat"
        assert "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" not in made.engine.env
    made = plan(config("llama-8b"), **lean, otlp_traces_endpoint=HTTP)
    assert made.engine.env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"
    own = {"OTEL_SERVICE_NAME": "mine"}
    made = plan(config("llama-8b"), **lean, otlp_traces_endpoint=GRPC, env=own)
    assert made.engine.env["OTEL_SERVICE_NAME"] == "mine"


def test_as_an_engine_argument_it_is_the_same(config, plan):
    lean = {"max_model_len": 4096, "name": "chat"}
    field = plan(config("llama-8b"), **lean, otlp_traces_endpoint=HTTP)
    argument = plan(config("llama-8b"), **lean, engine_args={"otlp-traces-endpoint": HTTP})
    assert (field.engine.args, field.engine.env) == (argument.engine.args, argument.engine.env)


def test_a_release_that_has_no_such_flag_is_refused_by_name(config, plan, monkeypatch):
    from deployctl.engines.vllm import flags

    table = flags.document("flags")["flags"]
    monkeypatch.setitem(table, "otlp-traces-endpoint", [["0.12.0", {"t": "str"}]])
    lean = {"max_model_len": 4096, "otlp_traces_endpoint": GRPC}
    (reason,) = plan(config("llama-8b"), engine_version="0.11.0", **lean).reasons
    assert reason.code == "unknown_flag"
    assert "0.11.0 has no flag --otlp-traces-endpoint" in reason.message


@pytest.mark.parametrize(
    "address",
    [
        "collector:4317",
        "http://",
        "http://user:secret@c:1",
        "http://c/\n",
        "ftp://c",
        "http://c:65536",
        "https://c/v1/traces?api-key=verysecret",
    ],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValidationError, match="HOST:PORT"):
        ServiceSpec(model="m", otlp_traces_endpoint=address)


def test_a_key_in_an_address_is_not_repeated():
    document = {"model": "m", "otlp_traces_endpoint": "https://c/v1/traces?api-key=verysecret"}
    ((_, said, _),) = problems(document)
    assert "no query (got 'https://c/v1/traces')" in said


def test_the_flag_is_called_by_its_name():
    with pytest.raises(SpecError) as refused:
        load_specs([], {"model": "m", "otlp_traces_endpoint": "collector"})
    assert refused.value.where == "--otlp-endpoint"
