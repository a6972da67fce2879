"""The tables of routes and of metrics (deploy/engines) against the installed vLLM, without a door.

Of an engine that runs: its OpenAPI document, its page of metrics, and what `smoke` finds open and
leaves as it was. Of its router, which can be had without an engine: every task, with all that
options and variables turn on.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import ports
from deployctl.endpoint import Endpoint, Guard
from deployctl.engines.vllm import exported, routes
from deployctl.targets import strangers

pytestmark = pytest.mark.vllm

# What a plan for a CPU says too; and what mounts the routes that a stranger must reach least.
AROUND = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_SERVER_DEV_MODE": "1",
}
START_SECONDS = 600  # 40 s on two idle cores; the machine may be busy

# What FastAPI adds is in no OpenAPI document, nor is a websocket.
UNDOCUMENTED = {
    "GET /docs", "GET /docs/oauth2-redirect", "GET /openapi.json", "GET /redoc", "GET /static",
    "WEBSOCKET /v1/realtime",
}  # fmt: skip
# With VLLM_ENABLE_COHERE_API, where Cohere's package is installed.
COHERE = {"POST /cohere/v2/chat", "POST /cohere/v2/chat/render"}
# What an engine that generates has only where an option or a variable asks for it.
TURNED_ON = {
    "VLLM_SERVER_DEV_MODE": {
        "GET /get_world_size", "GET /is_paused", "GET /is_sleeping", "GET /server_info",
        "GET /weight_info", "POST /abort_requests", "POST /collective_rpc",
        "POST /finish_weight_update", "POST /init_weight_transfer_engine", "POST /pause",
        "POST /release_kv_cache_memory", "POST /reset_encoder_cache", "POST /reset_mm_cache",
        "POST /reset_prefix_cache", "POST /resume", "POST /shutdown_weight_transfer_engine",
        "POST /sleep", "POST /start_draft_weight_update", "POST /start_weight_update",
        "POST /update_weight_version", "POST /update_weights", "POST /wake_up",
        "POST /weight_checker",
    },
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": {
        "POST /v1/load_lora_adapter", "POST /v1/unload_lora_adapter", "POST /adapters",
        "DELETE /adapters/{adapter_name}",
    },
    "--profiler-config": {"POST /start_profile", "POST /stop_profile"},
    "--enable-tokenizer-info-endpoint": {"GET /tokenizer_info"},
    "--enable-fault-tolerance": {"GET /fault_tolerance/status", "POST /fault_tolerance/apply"},
}  # fmt: skip
OTHER_TASKS = {
    "POST /classify", "POST /pooling", "POST /rerank", "POST /score", "POST /v1/rerank",
    "POST /v1/score", "POST /v2/rerank", "POST /v1/embeddings", "POST /v2/embed",
    "POST /v1/audio/transcriptions", "POST /v1/audio/translations",
}  # fmt: skip

ASK = """
import json, os, sys
from types import SimpleNamespace
os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
for name in ("VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
    os.environ[name] = "1"
import vllm
from starlette.routing import Mount, WebSocketRoute
from vllm.entrypoints.openai.api_server import build_app
from vllm.config import ProfilerConfig
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

def routes(app):
    for route in app.routes:
        if isinstance(route, Mount):
            yield f"GET {route.path}"
        elif "WebSocket" in type(route).__name__:
            yield f"WEBSOCKET {route.path}"
        else:
            for method in route.methods - {"HEAD"}:
                yield f"{method} {route.path}"

ONE_LABEL = SimpleNamespace(num_labels=1)
found = {}
for tasks in json.load(sys.stdin):
    args = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    for option in ("enable_tokenizer_info_endpoint", "enable_fault_tolerance"):
        setattr(args, option, True)
    args.profiler_config = ProfilerConfig(profiler="torch", torch_profiler_dir="/tmp")
    pools = tasks[0] if tasks[0] in ("embed", "classify") else None
    model = SimpleNamespace(get_pooling_task=lambda _: pools, hf_config=ONE_LABEL)
    found[tasks[0]] = sorted(set(routes(build_app(args, tuple(tasks), model))))
sys.stdout.write("ANSWER" + json.dumps([vllm.__version__, found]))
"""


@pytest.fixture(scope="module")
def engine(tiny_checkpoint, tmp_path_factory):
    """A vLLM that generates, as its own documentation starts one: no door, no key."""
    port = ports.free()
    log = tmp_path_factory.mktemp("bare") / "log"
    words = ["--model", tiny_checkpoint, "--host", "127.0.0.1", "--port", port, "--enforce-eager"]
    words += ["--max-model-len", 512, "--enable-scale-out"]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
    environment = {**os.environ, **AROUND}
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as said:
        process = subprocess.Popen(
            list(map(str, command)), stdout=said, stderr=said, env=environment,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url):
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def documented(engine):
    """The routes in the engine's OpenAPI document."""
    document = httpx.get(f"{engine}/openapi.json", timeout=60).json()
    return {
        f"{method.upper()} {path}" for path, ways in document["paths"].items() for method in ways
    }


@pytest.fixture(scope="module")
def version(engine):
    return httpx.get(f"{engine}/version", timeout=60).json()["version"]


def test_the_table_has_what_the_engine_says_it_has_and_nothing_else_but_for_a_reason(
    documented, version
):
    table = set(routes.served(version))
    assert documented <= table
    turned_on = set().union(*TURNED_ON.values()) - TURNED_ON["VLLM_SERVER_DEV_MODE"]
    assert table - documented == UNDOCUMENTED | COHERE | turned_on | OTHER_TASKS


def test_smoke_finds_all_of_an_open_engine_and_leaves_it_as_it_was(engine, documented, version):
    def state():
        asked = {
            path: httpx.get(f"{engine}{path}", timeout=60).json()
            for path in ("/is_sleeping", "/is_paused", "/v1/models")
        }
        counted = httpx.get(f"{engine}/metrics", timeout=60).text
        finished = [x for x in counted.splitlines() if x.startswith("vllm:request_success_total")]
        return {**asked, "finished": finished}

    before = state()
    before["/v1/models"] = [model["id"] for model in before["/v1/models"]["data"]]
    endpoint = Endpoint(engine, "tiny", None, "tiny", guard=Guard(version, door=False))
    started = time.monotonic()
    with strangers.stranger(endpoint) as client:
        found = strangers.judge(client, endpoint)
    took = time.monotonic() - started
    assert not found.ok
    opened = {one.route for one in found.open}
    there = documented | UNDOCUMENTED - {"GET /static", "WEBSOCKET /v1/realtime"}
    assert opened <= there
    # It starts programs to tell its surroundings, and may answer later than smoke waits.
    assert there - opened <= {"GET /health", "GET /server_info"}
    after = state()
    after["/v1/models"] = [model["id"] for model in after["/v1/models"]["data"]]
    assert after == before
    assert took < strangers.WITHIN_S
    few = strangers.FEW
    with strangers.stranger(endpoint) as client:
        assert [one.route for one in strangers.judge(client, endpoint, few=True).open] == [*few]
    body = {"model": before["/v1/models"][0], "prompt": "a", "max_tokens": 1}
    assert httpx.post(f"{engine}/v1/completions", json=body, timeout=300).status_code == 200


def test_the_table_of_metrics_is_the_page_of_an_engine_that_has_answered(engine, version):
    body = {"model": httpx.get(f"{engine}/v1/models", timeout=60).json()["data"][0]["id"]}
    body |= {"prompt": "a", "max_tokens": 2}
    assert httpx.post(f"{engine}/v1/completions", json=body, timeout=300).status_code == 200
    page = httpx.get(f"{engine}/metrics", timeout=60).text
    read = text_string_to_metric_families(page)
    families = {f.name: f for f in read if not f.name.endswith("_created")}  # of the client's own
    table = exported.of(version)
    assert sorted(set(families) - set(table)) == []
    for name, family in families.items():
        metric = table[name]
        assert (family.type, family.documentation[:40]) == (
            metric.kind, exported.help_of(name, version)[:40]
        )  # fmt: skip
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert metric.labels is None or labels <= {metric.labels}, name
        bounds = {float(s.labels["le"]) for s in family.samples if "le" in s.labels}
        assert not bounds or not metric.buckets or bounds == {*metric.buckets, float("inf")}, name
    anyway = {name for name, metric in table.items() if not (metric.condition or metric.when)}
    doors = {name for name in table if name.startswith("deployctl_")}
    assert anyway - set(families) == doors


def test_the_table_is_the_router_of_every_task():
    tasks = [["generate", "render"], ["embed"], ["classify"], ["transcription"], ["realtime"]]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK],
        input=json.dumps(tasks), capture_output=True, text=True, timeout=START_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    version, found = json.loads(done.stdout.split("ANSWER", 1)[1])
    mounted, table = set().union(*map(set, found.values())), set(routes.served(version))
    assert sorted(mounted - table) == []
    assert table - mounted == COHERE | {"GET /static"}  # with --enable-offline-docs
