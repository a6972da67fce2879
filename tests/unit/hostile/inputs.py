"""Hostile inputs of whole commands, by number: words, files, variables and a server's answers.

`make(number)` is the same each time, as long as the corpus is. What an input found gets a
test of its own, in test_found.py.
"""

import json
import random
import struct
from enum import Enum
from functools import cache
from typing import NamedTuple

from typer.main import get_command

from deployctl.cli.app import build

from .mutations import at_random, seeds

SEED = "17"
VERBS = (  # how often each kind comes up
    *(["server"] * 6),
    *(["model"] * 4),
    *(["file"] * 5),
    *(["record"] * 2),
    *(["words"] * 5),
)
ENDLESS = ("--watch", "-w", "--follow", "--help", "-h")
GPUS = ("l4", "h100", "cpu", "4090", "8xh100", "nosuch", "auto", "", "\x1b[2J")
# What a user, or a pipeline's variable, may put in the place of any value.
VALUES = (
    *("", " ", "-", "--", "-1", "0", "1e300", "1e999", "NaN", "inf", "²", "٣", "9" * 5000),
    *(
        "a" * 5000,
        "\x1b[2J",
        "\u202e",
        "\udcff",
        "a\nb",
        "a\tb",
        "[bold]",
        "[/]",
        "[link=x]y[/link]",
    ),
    *("%s", "{}", "{0.__class__}", "$HOME", "~", "..", "../..", ".", "nonexistent/x", "@", "@x"),
    *(
        "a,b",
        "a=b",
        "=",
        "a:b",
        "'Name: value'",
        "null",
        "true",
        "[]",
        "{}",
        '{"a": [1]}',
        "1s",
        "1h",
    ),
    *(
        "http://",
        "http://a:secret@h:99999",
        "http://[",
        "https://127.0.0.1:1",
        "ftp://x",
        "file:///etc",
    ),
    *(
        "l4",
        "tiny",
        "org/model",
        "process",
        "docker",
        "kubernetes",
        "1",
        "2",
        "4096",
        "0.9",
        "1GiB",
    ),
)

FILES = (  # verb and words for a file of a corpus; @ is its path
    ("check @", "yaml"),
    ("check @ --output json", "yaml"),
    ("plan -f @ --gpu l4", "yaml"),
    ("render -f @ --target kubernetes", "yaml"),
    ("diff -f @ --against @", "yaml"),
    ("profiles add --from @", "nvidia-smi"),
    ("plan --model tiny --gpu @", "profile"),
    ("plan --model tiny --gpu l4 --tuned @", "yaml"),
    ("keys list --file @", "json"),
    ("keys add --file @ alice", "json"),
    ("loadtest --url URL --workload @ --duration 1s", "yaml"),
    ("loadtest --url URL --trace @", "sample"),
    ("loadtest --url URL --extra-body @@", "body"),
    ("loadtest --url URL --ca-file @", "json"),
    ("smoke --url URL --api-key-file @", "json"),
)
PROFILE = b"""name: mine
title: A card
memory_gib: 23.6
memory_bandwidth_gb_s: 300
compute_capability: "8.9"
"""
REVIEW = b"""{"version": 1, "files": ["service.yaml"], "services": [], "findings": [{"level":
"error", "code": "bad-input", "message": "no such card: l5", "fix": "give l4", "file":
"service.yaml", "line": 2, "column": 1, "where": "gpu", "service": "tiny"}]}"""
SPECS = b"""model: tiny
gpu: l4
---
model: tiny
name: other
gpu: h100
target: kubernetes
"""


class Input(NamedTuple):
    """One command. `URL` in its words stands for the server's address."""

    words: list
    files: dict  # bytes by path, below the working folder
    answers: dict  # whole HTTP answers by path
    variables: dict


def make(number):
    """The input of a number."""
    source = random.Random(f"{SEED}/{number}")
    if number % 20 == 19:  # of verbs that came later: the other inputs are as they were
        return _later(source)
    kind = source.choice(VERBS)
    return globals()[f"_{kind}"](source)


