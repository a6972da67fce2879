"""What hostile inputs found, each by itself: the numbers of inputs change with the corpus."""

import json

import httpx
import pytest

from deployctl.checking import check_texts, schemas
from deployctl.cli.check import files
from deployctl.doctor import detect
from deployctl.endpoint import Endpoint
from deployctl.engines.vllm import versions
from deployctl.errors import InputError, ProfileError
from deployctl.hardware import load_profile, nvidia, report
from deployctl.load import folder
from deployctl.operations.measure import smoke
from deployctl.operations.measure.setup import extra_body
from deployctl.targets import holder
from deployctl.targets.store import ServiceRef, Store

from .mutations import seeds

SUMMARY = {"version": 1, "setup": {}, "window_s": [0, 10]}


def test_a_profile_whose_name_is_longer_than_a_files():
    with pytest.raises(ProfileError, match="no hardware profile"):
        load_profile("9" * 5000)


@pytest.mark.parametrize("text", ['{"a": 1e999}', '{"a": NaN}', '{"a": ' + "[" * 2000])
def test_fields_of_a_request_that_no_json_can_hold(text):
    with pytest.raises(InputError, match="not JSON"):
        extra_body(text)


def test_half_of_a_surrogate_pair_in_a_record_is_read_and_written(tmp_path, make_release):
    record = {"version": 1, **make_release().model_dump(mode="json"), "reason": "\ud800"}
    file = tmp_path / "state/process/tiny/releases/000001.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(record))
    store, ref = Store(tmp_path / "state"), ServiceRef("process", "tiny")
    (release,) = store.releases(ref)
    store.save(ref, release)
    assert store.releases(ref)[0].reason == "?"


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("requests.jsonl", {"started_at_s": "1"}),
        ("requests.jsonl", {"ttft_s": 1e300}),
        ("requests.jsonl", {"outcome": "well"}),
        ("requests.jsonl", {"chunk_gaps_s": [1e400]}),
        ("summary.json", {"slo": 0.1}),
        ("summary.json", {"verdicts": [{"level": "bad"}]}),
        ("summary.json", {"tokens": {"per_chunk": 0}}),
        ("summary.json", {"window_s": [0, 1e300]}),
    ],
)
def test_a_result_that_no_load_test_wrote(tmp_path, file, changes):
    whole = {
        "summary.json": SUMMARY,
        "requests.jsonl": json.loads(seeds("sample")[0].split(b"\n")[0]),
    }
    for name, document in whole.items():
        (tmp_path / name).write_text(json.dumps(document) + "\n")
    assert len(folder.read(tmp_path).samples) == 1
    (tmp_path / file).write_text(json.dumps({**whole[file], **changes}) + "\n")
    with pytest.raises(InputError) as caught:
        folder.read(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(("given", "waited"), [(120.0, 30.0), (3.0, 3.0)])
def test_what_takes_no_model_is_not_waited_for_as_an_answer_is(given, waited):
    seen = []

    def drips(request):
        seen.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("slow")

    transport = httpx.MockTransport(drips)
    with httpx.Client(base_url="http://h", transport=transport, timeout=given) as client:
        assert not smoke.health(client).ok
        assert not smoke.models(client, Endpoint("http://h", None, None))[0].ok
        assert not smoke.lets_in(client, "a-key").ok
    assert seen == [waited] * 3


def test_numbers_that_are_longer_than_python_reads():
    """Of programs, variables, manifests and locks; Python reads 4,300 digits."""
    many = "9" * 5000
    csv = f"name, memory.total [MiB]\nNVIDIA L4, {many} MiB\n"
    assert [(c.name, c.memory_total_mib) for c in nvidia.read_cards(csv)] == [("NVIDIA L4", None)]
    lanes = f"<pci><pci_gpu_link_info><link_widths><max_link_width>{many}x</max_link_width>"
    lanes += "</link_widths></pci_gpu_link_info></pci>"
    xml = f"<log><gpu><product_name>NVIDIA L4</product_name>{lanes}</gpu></log>"
    assert [c.pcie_lanes for c in report.read_report(xml, "cards.xml")] == [None]
    assert nvidia.read_matrix(f"\tGPU0\tGPU{many}\nGPU0\tX\tSYS\n") == {}
    assert nvidia.numbers(f"v580.{many}") > nvidia.numbers("580.126")
    assert versions.at_least(f"0.{many}.0", "0.32.0")
    assert schemas.nearest_release(f"1.{many}") == schemas.releases()[-1]
    assert not holder.was_killed(f"up ({holder.person()}, pid {many} of {holder._table()})")
    cards = (nvidia.Card(name="NVIDIA L4", index=0, uuid="GPU-1"),)
    assert not detect._is(cards[0], many)
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: "
    assert check_texts({"m.yaml": pod + f"'vllm/vllm-openai:v0.{many}.0'" + "}]}}"}).findings


@pytest.mark.parametrize("names", [("a" * 5000, "A"), ("a", "A" * 5000), ("a" * 5000, "A" * 5000)])
def test_a_kind_whose_name_is_longer_than_a_files(names):
    assert schemas.custom_kind(*names) is None


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000])
def test_a_file_to_check_whose_name_is_longer_than_a_files(name):
    with pytest.raises(InputError, match="File name too long"):
        files.read([name])
