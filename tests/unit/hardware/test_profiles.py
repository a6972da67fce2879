"""The shipped profiles and a user's own."""

from pathlib import Path

import pytest
import yaml

from deployctl.errors import ProfileError
from deployctl.hardware import all_profiles, load_profile, slices_of
from deployctl.hardware.profiles import shipped

L4 = shipped() / "l4.yaml"


def test_the_promised_profiles_are_there():
    names = [p.name for p in all_profiles()]
    promised = {"l4", "rtx4090", "a100-40gb", "a100-80gb", "h100", "cpu"}
    promised |= {"h200", "b200", "l40s", "a10", "rtx3090", "rtx5090", "rtx-pro-6000", "a6000", "t4"}
    assert promised <= set(names)
    assert names[-1] == "cpu"
    by_memory = [p.memory_gib for p in all_profiles()[:-1]]
    assert by_memory == sorted(by_memory)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a100", "a100-80gb"),
        ("4090", "rtx4090"),
        ("RTX4090", "rtx4090"),
        (" l4 ", "l4"),
        ("cpu", "cpu"),
    ],
)
def test_names_and_aliases(given, name):
    assert load_profile(given).name == name


def test_no_name_means_two_profiles():
    names = [n for p in all_profiles() for n in (p.name, *p.aliases)]
    cards = [m for p in all_profiles() for m in p.matches]
    assert len(names) == len(set(names))
    assert len(cards) == len(set(cards))


@pytest.mark.parametrize("profile", all_profiles(), ids=lambda p: p.name)
def test_every_figure_has_a_source(profile):
    file = yaml.safe_load((shipped() / f"{profile.name}.yaml").read_text(encoding="utf-8"))
    words = {"name", "title", "kind", "aliases", "matches", "sources"}
    figures = set(file) - words
    if profile.interconnect:
        figures.add("interconnect.peer_to_peer")
    assert figures == set(profile.sources)


@pytest.mark.parametrize(
    ("name", "nvidia_smi_mib"),
    [
        ("l4", 23034),
        ("rtx4090", 24564),
        ("a100-40gb", 40960),
        ("a100-80gb", 81920),
        ("h100", 81559),
        ("h200", 143771),
        ("b200", 183359),
        ("l40s", 46068),
        ("a10", 23028),
        ("rtx3090", 24576),
        ("rtx5090", 32607),
        ("rtx-pro-6000", 97887),
        ("a6000", 49140),
        ("t4", 15360),
    ],
)
def test_memory_is_what_the_driver_leaves_of_the_card(name, nvidia_smi_mib):
    left = load_profile(name).memory_gib
    assert 0.4 < nvidia_smi_mib / 1024 - left < 0.9


def test_what_tensor_parallelism_must_know():
    assert not load_profile("4090").interconnect.peer_to_peer
    assert load_profile("h100").interconnect.kind == "nvlink"
    assert load_profile("cpu").interconnect is None


def test_a_slice_is_a_gpu_with_its_share_of_the_card():
    card, part = load_profile("h200"), load_profile("H200:2G.35gb")
    assert (part.name, part.slice, card.slice) == ("h200:2g.35gb", "2g.35gb", None)
    assert part.memory_gib == 32.25
    assert part.memory_bandwidth_gb_s == card.memory_bandwidth_gb_s / 4
    assert part.dense_tflops_bf16 == round(card.dense_tflops_bf16 * 32 / 132, 1)
    assert part.price_per_hour_usd == card.price_per_hour_usd / 4
    assert part.interconnect is None
    assert part.max_per_host == 3 * card.max_per_host
    assert part.node_selector == card.node_selector
    assert part.startups == 0
    assert {"memory_gib", "multiprocessors", "interconnect"} <= set(part.sources)
    assert load_profile("a100:1g.10gb").name == "a100-80gb:1g.10gb"


@pytest.mark.parametrize("card", [p for p in all_profiles() if p.slices], ids=lambda p: p.name)
def test_slices_are_what_a_card_can_be_cut_into(card):
    assert {"a100-40gb", "a100-80gb", "h100", "h200", "b200"} <= {
        p.name for p in all_profiles() if p.slices
    }
    for part in slices_of(card):
        own = card.slices[part.slice]
        assert part.multiprocessors * own.most <= card.multiprocessors
        assert part.memory_gib <= card.memory_gib * own.memory_share
        assert own.memory_share * own.most <= 1
    assert slices_of(slices_of(card)[0]) == slices_of(card)
    sizes = [part.memory_gib for part in slices_of(card)]
    assert sizes == sorted(sizes)