def _later(source):
    """Of review, of its comment and of top."""
    if source.random() < 0.3:
        answers = {"/metrics": whole(at_random(source, source.choice(_bodies("/metrics"))))}
        words = ["top", "--url", "URL", "--once", "--output", "json"]
        return Input(words, {}, answers, {})
    if source.random() < 0.3:
        words = ["comment", "review.json", "--repository", "org/app", "--pull", "7"]
        given = {"review.json": at_random(source, source.choice((REVIEW, *seeds("json"))), most=4)}
        variables = {"GITHUB_TOKEN": "secret", "GITHUB_API_URL": "http://127.0.0.1:1"}
        return Input(words, given, {}, variables)
    text = source.choice(("-f @", "-f @ --output json", "-f @ --against-file @"))
    words = ["review", *text.replace("@", "given.yaml").split()]
    data = at_random(source, source.choice((SPECS, *seeds("yaml"))), most=4)
    return Input(words, {**checkpoint(), "given.yaml": data}, {}, {})


def _server(source):
    words = source.choice(
        (
            ["metrics"], ["metrics", "--output", "json"], ["metrics", "--watch", "--interval", "1"],
            ["smoke", "--timeout", "2s"], ["smoke", "--tools", "yes", "--timeout", "2s"],
            ["smoke", "--model", "tiny", "--output", "json", "--timeout", "2s"],
            ["loadtest", "--duration", "1s", "--warmup", "0s", "--out", "results"],
            ["loadtest", "--requests", "2", "--slo", "itl_p99=1ms", "--out", "results"],
        )
    )  # fmt: skip
    answers = {}
    for path in source.sample(sorted(ANSWERS), source.randint(1, 4)):
        body = at_random(source, source.choice(_bodies(path)))
        status = source.choice((200, 200, 200, 200, 401, 404, 500, 503, 302))
        raw = whole(body, status)
        answers[path] = at_random(source, raw) if source.random() < 0.15 else raw
    if "--watch" in words:  # it ends with an error alone
        answers["/metrics"] = whole(b"", 500)
    return Input([words[0], "--url", "URL", *words[1:]], {}, answers, {})


def whole(body, status=200):
    """An answer."""
    return b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (
        status, len(body),
    ) + body  # fmt: skip


def _bodies(path):
    kinds = {"/metrics": "metrics", "/v1/chat/completions": "body", "stream": "sse"}
    return seeds(kinds.get(path, "body"))


ANSWERS = {
    "/health": whole(b""),
    "/v1/models": whole(b'{"data": [{"id": "tiny", "owned_by": "vllm"}]}'),
    "/metrics": whole(seeds("metrics")[0]),
    "/v1/chat/completions": whole(b'{"choices": [{"message": {"content": "Paris"}}]}'),
    "/v1/completions": whole(b'{"choices": [{"text": "Paris"}]}'),
    "/tokenize": whole(b'{"count": 3}'),
    "stream": whole(seeds("sse")[0]),  # what Locust would have read
}


def checkpoint():
    """The files of a checkpoint that is planned without a fault."""
    return {
        "tiny/config.json": seeds("json")[1],
        "tiny/generation_config.json": b'{"temperature": 0.7}',
        "tiny/tokenizer_config.json": b'{"chat_template": "{{ messages }} {{ tools }}"}',
        "tiny/tokenizer.json": b"{}",
        "tiny/model.safetensors": safetensors(),
    }


def _model(source):
    files = checkpoint()
    for name in source.sample(sorted(files), source.randint(1, 2)):
        files[name] = at_random(source, files[name], most=4)
    words = source.choice(
        (
            ["inspect", "tiny"], ["inspect", "tiny", "--output", "json"],
            ["plan", "--model", "tiny", "--gpu", source.choice(GPUS)],
            ["plan", "--model", "tiny", "--gpu", "l4", "--output", "json"],
            ["render", "--model", "tiny", "--gpu", "l4", "--target", "docker"],
            ["render", "--model", "tiny", "--gpu", "h100", "--target", "kubernetes", "-o", "out"],
            ["diff", "--model", "tiny", "--gpu", "l4"],
            ["tune", "--model", "tiny", "--gpu", "l4", "--dry-run", "--target", "process"],
        )
    )  # fmt: skip
    return Input(words, files, {}, {})


