"""Every parser of foreign bytes, on a corpus that is changed: seconds here, minutes at night.

    ./test night -k fuzz                 all of them
    ./test night -k "fuzz and gguf"      one of them

Whatever comes, the answer is one of ours: a value that JSON and a terminal take, or an error that
says what is wrong. At every change the same inputs are tried, at night new ones.
"""

import contextlib
import json
import struct
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from deployctl import metrics, promql, web
from deployctl.checking import check_texts
from deployctl.checking.formats import junit, sarif
from deployctl.endpoint import Endpoint
from deployctl.engines.vllm import log
from deployctl.errors import DeployctlError
from deployctl.hardware import nvidia, report
from deployctl.hub import headers, jsonfile
from deployctl.load import folder
from deployctl.metrics import figures
from deployctl.operations.measure import messages, smoke
from deployctl.spec.load import read_documents
from deployctl.targets import readiness
from deployctl.targets.keyfile import parse as read_keys
from deployctl.targets.store import ServiceRef, Store
from deployctl_loadtest import foreign
from deployctl_loadtest.foreign import TooMuchError, printable
from deployctl_loadtest.sse import Stream

from .mutations import mutated, seeds

FEW, MANY = 150, 20_000  # inputs of each parser
SAFETENSORS = {"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}


def showable(error):
    """An error of ours, with all that a user is shown."""
    assert error.exit_code in (2, 3, 4)
    assert error.message
    for text in (error.message, error.where or "", error.hint or ""):
        assert len(text) < 10_000
        printable(text).encode()


def plain(value):
    """What JSON takes, with no number that is none."""
    return json.dumps(value, allow_nan=False).encode()


def sse(data):
    stream = Stream([])
    try:
        for at, part in enumerate((data[: len(data) // 2], data[len(data) // 2 :])):
            stream.block(part + b"\n", float(at))
        stream.close()
    except TooMuchError:
        return
    for text in (stream.error, stream.response_id, stream.finish_reason):
        assert text is None or (printable(text) == text and len(text) <= foreign.MAX_MESSAGE)
    for count in (stream.input_tokens, stream.output_tokens):
        assert count is None or 0 <= count <= foreign.MAX_TOKENS


def stream_of_smoke(data):
    answer = httpx.Response(200, content=data)
    with httpx.Client(base_url="http://h", transport=httpx.MockTransport(lambda _: answer)) as c:
        said = messages.streamed(c, {"model": "m"})
    assert said.message or said.detail
    plain(said)


def body(data):
    """An answer to whatever smoke, loadtest and readiness ask."""
    for status in (200, 400, 500):
        answer = lambda _, s=status: httpx.Response(s, content=data)  # noqa: E731
        with httpx.Client(base_url="http://h", transport=httpx.MockTransport(answer)) as client:
            check, name = smoke.models(client, Endpoint("http://h", None, None))
            plain([check.document(), name])
            for said in smoke.completion(client, "m", "q", "Paris"):
                plain(said)
            plain(messages.whole(client, {}))
            for each in smoke.chats.checks(client, "m", None, "q", "yes"):
                plain(each.document())
        plain(readiness._judge(status, data))
    with contextlib.suppress(ValueError):
        plain(foreign.document(data))


def lines(data):
    with contextlib.suppress(web.TooLargeError):
        list(web.lines(httpx.Response(200, content=data), most=4000))


def safetensors(data):
    for where in (data, struct.pack("<Q", len(data)) + data):
        headers.header_length(where, len(where), "x")
    for tensor in headers.parse_header(data, None, "x"):
        assert tensor.nbytes >= 0
        assert printable(json.dumps(tensor.name))


def gguf(data):
    plain(headers.gguf_metadata(lambda start, count: data[start : start + count], "x.gguf"))


def checkpoint_json(data):
    found = jsonfile.parse_object(data, "config.json")
    plain(found)
    headers.shards(found, "index")


def yaml_text(data):
    text = data.decode("utf-8", "replace")
    found = check_texts({"m.yaml": text})
    plain(sarif(found))
    junit(found, ["m.yaml"], strict=True).encode()


def query(data):
    with contextlib.suppress(ValueError):
        for _, around in promql.walk(promql.parse(data.decode("utf-8", "replace"))):
            assert len(around) <= promql.MAX_QUERY


def smi(data):
    text = data.decode("utf-8", "replace")
    for card in nvidia.read_cards(text):
        plain([card.name, card.usable_mib, card.compute_capability])
    nvidia.read_apps(text)
    nvidia.read_matrix(text)
    nvidia.read_lost(text)
    nvidia.read_failure(text, 9)
    report.read_report(text, "cards.xml")


def exposition(data):
    first = metrics.parse(data.decode("utf-8", "replace"), 1.0)
    plain(figures.since_start(first, 2.0))
    plain(figures.between(first, first._replace(at_s=2.0)))


def engine_log(data):
    told = data.decode("utf-8", "replace").split("\n")
    for line in told:
        log.phase(line)
        log.given_up(line)
    log.diagnose(told)
    log.tail(told, 12)


TARGETS = {  # corpus, and what reads it
    "sse": ("sse", sse),
    "sse-of-smoke": ("sse", stream_of_smoke),
    "body": ("body", body),
    "lines": ("sse", lines),
    "safetensors": ("safetensors", safetensors),
    "gguf": ("gguf", gguf),
    "json": ("json", checkpoint_json),
    "yaml": ("yaml", yaml_text),
    "promql": ("promql", query),
    "nvidia-smi": ("nvidia-smi", smi),
    "metrics": ("metrics", exposition),
    "log": ("log", engine_log),
}


def written(name, read):
    """A parser that reads a file."""

    def target(data, folder_):
        file = folder_ / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        read(file)

    return target


def specs(file):
    for each in read_documents(file):
        assert isinstance(each, dict)


def samples(file):
    for sample in folder._samples(file):
        plain(sample.to_dict())


def record(file):
    store = Store(file.parents[3])
    for release in store.releases(ServiceRef("process", "tiny")):
        release.model_dump_json()


FILES = {
    "spec": ("yaml", written("service.yaml", specs)),
    "samples": ("sample", written("requests.jsonl", samples)),
    "keys": ("json", written("keys.json", lambda file: read_keys(file.read_bytes(), file))),
    "record": ("record", written("process/tiny/releases/000001.json", record)),
}


class Data(bytes):
    """Bytes whose beginning alone is shown."""

    def __repr__(self):
        return repr(bytes(self[:2000]))


def fuzz(corpus, reads, examples, *, again):
    @settings(
        max_examples=examples,
        derandomize=again,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(corpus).map(Data))
    def holds(data):
        try:
            reads(bytes(data))
        except DeployctlError as error:
            showable(error)

    holds()


@pytest.fixture
def corpus_of(make_release):
    """The files of a corpus; of binary formats and records, as our own writers make them."""
    header = json.dumps(SAFETENSORS).encode()
    made = {
        "safetensors": [header, struct.pack("<Q", len(header)) + header],
        "gguf": [gguf_file()],
        "record": [json.dumps({"version": 1, **make_release().model_dump(mode="json")}).encode()],
    }
    return lambda name: made.get(name, []) + seeds(name)


def gguf_file():
    def text(value):
        return struct.pack("<Q", len(value)) + value

    pairs = [
        text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama"),
        text(b"llama.block_count") + struct.pack("<II", 4, 2),
        text(b"llama.rope.freq_base") + struct.pack("<If", 6, 10000.0),
        text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"b"),
        text(b"tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 2) + bytes(8),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs)


@pytest.mark.parametrize("name", [*TARGETS, *FILES])
def test_a_few_changed_inputs(name, corpus_of, tmp_path):
    fuzz(*_target(name, corpus_of, tmp_path), FEW, again=True)


@pytest.mark.night
@pytest.mark.parametrize("name", [*TARGETS, *FILES])
def test_many_changed_inputs(name, corpus_of, tmp_path):
    fuzz(*_target(name, corpus_of, tmp_path), MANY, again=False)


def _target(name, corpus_of, tmp_path):
    corpus, reads = TARGETS.get(name) or FILES[name]
    if name in FILES:
        return corpus_of(corpus), lambda data: reads(data, Path(tmp_path))
    return corpus_of(corpus), reads
