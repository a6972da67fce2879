"""scripts/engine.py: a release taken from its source, and what it says has changed."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Two releases of an engine with as little as the readers look for.
ARGUMENTS = """
class EngineArgs:
    gpu_memory_utilization: float = CacheConfig.gpu_memory_utilization
    enable_prefix_caching: bool = True
    block_size: int = 16

class AsyncEngineArgs(EngineArgs):
    pass

def add_cli_args(parser):
    cache_kwargs = get_kwargs(CacheConfig)
    parser.add_argument("--gpu-memory-utilization", **cache_kwargs["gpu_memory_utilization"])
    parser.add_argument("--enable-prefix-caching", **cache_kwargs["enable_prefix_caching"])
    parser.add_argument("--block-size", **cache_kwargs["block_size"])
    parser.add_argument("--disable-log-stats", action="store_true")
    parser.add_argument("--OTHER", choices=["a", "b"])
""" + "".join(f'    parser.add_argument("--more-{n}", type=int)\n' for n in range(6))
SERVER = """
class FrontendArgs:
    host: str | None = None
    port: int = 8000
"""
METRICS = 'self.running = Gauge(name="vllm:num_requests_running")\n'
ROUTES = '@router.post("/v1/completions")\nasync def complete(): ...\n'
CACHE = "class CacheConfig:\n    gpu_memory_utilization: float = 0.92\n"
SAMPLER = "def _dummy_sampler_run(self):\n    '''Said.'''\n    return 1  # why\n"


def source(root, version, **changed):
    """Writes a release's source: `_` in a name stands for `/`."""
    files = {
        "engine/arg_utils.py": ARGUMENTS,
        "entrypoints/openai/cli_args.py": SERVER,
        "entrypoints/openai/api_router.py": ROUTES,
        "config/cache.py": CACHE,
        "v1/metrics/loggers.py": METRICS,
        "v1/worker/gpu/model_runner.py": SAMPLER,
        **changed,
    }
    for name, text in files.items():
        if text is not None:
            file = root / version / "vllm" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import engine
    import vllm_behaviour
    import vllm_changes
    import vllm_source
    import vllm_tables

    class Scripts:
        take, to_read = staticmethod(engine.take), staticmethod(engine.to_read)
        release = staticmethod(engine.release)
        behaviour, changes, tables = vllm_behaviour, vllm_changes, vllm_tables
        Package, SourceError = vllm_source.Package, vllm_source.SourceError

    yield Scripts
    for name in ("engine", *(n for n in sys.modules if n.startswith("vllm_"))):
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def folder(tmp_path):
    """The data of an engine whose release 1.0.0 is known."""
    folder = tmp_path / "deploy" / "engines"
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "deploy" / "door", tmp_path / "deploy" / "door")
    behaviour = {
        "about": "…",
        "gpu_memory_utilization": [["0", 0.9, "before"]],
        "non_torch_gib": [["0", 0.13, "fitted"]],
    }
    (folder / "vllm-behaviour.json").write_text(json.dumps(behaviour))
    (folder / "vllm-releases.yaml").write_text(
        'proven: ["1.0.0"]\nunproven: {"1.1.0": no CPU build}\nnotes: {"1.1.0": [a word]}\n'
    )
    return folder


@pytest.fixture
def taken(scripts, folder, tmp_path):
    """`taken(**files)`: releases 1.0.0 and 1.1.0 are in the data; 1.1.0 differs in these files."""

    def take(**changed):
        source(tmp_path, "1.0.0")
        source(tmp_path, "1.1.0", **changed)
        scripts.take(["1.0.0"], tmp_path, folder, anew=True)
        scripts.take(["1.1.0"], tmp_path, folder)
        return scripts.changes.Releases(folder)

    return take


def test_what_a_release_has_is_read_from_its_source(scripts, taken):
    releases = taken()
    assert releases.versions == ["1.0.0", "1.1.0"]
    flags = scripts.tables.at(releases.tables["flags"], "flags", "1.1.0")
    assert flags["gpu-memory-utilization"] == {"t": "float", "d": 0.92}
    assert flags["enable-prefix-caching"] == {"t": "bool", "d": True}
    assert flags["disable-log-stats"] == {"t": "bool", "on": True}
    assert flags["OTHER"] == {"t": "choice", "c": ["a", "b"]}
    assert flags["port"] == {"t": "int", "d": 8000}
    assert "vllm:num_requests_running" in releases.tables["metrics"]["metrics"]
    assert "POST /v1/completions" in releases.tables["routes"]["routes"]
    (entry,) = releases.behaviour["gpu_memory_utilization"][1:]
    assert entry == ["1.0.0", 0.92, "vllm/config/cache.py 1.0.0: 0.92"]
    assert releases.behaviour["non_torch_gib"] == [["0", 0.13, "fitted"]]


def test_nothing_changed_is_said(scripts, taken):
    report = scripts.changes.report(taken(), "1.1.0")
    assert report.count("- no change") == 7
    assert "Unproven: no CPU build." in report
    assert "### Beside\n\n- a word" in report