def safetensors():
    """A small file of weights."""
    table = {
        f"model.layers.{layer}.mlp.down_proj.weight": {
            "dtype": "F16", "shape": [4, 8], "data_offsets": [layer * 64, layer * 64 + 64],
        }
        for layer in range(3)
    }  # fmt: skip
    header = json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + bytes(192)


def _file(source):
    if source.random() < 0.2:
        return _compare(source)
    text, corpus = source.choice(FILES)
    data = PROFILE if corpus == "profile" else source.choice(seeds(corpus))
    data = at_random(source, data, most=4)
    words = [
        word.replace("@@", "\0").replace("@", "given.yaml").replace("\0", "@given.yaml")
        for word in text.split()
    ]
    return Input(words, {**checkpoint(), "given.yaml": data}, {}, {})


def _compare(source):
    summary = {
        "version": 1, "started": "2026-11-27T00:00:00+00:00", "trustworthy": True,
        "setup": {"model": "m", "url": "http://h", "users": 4, "duration_s": 10.0},
        "window_s": [0.0, 10.0], "verdicts": [], "slo": None, "requests": {"ok": 1, "failed": 0},
    }  # fmt: skip
    files = {}
    for side in "ab":
        files[f"{side}/summary.json"] = json.dumps(summary).encode()
        files[f"{side}/requests.jsonl"] = seeds("sample")[0]
    for name in source.sample(sorted(files), source.randint(1, 2)):
        files[name] = at_random(source, files[name])
    return Input(["compare", "a", "b"], files, {}, {})


def _record(source):
    words = source.choice(
        (
            ["status"], ["status", "tiny", "--output", "json"], ["logs", "tiny"],
            ["history", "tiny"],
            ["history", "tiny", "--output", "json"], ["rollback", "tiny"], ["metrics", "tiny"],
            ["smoke"], ["keys", "list", "tiny"], ["diff", "--model", "tiny", "--gpu", "cpu"],
        )
    )  # fmt: skip
    # The record itself is put there by whoever runs it: it is long.
    return Input(words, {"RECORD": bytes([source.randrange(256) for _ in range(8)])}, {}, {})


@cache
def options():
    """The options of every verb, and of its own verbs: what each may be; nothing for a switch."""
    found = {}

    def add(words, command):
        for name, inner in getattr(command, "commands", {}).items():
            add([*words, name], inner)
        if not hasattr(command, "commands") or len(words) > 1:
            found[" ".join(words)] = {
                given: () if getattr(each, "is_flag", False) else _choices(each)
                for each in command.params
                for given in each.opts
                if given.startswith("-") and given not in ENDLESS
            }

    for name, command in get_command(build(every=True)).commands.items():
        add([name], command)
    return found


def _choices(option):
    kind, shown = option.type_descriptor.annotation, option.metavar or ""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(each.value) for each in kind)
    return tuple(shown.split("|")) if "|" in shown else ("1", "2", "tiny")


def _words(source):
    known = options()
    words = source.choice(sorted(known)).split()
    verb, options_of = words[0], known[" ".join(words)]
    for name in source.sample(sorted(options_of), min(len(options_of), source.randint(0, 4))):
        words.append(name)
        if options_of[name]:
            words.append(source.choice((*options_of[name], *VALUES)))
    files = {}
    if "--model" in options_of and "--gpu" in options_of and source.random() < 0.7:
        words, files = [*words, "--model", "tiny", "--gpu", source.choice(GPUS[:3])], checkpoint()
    elif source.random() < 0.7:
        words.append(source.choice(VALUES))
    if verb == "demo-model":  # a good one would be built, for half a minute
        words += ["--format", "nosuch"]
    variables = {}
    if source.random() < 0.3:
        name = source.choice(
            ("GPU", "MODEL", "TARGET", "ENV", "PORT", "API_KEY", "CACHE_DIR", "SLO")
        )
        variables[f"DEPLOYCTL_{name}"] = source.choice(VALUES)
    return Input(words, files, {}, variables)
