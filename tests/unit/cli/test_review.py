"""`deployctl review` and `deployctl comment`, as a pipeline runs them; GitHub is a fake."""

import json
import sys
from pathlib import Path

import pytest

from deployctl.cli.app import main
from fake_github import TOKEN, FakeGitHub
from known import tiny_folder

GOOD = "model: ./tiny\nname: chat\ngpu: l4\n"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    tiny_folder(tmp_path / "tiny")
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    Path("service.yaml").write_text(GOOD)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["deployctl", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return call


def test_a_page_and_its_files(run):
    code, page, story = run(
        "review", "-f", "service.yaml", "--markdown", "page.md", "--sarif", "findings.sarif"
    )
    assert (code, story) == (0, "reviewing chat\n")
    assert page == Path("page.md").read_text()
    assert page.startswith("<!-- deployctl review: service.yaml -->\n### ✅ deployctl: 1 service")
    assert json.loads(Path("findings.sarif").read_text())["runs"][0]["results"] == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GOOD + "max_model_len: 4096\n", 3),
        (GOOD + "replica: 2\n", 2),
        (GOOD.replace("./tiny", "./nothing"), 2),
    ],
)
def test_its_exit_code_says_what_is_wrong_and_the_page_is_there(run, text, code):
    Path("service.yaml").write_text(text)
    ended, page, story = run("review", "-f", "service.yaml")
    assert ended == code
    assert page.startswith("<!-- deployctl review: service.yaml -->\n### ❌ deployctl: ")
    assert story.splitlines()[-1] == " hint: the page has each with its fix"


def test_each_finding_is_an_annotation_where_a_pipeline_asks_for_it(run, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_ANNOTATIONS", "github")
    Path("service.yaml").write_text(GOOD + "replica: 2\nport: x\n")
    _, _, story = run("review", "-f", "service.yaml")
    lines = [line for line in story.splitlines() if line.startswith("::")]
    assert [line.split("::")[1] for line in lines] == [
        "error title=service-file,file=service.yaml,line=5,col=1",
        "error title=service-file,file=service.yaml,line=4,col=1",
        "error title=deployctl",
    ]


@pytest.mark.parametrize("words", [(), ("-f", "a", "--running", "--against-file", "b")])
def test_what_it_cannot_be_asked(run, words):
    code, page, story = run("review", *words)
    assert (code, page) == (2, "")
    assert "file" in story


def test_a_review_becomes_one_comment(run, monkeypatch):
    _, page, _ = run("review", "-f", "service.yaml")
    _, made, _ = run("review", "-f", "service.yaml", "--output", "json")
    Path("review.json").write_text(made)
    with FakeGitHub() as github:
        monkeypatch.setenv("GITHUB_API_URL", github.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.setenv("GITHUB_REPOSITORY", "org/app")
        code, said, _ = run("comment", "review.json", "--pull", "7")
        assert (code, said.split(":")[0]) == (0, "comment written on pull request 7")
        code, said, _ = run("comment", "review.json", "--pull", "7", "--output", "json")
        assert json.loads(said)["done"] == "unchanged"
    assert [c["body"] for c in github.comments] == [page]
    assert TOKEN not in page + said


def test_a_pipeline_is_handed_what_was_answered(run, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_OUTPUTS", "outputs")
    Path("outputs").write_text("before=1\n")
    run("review", "-f", "service.yaml", "--output", "json")
    found = dict(line.split("=", 1) for line in Path("outputs").read_text().splitlines())
    assert (found["before"], found["verdict"], found["revision"]) == ("1", "good", "")
    assert found["summary"] == "1 service ready"
    assert json.loads(found["json"])["files"] == ["service.yaml"]
    Path("service.yaml").write_text(GOOD + "max_model_len: 4096\n")
    run("review", "-f", "service.yaml", "--output", "json")
    assert Path("outputs").read_text().splitlines()[5].startswith("json=")
    assert Path("outputs").read_text().splitlines()[6:8] == [
        "verdict=refused",
        "summary=1 of 1 service cannot run as written",
    ]