def test_what_changed_is_said_in_the_words_of_users(scripts, taken):
    arguments = (
        ARGUMENTS.replace('"a", "b"', '"b", "c"')
        .replace("block_size: int = 16", "block_size: int = 32")
        .replace("disable-log-stats", "disable-log-statistics")
    )
    releases = taken(
        **{
            "engine/arg_utils.py": arguments,
            "entrypoints/openai/api_router.py": ROUTES + '@router.get("/secrets")\ndef s(): ...\n',
            "v1/metrics/loggers.py": METRICS.replace("Gauge", "Histogram"),
            "config/cache.py": CACHE.replace("0.92", "0.95"),
        }
    )
    report = scripts.changes.report(releases, "1.1.0")
    for line in (
        "- renamed: `--disable-log-stats` is `--disable-log-statistics`",
        "- changed: `--OTHER`: also takes `c`; takes no more `a`",
        "- changed: `--block-size`: default `32`, was `16`",
        "- changed: `vllm:num_requests_running` (histogram), was (gauge)",
        "- new: `GET /secrets`, closed by the door",
        "- `gpu_memory_utilization`: 0.95, was 0.92: vllm/config/cache.py 1.1.0: 0.95",
    ):
        assert line in report.splitlines()
    row = scripts.changes.summary(releases, "1.1.0")
    assert row.split(" | ")[2:5] == ["+1 −1 3 changed", "1 changed", "+1"]
    assert row in scripts.changes.page(releases)


def test_a_release_taken_twice_is_taken_once(scripts, taken, folder, tmp_path):
    taken(**{"engine/arg_utils.py": ARGUMENTS.replace("16", "32")})
    before = {file: file.read_text() for file in folder.iterdir()}
    scripts.take(["1.1.0"], tmp_path, folder)
    assert {file: file.read_text() for file in folder.iterdir()} == before


def test_what_a_person_entered_stays(scripts, taken, folder, tmp_path):
    taken()
    document = scripts.behaviour.load(folder)
    document["non_torch_gib"].append(["1.1.0", 0.3, "fitted: logs of 1.1"])
    scripts.behaviour.save(document, folder)
    scripts.take(["1.1.0"], tmp_path, folder)
    assert scripts.behaviour.load(folder) == document


def test_periods_stand_in_the_order_of_releases(scripts):
    """A release that is read later than a newer one must not decide for the newer one."""
    known = {"batch_gb10_is_small": [["0", False, "before"], ["0.33.0", True, "read"]]}
    readings = {"batch_gb10_is_small": scripts.behaviour.Reading(True, "found")}
    added = scripts.behaviour.add(known, "0.9.2", readings)["batch_gb10_is_small"]
    assert [first for first, *_ in added] == ["0", "0.9.2", "0.33.0"]
    assert scripts.behaviour.add(known, "0.34.0", readings) == known


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("v0.33.0", "0.33.0"), (" 0.9.0.1", "0.9.0.1"), ("0.34.0rc1", "0.34.0rc1")],
)
def test_a_release_is_named_as_its_tag_is(scripts, typed, meant):
    assert scripts.release(typed) == meant


@pytest.mark.parametrize("typed", ["", "latest", "0.33", "../0.33.0", "0.33.0 --all"])
def test_what_is_no_release_is_refused(scripts, typed):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no release; write for example"):
        scripts.release(typed)


def test_a_source_that_moved_is_refused_and_nothing_is_written(scripts, taken, folder, tmp_path):
    taken()
    before = {file: file.read_text() for file in folder.iterdir()}
    source(tmp_path, "1.2.0", **{"entrypoints/openai/cli_args.py": None})
    with pytest.raises(scripts.SourceError, match=r"2 of 13 flags are gone in 1\.2\.0, host, port"):
        scripts.take(["1.2.0"], tmp_path, folder)
    with pytest.raises(scripts.SourceError, match=r"older than 1\.1\.0"):
        scripts.take(["1.0.0"], tmp_path, folder)
    assert {file: file.read_text() for file in folder.iterdir()} == before


def test_judged_figures_are_named_where_their_function_changed(scripts, taken, tmp_path):
    taken(
        **{"v1/worker/gpu/model_runner.py": SAMPLER.replace("Said", "Other").replace("# why", "")}
    )
    assert "Nothing:" in list(scripts.to_read("1.1.0", "1.0.0", tmp_path))[-1]
    source(tmp_path, "1.1.0", **{"v1/worker/gpu/model_runner.py": SAMPLER.replace("1", "2")})
    said = "\n".join(scripts.to_read("1.1.0", "1.0.0", tmp_path))
    assert "model_runner.py: _dummy_sampler_run: v2_sampler_bytes_per_logit" in said
    assert "determine_available_memory" not in said


def test_every_key_is_either_read_or_judged(scripts):
    behaviour = scripts.behaviour
    keys = behaviour.load().keys() - {behaviour.ABOUT}
    assert keys == behaviour.PROBES.keys() | behaviour.JUDGED.keys()
    assert not behaviour.PROBES.keys() & behaviour.JUDGED.keys()


def test_the_tables_have_the_same_releases(scripts):
    releases = scripts.changes.Releases()
    assert all(table["versions"] == releases.versions for table in releases.tables.values())
    assert {*releases.proven, *releases.unproven, *releases.notes} <= set(releases.versions)
