"""`--gpu auto`: from what nvidia-smi prints to a profile."""

import pytest

from deployctl.doctor import detect_profile, with_memory
from deployctl.doctor.shell import Ran
from deployctl.errors import ProfileError
from deployctl.hardware import all_profiles, load_profile

HEADER = (
    "index, name, uuid, driver_version, memory.total [MiB], memory.reserved [MiB], "
    "memory.used [MiB], memory.free [MiB], compute_cap, mig.mode.current, persistence_mode\n"
)


def card(index=0, name="NVIDIA L4", used=0, free=22566, mig="[N/A]"):
    return (
        f"{index}, {name}, GPU-{index}abc, 580.126.20, 23034 MiB, 467 MiB, {used} MiB, "
        f"{free} MiB, 8.9, {mig}, Enabled\n"
    )


def smi(text, code=0, hung=False):
    def run(argv, timeout_s):
        assert argv[0] == "nvidia-smi"
        assert timeout_s <= 20
        return Ran(code, text, hung=hung)

    return run


def test_the_card_s_own_memory_replaces_the_profile_s():
    profile = detect_profile(smi(HEADER + card(free=22000)), {})
    assert profile.name == "l4"
    assert profile.memory_gib == 21.48  # 22000 MiB, rounded down
    assert profile.memory_bandwidth_gb_s == load_profile("l4").memory_bandwidth_gb_s


def test_the_smallest_of_several_counts():
    both = HEADER + card(0) + card(1, used=5000, free=17000)
    assert detect_profile(smi(both), {}).memory_gib == 21.48


@pytest.mark.parametrize(("cell", "reach"), [("OK", True), ("CNS", False)])
def test_whether_cards_reach_each_other_is_asked_of_the_driver(cell, reach):
    def run(argv, timeout_s):
        matrix = f"\tGPU0\tGPU1\nGPU0\t X \t{cell}\nGPU1\t{cell}\t X \n"
        return Ran(0, matrix if argv[1] == "topo" else HEADER + card(0) + card(1))

    assert detect_profile(run, {}).interconnect.peer_to_peer is reach
    alone = detect_profile(run, {"CUDA_VISIBLE_DEVICES": "1"})
    assert alone.interconnect.peer_to_peer  # the profile's: there is no other to reach


def test_memory_the_driver_does_not_say_is_the_profile_s():
    text = "index, name, memory.total [MiB]\n0, NVIDIA L4, [N/A]\n"
    assert detect_profile(smi(text), {}).memory_gib == load_profile("l4").memory_gib


@pytest.mark.parametrize("name", [p.name for p in all_profiles() if p.kind == "cuda"])
def test_every_gpu_profile_is_found_by_the_name_its_driver_prints(name):
    for printed in load_profile(name).matches:
        text = f"index, name\n0, {printed}\n"
        assert detect_profile(smi(text), {}).name == name


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (smi("", code=None), "not installed"),
        (smi("", code=None, hung=True), "does not answer"),
        (smi("No devices were found\n", code=6), "sees no card"),
        (smi("Failed to initialize NVML: Driver/library version mismatch\n", 18), "updated"),
        (smi("boom\n", code=1), "nvidia-smi failed: boom"),
    ],
)
def test_no_card_is_an_input_error_with_the_way_out(run, words):
    with pytest.raises(ProfileError) as caught:
        detect_profile(run, {})
    assert words in caught.value.message
    assert caught.value.where == "--gpu auto"
    assert "--gpu cpu" in caught.value.hint


def test_cards_of_several_kinds_must_be_chosen_from():
    text = HEADER + card(0) + card(1, name="Tesla T4")
    with pytest.raises(ProfileError, match="several kinds: NVIDIA L4, Tesla T4"):
        detect_profile(smi(text), {})
    assert detect_profile(smi(text), {"CUDA_VISIBLE_DEVICES": "0"}).name == "l4"
    assert detect_profile(smi(text), {"CUDA_VISIBLE_DEVICES": "GPU-0"}).name == "l4"
    with pytest.raises(ProfileError, match="no card is visible"):
        detect_profile(smi(text), {"CUDA_VISIBLE_DEVICES": ""})


def test_an_unknown_card_names_the_nearest_profile():
    with pytest.raises(ProfileError, match="no profile for NVIDIA GeForce RTX 4080") as caught:
        detect_profile(smi(HEADER + card(name="NVIDIA GeForce RTX 4080")), {})
    assert caught.value.hint == "deployctl profiles add makes one; the nearest is rtx4090"


def test_a_partitioned_card_is_refused():
    with pytest.raises(ProfileError, match="partitioned") as caught:
        detect_profile(smi(HEADER + card(mig="Enabled")), {})
    assert caught.value.hint == "sudo nvidia-smi -mig 0 turns it off"
    text = HEADER + card(name="NVIDIA A100-SXM4-40GB", mig="Enabled")
    with pytest.raises(ProfileError, match="partitioned") as caught:
        detect_profile(smi(text), {})
    assert caught.value.hint.startswith("name the slice with --gpu: a100-40gb:1g.5gb, ")


def test_an_old_driver_is_asked_again_with_fewer_columns():
    asked = []

    def run(argv, timeout_s):
        asked.append(argv[1])
        if "compute_cap" in argv[1]:
            return Ran(2, 'Field "compute_cap" is not a valid field to query.\n')
        return Ran(0, "index, name\n0, NVIDIA L4\n")

    assert detect_profile(run, {}).name == "l4"
    assert len(asked) == 2


def test_the_cpu_profile_takes_the_host_s_memory():
    cpu = load_profile("cpu")
    assert with_memory(cpu, 31.257).memory_gib == 31.25
    assert with_memory(cpu, None) == cpu