def test_a_slice_that_a_card_has_not_is_refused_with_those_it_has(tmp_path):
    with pytest.raises(ProfileError, match=r"a100-40gb has no MIG slice 1g\.18gb") as caught:
        load_profile("a100-40gb:1g.18gb")
    assert caught.value.hint.startswith("known: a100-40gb:1g.5gb, a100-40gb:1g.10gb")
    with pytest.raises(ProfileError, match=r"l4 has no MIG slice") as caught:
        load_profile("l4:1g.10gb")
    assert "none" in caught.value.hint
    sliced = {"1g.5gb": {"memory_gib": 5, "memory_share": 0.2, "multiprocessors": 9, "most": 4}}
    file = own(tmp_path, name="mine", slices=sliced, multiprocessors=58)
    assert load_profile(f"{file}:1g.5gb").memory_gib == 5
    with pytest.raises(ProfileError, match="pattern"):
        load_profile(own(tmp_path, slices={"big": sliced["1g.5gb"]}))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ProfileError, match="'a1000'") as caught:
        load_profile("a1000")
    assert caught.value.hint.startswith("did you mean a100")
    with pytest.raises(ProfileError) as caught:
        load_profile("gaudi")
    assert caught.value.hint.startswith("known: t4, l4, a10, rtx4090")


def own(tmp_path: Path, **changes) -> str:
    values = {**yaml.safe_load(L4.read_text(encoding="utf-8")), **changes}
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in values.items() if v != "gone"}))
    return str(file)


def test_a_file_of_one_s_own(tmp_path):
    assert load_profile(own(tmp_path, name="mine", memory_gib=40.0)).memory_gib == 40.0


@pytest.mark.parametrize(
    ("changes", "where", "message", "hint"),
    [
        ({"memory_gib": -1}, "memory_gib", "greater than 0 (got -1)", "GiB a card"),
        ({"memory_gib": "24GB"}, "memory_gib", "valid number", "GiB a card"),
        ({"memory_gib": float("inf")}, "memory_gib", "got inf", "GiB a card"),
        ({"memory_gib": "gone"}, "memory_gib", "a value is required", "GiB a card"),
        ({"max_per_host": True}, "max_per_host", "should be a number", "l4.yaml"),
        (
            {"interconnect": {"kind": "pcie", "bandwidth_gb_s": True, "peer_to_peer": True}},
            "interconnect/bandwidth_gb_s",
            "should be a number",
            "GB/s a card",
        ),
        ({"memory": 24}, "memory", "no such field", "did you mean memory_gib?"),
        ({"compute_capability": "new"}, "compute_capability", "pattern", "l4.yaml"),
        (
            {"interconnect": {"kind": "pcie", "bandwidth_gb_s": 32, "p2p": True}},
            "interconnect/peer_to_peer",
            "a value is required",
            "whether the driver",
        ),
        (
            {"interconnect": {"kind": "usb", "bandwidth_gb_s": 1, "peer_to_peer": False}},
            "interconnect/kind",
            "'nvlink', 'pcie' or 'none'",
            "l4.yaml",
        ),
    ],
)
def test_errors_say_where_in_the_file(tmp_path, changes, where, message, hint):
    file = own(tmp_path, **changes)
    with pytest.raises(ProfileError) as caught:
        load_profile(file)
    assert caught.value.where == f"{file}: {where}"
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "expected"),
        ("- a list", "a list where a mapping was expected"),
        ("", "no document"),
        ("name: a\n---\nname: b\n", "2 documents"),
        ("name: a\nname: b\n", "written twice"),
    ],
)
def test_a_file_that_is_no_profile(tmp_path, text, message):
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    with pytest.raises(ProfileError, match=message) as caught:
        load_profile(str(file))
    assert "services" not in caught.value.where
    assert "service" not in caught.value.hint


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ProfileError, match="no such file"):
        load_profile(str(tmp_path / "none.yaml"))
    with pytest.raises(ProfileError, match="cannot read"):
        load_profile(f"{tmp_path}/")


def test_own_profiles_whose_folder_cannot_be_read_are_no_bug(monkeypatch, tmp_path):
    """An unknown --gpu looks there, as whoever may not read another user's state folder."""

    def closed(self, pattern):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    all_profiles()
    monkeypatch.setattr(Path, "glob", closed)
    with pytest.raises(ProfileError, match="own profiles: Permission denied") as refused:
        load_profile("nosuch")
    assert refused.value.where == str(tmp_path / "profiles")
