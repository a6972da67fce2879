"""The gate against the last good runs, on a fake of GitHub's API."""

import io
import json
import zipfile
from dataclasses import replace

import pytest

from deployctl.errors import InputError, NotFoundError, SloMissedError, TargetError
from deployctl.operations.github.baseline import artifact_name
from deployctl.operations.github.gate import Baseline, MeasuredBy, enforce, judge
from deployctl.reports.gatepage import GateReport, MeasuredOn, markdown
from fake_github import TOKEN, FakeGitHub
from run_parts import SETUP, files, run

SLO = "ttft_p95=1s,error_rate=5%"
IDENTITY = MeasuredOn(
    service="m", runner="gpu", engine="vllm 0.32.0", card="l4", environment="staging", place="h:1"
)
NAME = artifact_name(IDENTITY)


@pytest.fixture
def github(monkeypatch):
    with FakeGitHub() as fake:
        monkeypatch.setenv("GITHUB_API_URL", fake.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        monkeypatch.setenv("GITHUB_RUN_ID", "99")
        yield fake


@pytest.fixture
def gated(tmp_path):
    """Judges a run, measured as it is told."""

    def judged(card="l4", branch="main", threshold="5%", slo=SLO, environment="staging", **how):
        for name, text in files(run(100, held_to=slo, **how)).items():
            (tmp_path / name).write_text(text)
        where = Baseline("org/app", branch, 3, threshold)
        return judge(tmp_path, where, MeasuredBy("gpu", environment, "vllm 0.32.0", card))

    return judged


def before(seed=0, **how):
    return files(run(seed, held_to=SLO, **how))


def test_it_is_passed_where_nothing_is_worse(github, gated, tmp_path):
    for number in (1, 2, 3, 4):
        github.add_artifact(NAME, before(number), number)
    report = gated()
    assert (report.verdict, [good.run for good in report.baseline]) == ("passed", [4, 3, 2])
    enforce(report)
    assert GateReport.model_validate_json((tmp_path / "gate.json").read_text()) == report
    page = (tmp_path / "gate.md").read_text()
    assert page == markdown(GateReport.model_validate_json(report.model_dump_json()))
    assert "### ✅ deployctl gate: passed" in page
    assert "Compared with 3 good runs: run 4 at `" in page
    assert TOKEN not in page


def test_what_got_worse_within_its_slo_is_not_passed(github, gated):
    github.add_artifact(NAME, before(), 1)
    report = gated(slower=1.3)
    assert (report.verdict, report.reasons) == ("regressed", ())
    with pytest.raises(SloMissedError, match=r"Worse by more than 5%: .*ttft_p95"):
        enforce(report, first=True)
    assert "❌ regression" in markdown(report)


def test_how_much_worse_may_pass_is_said(github, gated):
    github.add_artifact(NAME, before(), 1)
    assert gated(slower=1.1, threshold="30%").verdict == "passed"


def test_a_missed_slo_is_not_passed_however_the_last_run_was(github, gated):
    github.add_artifact(NAME, before(slower=20), 1)
    report = gated(slower=20)
    assert report.verdict == "slo_missed"
    with pytest.raises(SloMissedError, match="ttft_p95 missed"):
        enforce(report, first=True)


def test_without_a_baseline_nothing_is_passed_unless_it_is_the_first(github, gated):
    report = gated()
    assert report.summary == (
        "the SLO holds, and there is no baseline: no green run of main measured this"
    )
    with pytest.raises(SloMissedError, match="there is no baseline"):
        enforce(report)
    enforce(report, first=True)
    assert "### ❔ deployctl gate: no baseline" in markdown(report)


@pytest.mark.parametrize(
    "of",
    [
        {"conclusion": "failure"},
        {"conclusion": None},
        {"branch": "patch"},
        {"ours": False},  # a fork has a branch of that name
        {"event": "pull_request"},  # from a branch of that name
        {"expired": True},
    ],
)
def test_what_is_no_green_run_of_the_default_branch_is_no_baseline(github, gated, of):
    github.add_artifact(NAME, before(slower=0.5), 1, **of)
    assert gated().verdict == "no_baseline"


def test_a_run_is_not_its_own_baseline(github, gated):
    github.add_artifact(NAME, before(), 99)
    assert gated().verdict == "no_baseline"


def test_another_card_has_another_name(github, gated):
    github.add_artifact(NAME, before(), 1)
    assert gated(card="h100").verdict == "no_baseline"


def test_another_environment_or_place_is_no_baseline(github, gated):
    github.add_artifact(NAME, before(), 1)
    assert gated(environment="production").verdict == "no_baseline"
    for more in ({"place": "https://k8s:6443 chat"}, {"place": ""}, {"environment": ""}):
        assert artifact_name(IDENTITY.model_copy(update=more)) != NAME
    assert gated().verdict == "passed"


@pytest.mark.parametrize(
    ("there", "at"), [(True, "https://k8s:6443 chat"), (False, "")], ids=["found", "gone"]
)
def test_a_services_place_is_known_whatever_is_said_of_it(gated, github, monkeypatch, there, at):
    def release(service):
        assert service == "chat"
        if not there:
            raise NotFoundError("nothing of it runs")
        return "vllm 0.31.0", "h100", at

    monkeypatch.setattr("run_parts.SETUP", replace(SETUP, service="chat", url="http://127.0.0.1:1"))
    monkeypatch.setattr("deployctl.operations.github.gate._release", release)
    identity = gated().identity
    assert (identity.engine, identity.card, identity.place) == ("vllm 0.32.0", "l4", at)


def test_gates_of_two_places_have_a_comment_each(gated, github):
    report = gated()
    elsewhere = report.identity.model_copy(update={"place": "https://k8s:6443 chat"})
    assert report.model_copy(update={"identity": elsewhere}).header != report.header


def of_another_load():
    other = before()
    summary = json.loads(other["summary.json"])
    summary["setup"]["users"] = 64
    return {**other, "summary.json": json.dumps(summary)}


def test_good_runs_are_found_behind_all_that_is_none(github, gated):
    github.add_artifact(NAME, before(), 1)
    for number in range(2, 32):  # more than are looked at one after the other
        github.add_artifact(NAME, {}, number, conclusion="failure")
    for number in range(1000, 1250):  # of pull requests: pages of them
        github.add_artifact(NAME, {}, number, branch="patch")
    for number in range(2000, 2004):
        github.add_artifact(NAME, of_another_load(), number)
    report = gated()
    assert [good.run for good in report.baseline] == [1]
    pages = sum(path.endswith("/actions/artifacts") for _, path in github.asked)
    assert pages == 3


def test_what_is_looked_at_has_a_bound(github, gated):
    for number in range(1, 200):
        github.add_artifact(NAME, of_another_load(), number)
    assert gated().verdict == "no_baseline"
    assert sum(path.endswith("/zip") for _, path in github.asked) == 12
    github.artifacts.clear()
    github.asked.clear()
    for number in range(1, 200):
        github.add_artifact(NAME, {}, number, conclusion="failure")
    assert gated().verdict == "no_baseline"
    assert len(github.asked) == 1 + 1 + 100


def test_another_load_is_not_compared(github, gated):
    github.add_artifact(NAME, of_another_load(), 1)
    assert gated().no_baseline == "the last good runs of main were of another load"


@pytest.mark.parametrize("held", [b"no zip", {}, {"summary.json": "{}"}, {"../../x": "y"}])
def test_an_artefact_that_holds_no_result_is_passed_over(github, gated, held):
    github.add_artifact(NAME, before(), 1)
    github.add_artifact(NAME, held, 2)
    report = gated()
    assert [good.run for good in report.baseline] == [1]


def test_an_artefact_that_is_broken_inside_is_passed_over(github, gated):
    with io.BytesIO() as held:
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in before().items():
                archive.writestr(name, text)
        content = bytearray(held.getvalue())
    at = content.find(b"summary.json") + len("summary.json")
    content[at : at + 12] = bytes(each ^ 0xFF for each in content[at : at + 12])
    github.add_artifact(NAME, before(), 1)
    github.add_artifact(NAME, bytes(content), 2)
    assert [good.run for good in gated().baseline] == [1]


def test_a_reason_that_others_wrote_is_no_markdown(github, gated):
    evil = "<img src=x> [l](https://evil.example) @someone"
    page = markdown(gated().model_copy(update={"reasons": (evil, evil)}))
    assert "<img" not in page.replace("`<img`", "")
    assert "@someone" not in page.replace("`@someone`", "")


def test_what_was_not_measured_as_a_gate_is_refused(github, tmp_path):
    for name, text in files(run()).items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="not measured as a gate"):
        judge(tmp_path, Baseline("org/app"), MeasuredBy("gpu", "", "e", "c"))
    assert github.asked == []


def test_an_address_does_not_say_what_it_runs_on(github, tmp_path):
    for name, text in files(run(held_to=SLO)).items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as refused:
        judge(tmp_path, Baseline("org/app"), MeasuredBy("gpu"))
    assert refused.value.where == "--engine, --card"


def test_a_folder_that_is_not_there(github, tmp_path):
    with pytest.raises(NotFoundError):
        judge(tmp_path / "no", Baseline("org/app"), MeasuredBy("gpu"))


def test_a_token_that_may_not_read_is_told(github, gated):
    github.refuses = 403
    with pytest.raises(TargetError) as refused:
        gated()
    assert "actions: read" in refused.value.hint
