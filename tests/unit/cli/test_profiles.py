"""`profiles add`: from recorded output to a profile that --gpu finds."""

import io
import json
import sys
from pathlib import Path

import pytest
import yaml

from deployctl.cli import app
from deployctl.doctor import detect
from deployctl.doctor.shell import Ran
from deployctl.errors import ProfileError
from deployctl.hardware import load_profile, own_profiles

DATA = Path(__file__).parents[2] / "data" / "nvidia-smi"
A5000 = ("--from", str(DATA / "rtx-a5000.xml"), "--set", "compute_capability=8.6")
MADE = (*A5000, "--memory-bus-bits", "384")


@pytest.fixture
def add(monkeypatch, capsys, tmp_path):
    """`add("--from", …)`: exit code, stdout, stderr."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))

    def call(*words, verb=("profiles", "add")):
        monkeypatch.setattr(sys, "argv", ["deployctl", *verb, *words])
        with pytest.raises(SystemExit) as stop:
            app.main()
        return stop.value.code, *capsys.readouterr()

    return call


def test_a_card_that_no_profile_describes_gets_one(add, tmp_path):
    code, out, err = add(*MADE)
    assert code == 0, err
    assert "rtx-a5000: NVIDIA RTX A5000" in out
    assert "--gpu rtx-a5000" in err
    assert load_profile("RTX-A5000").memory_gib == 23.54
    file = tmp_path / "profiles" / "rtx-a5000.yaml"
    assert yaml.safe_load(file.read_text())["memory_bandwidth_gb_s"] == 768.1
    assert [p.name for p in own_profiles()] == ["rtx-a5000"]
    assert detect.match("NVIDIA RTX A5000").name == "rtx-a5000"
    assert "rtx-a5000" in add(verb=("profiles",))[1]
    assert add("rtx-a5000", verb=("profiles",))[1].startswith("rtx-a5000: ")


def test_what_is_there_is_not_written_over(add):
    add(*MADE)
    code, out, _ = add(*MADE)
    assert (code, out) == (0, "NVIDIA RTX A5000 is known: --gpu rtx-a5000\n")
    code, _, err = add(*MADE, "--name", "rtx-a5000")
    assert code == 2
    assert "already" in err
    code, _, err = add(*MADE, "--set", "price_per_hour_usd=0.5", "--force")
    assert code == 0, err
    assert load_profile("rtx-a5000").price_per_hour_usd == 0.5
    code, _, err = add(*MADE, "--name", "l4", "--force")
    assert code == 2
    assert "there is a profile l4 already" in err


def test_a_known_card_is_named_and_copied_where_a_name_is_given(add):
    recorded = ("--from", str(DATA / "rtx4090-environment.csv"))
    assert add(*recorded)[1] == "NVIDIA GeForce RTX 4090 is known: --gpu rtx4090\n"
    assert own_profiles() == ()
    code, _, err = add(*recorded, "--name", "mine", "--set", "price_per_hour_usd=0.3")
    assert code == 0, err
    mine, known = load_profile("mine"), load_profile("rtx4090")
    assert mine.price_per_hour_usd == 0.3
    assert mine.sources["price_per_hour_usd"] == "given"
    assert mine.memory_gib == known.memory_gib  # the output tells the whole memory alone
    assert mine.sources["memory_gib"] == known.sources["memory_gib"]
    assert (mine.startups, mine.aliases) == (0, ())


def test_slices_are_named(add):
    out = add("--from", str(DATA / "a100-80gb-mig.xml"))[1]
    assert out.splitlines() == [
        "NVIDIA A100-SXM4-80GB is known: --gpu a100-80gb",
        "It is cut into slices (MIG): --gpu a100-80gb:1g.20gb",
    ]


def test_json_and_standard_input(add, monkeypatch):
    text = (DATA / "rtx-a5000.xml").read_text()
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    words = ("--set", "compute_capability=8.6", "--set", "memory_bandwidth_gb_s=768")
    answer = json.loads(add("--from", "-", *words, "-o", "json")[1])
    assert answer["version"] == 1
    assert answer["file"].endswith("profiles/rtx-a5000.yaml")
    assert answer["profile"]["memory_bandwidth_gb_s"] == 768
    known = json.loads(add("--from", str(DATA / "a100-80gb-mig.xml"), "-o", "json")[1])
    assert (known["file"], known["slices"]) == (None, ["a100-80gb:1g.20gb"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (A5000, "how wide the memory's bus"),
        (("--from", "/nonexistent/cards.xml"), "cannot read the file: there is no such file"),
        (("--from", str(DATA)), "cannot read the file: Is a directory"),
        (("--from", str(DATA / "l4.noheader.csv")), "neither XML nor CSV"),
        ((*A5000, "--set", "bandwidth=1"), "sets no field of a profile"),
        ((*MADE, "--set", "memory_gib=many"), "--set memory_gib"),
        ((*MADE, "--name", "My Card"), "--set name"),
        ((*MADE, "--card", "NVIDIA L4"), "no card is called 'NVIDIA L4'"),
    ],
)
def test_bad_input_is_one_error(add, words, says):
    code, out, err = add(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
    assert own_profiles() == ()


def test_a_broken_profile_of_one_s_own_is_named(add, tmp_path):
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "mine.yaml").write_text("name: mine\n")
    with pytest.raises(ProfileError) as caught:
        load_profile("mine")
    assert str(folder / "mine.yaml") in caught.value.where
    assert load_profile("l4").name == "l4"


def test_the_machine_s_own_card_is_asked():
    def run(argv, timeout_s):
        if "topo" in argv:
            return Ran(0, "\tGPU0\tGPU1\nGPU0\t X \tOK\nGPU1\tOK\t X \n")
        header = "index, name, memory.used [MiB], memory.free [MiB], clocks.max.memory [MHz]\n"
        rows = "".join(f"{n}, NVIDIA RTX A5000, 0 MiB, 24115 MiB, 8001 MHz\n" for n in (0, 1))
        return Ran(0, header + rows)

    cards, peers = detect.ask_for_profile(run)
    assert (len(cards), cards[0].memory_clock_mhz, peers) == (2, 8001, True)
    with pytest.raises(ProfileError, match="not installed") as caught:
        detect.ask_for_profile(lambda argv, timeout_s: Ran(None))
    assert "--from cards.xml" in caught.value.hint


def test_an_old_driver_is_asked_for_less():
    asked = []

    def run(argv, timeout_s):
        asked.append(argv[1])
        if "clocks" in argv[1]:
            return Ran(2, 'Field "clocks.max.memory" is not a valid field to query.\n')
        return Ran(0, "index, name\n0, Tesla T4\n")

    cards, peers = detect.ask_for_profile(run)
    assert (cards[0].name, peers, len(asked)) == ("Tesla T4", None, 2)
