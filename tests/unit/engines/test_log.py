"""vLLM's log, from real starts: its phases, and the cause of a failure."""

from pathlib import Path

import pytest

from deployctl.engines.vllm import log

LOGS = Path(__file__).resolve().parents[2] / "data" / "vllm-log"


def lines(name):
    return (LOGS / name).read_text().splitlines()


def phases(name):
    return list(dict.fromkeys(phase.key for phase in map(log.phase, lines(name)) if phase))


def test_the_phases_of_a_start_without_compiling():
    # The log speaks of torch.compile, to say that it is disabled: that is no phase.
    assert phases("cpu-0.32-start.log") == [
        "configuring",
        "workers",
        "loading",
        "warming",
        "serving",
    ]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("INFO 11-20 [backends.py:1167] Dynamo bytecode transform time: 5.11 s", "compiling"),
        ("INFO [monitor.py:40] Starting torch.compile", "compiling"),
        ("INFO [gpu_worker.py:1] Graph capturing finished in 4 secs", "warming"),
        ("INFO [api_server.py:1] Starting vLLM API server 0 on http://0.0.0.0:8000", "serving"),
        ("INFO [weight_utils.py:2] Time spent downloading weights for x: 3 s", "downloading"),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2", "loading"),
    ],
)
def test_a_line_announces_a_phase(line, key):
    assert log.phase(line).key == key


def test_the_cause_and_not_its_echoes():
    found = log.diagnose(lines("cpu-0.32-no-memory-for-kv.log"))
    assert found.message == (
        "the machine has less free memory than the KV cache and the weights need"
    )
    assert found.line.startswith("ValueError: Available memory on node 0 (13.96/18.59 GiB)")
    assert "kv_cache_gib" in found.hint


def test_an_unknown_cause_is_told_in_the_engine_s_words():
    text = [
        line.replace("Available memory on node", "Odd thing")
        for line in lines("cpu-0.32-no-memory-for-kv.log")
    ]
    found = log.diagnose(text)
    assert found.message.startswith("ValueError: Odd thing 0 (13.96/18.59 GiB)")


def test_no_error_no_diagnosis():
    assert log.diagnose(lines("cpu-0.32-start.log")) is None


def test_lines_worth_showing():
    shown = log.tail(lines("cpu-0.32-no-memory-for-kv.log"), 6)
    assert len(shown) == 6
    assert shown[-1].startswith("RuntimeError: Engine core initialization failed")
    assert not [line for line in shown if "File" in line or "resource_tracker" in line]


def test_how_the_processes_end_after_a_failure_is_not_worth_showing():
    ends = [
        "(EngineCore pid=4) INFO 11-27 02:59:49 [core.py:1635] [shutdown] EngineCore: start",
        "(Worker pid=5) INFO 11-27 02:59:49 [multiproc_executor.py:843] Parent process exited, "
        "terminating worker queues",
    ]
    assert log.tail(["TypeError: no such thing", *ends], 6) == ["TypeError: no such thing"]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("ValueError: Free memory on device (3.1/22.0 GiB) on startup is less than desired GPU "
         "memory utilization (0.92, 20.2 GiB).", "another process holds memory"),
        ("ValueError: To serve at least one request with the model's max seq len (131072), 16 GiB",
         "too small for one request"),
        ("api_server.py: error: unrecognized arguments: --num-lookahead", "--num-lookahead"),
        ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.",
         "'FooForCausalLM'"),
        ("OSError: [Errno 98] Address already in use", "listens on the port"),
        ("safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
         "damaged or cut short"),
        ("TypeError: --tool-call-parser llama3_json and --reasoning-parser qwen3 cannot be used "
         "with the tokenizer of '/m': could not locate the bot token",
         "tokenizer lacks what --tool-call-parser llama3_json and"),
    ],
)  # fmt: skip
def test_known_failures_are_translated(line, part):
    assert part in log.diagnose(["INFO fine", line, "later"]).message
