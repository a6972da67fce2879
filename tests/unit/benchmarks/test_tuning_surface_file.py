"""The surface file: what is read, and what is said of a wrong one."""

import json
import re
from pathlib import Path

import pytest
from benchmarks.data import write_compressed
from benchmarks.tuning.surface.file import read, read_all

from deployctl.errors import InputError
from surface_parts import document, flat

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "tuning-surface.md"
SHIPPED = Path(__file__).parents[3] / "benchmarks" / "tuning"
FAILS = {"at": "start", "kind": "out_of_memory", "reason": "no memory"}


def written(tmp_path, change):
    found = document(flat)
    change(found)
    file = tmp_path / "s.json"
    file.write_text(json.dumps(found))
    return file


def test_the_page_s_own_example_is_read(tmp_path):
    example = re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    file = tmp_path / "example.json"
    file.write_text(example)
    surface = read(file)
    assert surface.points[1].failure.kind == "out_of_memory"
    assert surface.drift[1] == (3600, 0.94)


def test_the_page_names_every_field_and_column():
    from benchmarks.tuning.surface.file import COLUMNS, Breaks, Means, Noise, Point, Surface

    text = PAGE.read_text()
    names = [*COLUMNS]
    for part in (Surface, Means, Noise, Point, Breaks):
        names += part.model_fields
    said = re.findall(r"`([^`\s]+)`", text)
    assert set(names) - {word for found in said for word in found.split(".")} == set()


@pytest.mark.parametrize("folder", ["surfaces", "measured"])
def test_every_shipped_surface_is_read(folder):
    surfaces = read_all(SHIPPED / folder)
    assert len({surface.name for surface in surfaces}) == len(surfaces) > 1


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        (lambda d: d.pop("columns"), "columns", "required"),
        (lambda d: d.update(colums=[]), "colums", "no such field"),
        (lambda d: d.update(version=2), "version", "1"),
        (lambda d: d["columns"].__setitem__(3, "ttft_p50"), "columns", "did you mean ttft_p50_s"),
        (lambda d: d["columns"].__setitem__(1, "waiting_max"), "columns", "requests_per_s is req"),
        (lambda d: d["problem"].update(goal="speed"), "problem/goal", "goodput"),
        (
            lambda d: d["problem"]["slo"].update(ttft_p99_s=1),
            "problem/slo/ttft_p99_s", "no latency",
        ),
        (lambda d: d["problem"].update(parameters=[]), "problem/parameters", "1 item"),
        (lambda d: d["problem"]["first"].update(value=0), "problem/first/value", "greater than 0"),
        (lambda d: d["points"][0]["rows"][0].pop(), "points/0/rows/0", "8 values for 9 columns"),
        (lambda d: d["points"][0]["rows"].reverse(), "points/0/rows", "ascend"),
        (lambda d: d["points"][2]["rows"][1].__setitem__(1, None), "points/2/rows/1", "is null"),
        (lambda d: d["points"][2]["rows"][1].__setitem__(1, -1), "points/2/rows/1", "not below 0"),
        (lambda d: d["points"][1].update(rows=[]), "points/1/rows", "at least one load"),
        (lambda d: d["points"][1]["settings"].update(tp=2), "points/1/settings/tp", "not among"),
        (
            lambda d: d["points"][1]["settings"].update(max_num_seqs=7),
            "points/1/settings/max_num_seqs", "none of its values",
        ),
        (lambda d: d["points"].append(d["points"][0]), "points/12/settings", "same as of points/0"),
        (lambda d: d.update(drift=[[10, 1], [0, 1]]), "drift", "ascend"),
        (
            lambda d: d["points"][0].update(failure={**FAILS, "at": "x"}),
            "points/0/failure/at", "plan",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path, change, where, said):
    file = written(tmp_path, change)
    with pytest.raises(InputError) as caught:
        read(file)
    assert caught.value.where == f"{file}: {where}"
    assert said in caught.value.message
    assert "tuning-surface.md" in caught.value.hint


def test_no_json_no_file_and_an_empty_folder(tmp_path):
    broken = tmp_path / "b.json"
    broken.write_text('{"version": 1,\n "name" }')
    with pytest.raises(InputError, match="not JSON") as caught:
        read(broken)
    assert caught.value.where == f"{broken}:2"
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "none.json")
    with pytest.raises(InputError, match="no surface file"):
        read_all(tmp_path / "nowhere")


def test_a_compressed_file_is_read_alike_and_a_cut_one_is_said(tmp_path):
    plain = written(tmp_path, lambda d: None)
    file = tmp_path / "s.json.gz"
    write_compressed(file, plain.read_text())
    assert read(file) == read(plain)
    assert len(read_all(tmp_path)) == 2
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole gzip file"):
        read(file)
    file.write_text("{}")
    with pytest.raises(InputError, match="cannot read the surface file"):
        read(file)


def test_a_certain_failure_needs_no_rows(tmp_path):
    file = written(tmp_path, lambda d: d["points"][1].update(rows=[], failure=FAILS))
    assert read(file).points[1].rows == ()
    file = written(
        tmp_path, lambda d: d["points"][1].update(rows=[], failure={**FAILS, "chance": 0.5})
    )
    with pytest.raises(InputError):
        read(file)
