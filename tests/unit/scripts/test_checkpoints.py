"""The page of popular checkpoints: no cell without a verdict, no refusal without reason and fix.

That the page is what the planner says today is `scripts/reference.py --check`.
"""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "checkpoints.md"
LEAST = 4096  # tokens of the shortest context that is chosen
STARTS = re.compile(
    r"(\*\*)?([\d,]+)(?:\*\*)?(?: \*FP8\*)?(?: ≈)?<br>([\d,]+) × 2k<br>([\d.]+) GiB"
)
REFUSED = re.compile(r"✗ (\w.*?)<br>((`--\w[^`<]*`<br>)+→ [\d,]+|a card of \d+ GiB)")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("page", ROOT / "scripts" / "checkpoints.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows():
    """The page's rows: the checkpoint's cell, and one a card."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if "/<br>" in line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_checkpoint_has_a_row_and_a_source(script, rows):
    known = script.checkpoints()
    assert [row[0].split("<br>[")[0].replace("<br>", "").strip("| ") for row in rows] == [
        one.id for one in known
    ]
    assert len({one.id for one in known}) == len(known) >= 60
    assert sum(one.published for one in known) >= 30
    assert all(one.source.startswith("https://") for one in known)


def test_every_plan_has_a_verdict_that_explains_itself(script, rows):
    for name, *cells in rows:
        assert len(cells) == len(script.CARDS), name
        for cell in cells:
            starts, refused = STARTS.fullmatch(cell), REFUSED.fullmatch(cell)
            assert bool(starts) != bool(refused), (name, cell)
            if starts:
                bold, context, requests, cache = starts.groups()
                assert bold or int(context.replace(",", "")) >= LEAST, (name, cell)
                assert int(requests.replace(",", "")) >= 1, (name, cell)
                assert float(cache) > 0.1, (name, cell)


def test_a_row_is_what_plan_says(script):
    known = {one.id: one for one in script.checkpoints()}
    starts, refused, *_ = script.plans(known["Qwen/Qwen2.5-32B-Instruct-AWQ"])
    assert (starts.verdict, refused.verdict) == ("fits", "does_not_fit")
    assert starts.model == "Qwen/Qwen2.5-32B-Instruct-AWQ"
    assert starts.fp8_chosen
    assert script.cell(starts).startswith(f"{starts.max_model_len:,} *FP8*<br>")
    way = refused.fixes[0]
    assert script.cell(refused) == (
        f"✗ {refused.memory.weights_gib:.1f} GiB of weights leave no KV cache<br>"
        f"{'<br>'.join(f'`--{flag}`' for flag in way.change[2:].split(' --'))}<br>"
        f"→ {way.max_model_len:,}"
    )
