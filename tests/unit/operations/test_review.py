"""A review of spec files: what is planned, what is wrong and where, what changes."""

import json
from pathlib import Path

import pytest

from deployctl.errors import InputError, TargetError
from deployctl.operations.review import Against, review, sarif
from deployctl.reports.review import Review, markdown
from known import tiny_folder

GOOD = "model: ./tiny\nname: chat\ngpu: l4\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    tiny_folder(tmp_path / "tiny")
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reviewed(text, against=None):
    Path("service.yaml").write_text(text)
    if against is not None:
        Path("base.yaml").write_text(against)
    held = Against(Path("base.yaml") if against is not None else None)
    return review([Path("service.yaml")], held, root=Path.cwd())


def found(made):
    return [(f.level, f.code, f.line, f.column, f.service) for f in made.review.findings]


def test_a_good_file():
    made = reviewed(GOOD)
    assert (made.review.verdict, made.errors, found(made)) == ("good", (), [])
    [service] = made.review.services
    assert (service.name, service.target, service.against) == ("chat", "docker", None)
    assert made.review.summary == "1 service ready"


def test_everything_that_is_wrong_with_a_file_is_told_at_its_place():
    made = reviewed("model: ./tiny\nreplica: 2\nengine_args: 3\n---\ngpu: l4\n")
    assert found(made) == [
        ("error", "service-file", 3, 1, ""),
        ("error", "service-file", 2, 1, ""),
        ("error", "service-file", 5, 1, ""),
    ]
    assert made.review.services == ()
    assert isinstance(made.errors[0], InputError)
    assert made.review.verdict == "wrong"


def test_broken_yaml_has_its_line():
    made = reviewed("model: ./tiny\ngpu: {a: [\n")
    assert found(made) == [("error", "yaml", 3, 1, "")]


def test_a_file_that_is_not_there():
    made = review([Path("nothing.yaml")], root=Path.cwd())
    assert found(made) == [("error", "bad-input", 1, 1, "")]


def test_one_service_s_error_hides_nothing_of_the_others():
    made = reviewed(GOOD + "---\nmodel: ./nothing\ngpu: l4\nport: 8001\n")
    assert [service.name for service in made.review.services] == ["chat"]
    assert found(made) == [("error", "bad-input", 5, 1, "nothing")]
    assert "nothing" in markdown(made.review)


def test_an_unknown_card_is_told_at_its_key():
    made = reviewed("model: ./tiny\n# which\ngpu: l5\n")
    assert found(made)[0][:4] == ("error", "bad-input", 3, 1)


def test_a_plan_that_does_not_fit_is_told_at_its_card():
    made = reviewed("model: ./tiny\nmax_model_len: 2048\ngpu: t4\ngpu_memory_gib: 0.2\n")
    [service] = made.review.services
    assert service.plan.verdict == "does_not_fit"
    assert found(made)[0] == ("error", service.plan.reasons[0].code, 3, 1, "tiny")
    assert (made.review.verdict, made.errors) == ("refused", ())
    assert made.review.summary == "1 of 1 service cannot run as written"


def test_a_plan_that_cannot_run_is_told_at_its_model():
    made = reviewed("gpu: l4\nmax_model_len: 4096\nmodel: ./tiny\n")
    assert made.review.services[0].plan.verdict == "cannot_run"
    assert found(made)[0][2:] == (3, 1, "tiny")


def test_what_changes_against_another_file():
    made = reviewed(GOOD + "max_model_len: 512\n", against=GOOD)
    [service] = made.review.services
    assert (service.effect, service.against) == ("restarts", "base.yaml")
    [change] = service.changes
    assert (change.old, change.new) == ("2048", "512")
    assert made.review.summary == "1 service ready, 1 of them with a restart"
    same = reviewed(GOOD, against=GOOD)
    assert same.review.services[0].effect is None
    assert "Nothing differs from" in markdown(same.review)


def test_a_service_of_another_name_is_new():
    made = reviewed(GOOD, against=GOOD.replace("chat", "talk"))
    [service] = made.review.services
    assert found(made) == [("note", "removed", 1, 1, "")]
    assert service.against is None
    assert service.note == "It is new: base.yaml has no service chat."


def test_nothing_runs_yet():
    Path("service.yaml").write_text("model: ./tiny\nname: chat\ngpu: cpu\n")
    made = review([Path("service.yaml")], Against(running=True), root=Path.cwd())
    assert (made.errors, made.review.verdict) == ((), "good")
    assert made.review.services[0].note.startswith("It is new: nothing of chat runs")


@pytest.mark.parametrize("base", ["model: [\n", GOOD + "replica: 2\n"])
def test_a_change_that_mends_a_broken_base_is_good(base):
    made = reviewed(GOOD, against=base)
    assert (made.review.verdict, made.errors) == ("good", ())
    assert found(made) == [("note", "not-compared", 1, 1, "")]
    assert "base.yaml cannot be compared with" in made.review.findings[0].message


@pytest.mark.parametrize(
    "base", [GOOD + "max_model_len: 4096\n", GOOD.replace("./tiny", "./nothing")]
)
def test_a_change_that_mends_what_could_not_run_is_good(base):
    made = reviewed(GOOD, against=base)
    assert (made.review.verdict, made.errors, found(made)) == ("good", (), [])
    assert made.review.services[0].name == "chat"


def test_a_service_that_a_change_takes_out_runs_on_and_that_is_said():
    made = reviewed(GOOD, against=GOOD + "---\n" + GOOD.replace("chat", "talk") + "port: 8001\n")
    assert (made.review.verdict, found(made)) == ("good", [("note", "removed", 1, 1, "")])
    assert "talk is in base.yaml and no more in this change" in made.review.findings[0].message


def test_a_hub_that_does_not_answer_is_the_target_s_error(monkeypatch):
    from deployctl.operations import review as module

    def silent(*_):
        raise TargetError("the Hub does not answer", where="https://hub.example")

    monkeypatch.setattr(module, "prepare", silent)
    made = reviewed(GOOD)
    assert [type(error) for error in made.errors] == [TargetError]
    assert found(made) == [("error", "failed", 1, 1, "chat")]


def test_its_json_is_read_back_and_gives_the_same_page():
    made = reviewed(GOOD + "max_model_len: 512\n", against=GOOD).review
    again = Review.model_validate_json(made.model_dump_json())
    assert markdown(again) == markdown(made)


def test_sarif_names_the_line_of_the_spec():
    log = sarif(reviewed("model: ./tiny\nreplica: 2\n").review)
    [result] = log["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "service.yaml"},
        "region": {"startLine": 2},
    }
    assert json.dumps(log)
