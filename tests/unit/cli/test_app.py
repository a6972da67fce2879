"""The frame of the command line: exit codes, the shape of errors, lazy imports."""

import json
import subprocess
import sys

import pytest

from deployctl.cli import app, console
from deployctl.errors import (
    DeployctlError,
    EngineError,
    InputError,
    InterruptedByUserError,
    PlanRefusedError,
    SloMissedError,
    TargetError,
)


def run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *argv: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["deployctl", *argv])
    with pytest.raises(SystemExit) as stop:
        app.main()
    captured = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, captured.out, captured.err


def test_unknown_verb_suggests_the_nearest(monkeypatch, capsys):
    code, out, err = run_main(monkeypatch, capsys, "pln")
    assert code == 2
    assert out == ""
    assert err.splitlines() == [
        "error: no such command 'pln'",
        "   at: deployctl",
        " hint: did you mean deployctl plan?",
    ]


def test_unknown_option_names_the_verbs_help(monkeypatch, capsys):
    code, _, err = run_main(monkeypatch, capsys, "plan", "--nope")
    assert code == 2
    assert "no such option: --nope" in err
    assert "deployctl plan --help" in err


def test_a_flag_of_vllm_s_is_shown_the_way(monkeypatch, capsys):
    way = "vLLM's own flags are given as --engine-arg"
    _, _, err = run_main(monkeypatch, capsys, "plan", "--tool-call-parser", "hermes")
    assert f"{way} tool-call-parser=VALUE" in err
    _, _, err = run_main(monkeypatch, capsys, "plan", "--enable-expert-parallel")
    assert err.endswith(f"{way} enable-expert-parallel\n")
    _, _, err = run_main(monkeypatch, capsys, "smoke", "--tool-call-parser", "hermes")
    assert way not in err


def test_a_profile_that_there_is_none_of_is_where_it_was_named(monkeypatch, capsys):
    code, _, err = run_main(monkeypatch, capsys, "plan", "--model", "a/b", "--compare", "l4,l5")
    assert (code, err.splitlines()[:2]) == (
        2,
        ["error: there is no hardware profile 'l5'", "   at: --compare"],
    )


def test_version(monkeypatch, capsys):
    code, out, _ = run_main(monkeypatch, capsys, "--version")
    assert code == 0
    assert out.startswith("deployctl ")


def test_help_lists_every_verb(monkeypatch, capsys):
    code, out, _ = run_main(monkeypatch, capsys, "--help")
    assert code == 0
    for verb in app.VERBS:
        assert verb in out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeployctlError("x"), 1),
        (InputError("x"), 2),
        (PlanRefusedError("x"), 3),
        (TargetError("x"), 4),
        (SloMissedError("x"), 5),
        (InterruptedByUserError("x"), 130),
    ],
)
def test_errors_become_exit_codes(monkeypatch, capsys, error, code):
    def broken(only: str = "") -> object:
        raise error

    monkeypatch.setattr(app, "build", broken)
    assert run_main(monkeypatch, capsys, "plan")[0] == code


def test_an_unforeseen_error_is_a_bug_in_one_line(monkeypatch, capsys):
    def broken(only: str = "") -> object:
        raise ZeroDivisionError("division by zero")

    monkeypatch.delenv("DEPLOYCTL_DEBUG", raising=False)
    monkeypatch.setattr(app, "build", broken)
    code, _, err = run_main(monkeypatch, capsys, "plan")
    assert code == 1
    assert "a bug in deployctl: ZeroDivisionError: division by zero" in err
    assert "Traceback" not in err


def test_ctrl_c_exits_130(monkeypatch, capsys):
    def interrupted(only: str = "") -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "build", interrupted)
    code, _, err = run_main(monkeypatch, capsys, "plan")
    assert code == 130
    assert "interrupted" in err


def test_ctrl_c_in_an_import_exits_130_all_the_same():
    """CPython dies by SIGINT at its end when one met the exec() of a string, as dataclasses do."""
    code = (
        "from deployctl.cli import app\n"
        "app.build = lambda only: exec('raise KeyboardInterrupt')\n"
        "app.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr


@pytest.mark.parametrize("verb", ["", *app.VERBS])
def test_help_imports_nothing_heavy(verb):
    heavy = (
        "docker", "kubernetes", "locust", "matplotlib", "huggingface_hub", "torch", "vllm",
        "httpx", "transformers",
    )  # fmt: skip
    argv = ["deployctl", *([verb] if verb else []), "--help"]
    code = (
        "import sys; sys.argv = " + repr(argv) + "\n"
        "from deployctl.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        f"loaded = [m for m in {heavy!r} if m in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


KUBECONFIG = """\
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: me}}]
clusters: [{name: lab, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: me, user: {token: secret}}]
"""
# What takes longer to import than a question takes to be answered: clients, the planner where
# nothing is planned, the model of the chart's values where nothing is rendered.
SLOW = ("kubernetes", "requests", "websocket", "httpx", "jinja2", "locust", "docker", "numpy",
        "huggingface_hub", "jsonschema", "deployctl.planning.make", "deployctl.render.values",
        "deployctl.checking")  # fmt: skip


@pytest.mark.parametrize("verb", ["status", "history"])
@pytest.mark.parametrize("target", ["process", "kubernetes"])
def test_a_question_imports_nothing_slow(tmp_path, verb, target):
    file = tmp_path / "config"
    file.write_text(KUBECONFIG)
    argv = ["deployctl", verb, "--target", target]
    code = (
        f"import socket, sys; sys.argv = {argv!r}\n"
        "def connect(*_): raise OSError('no network in unit tests')\n"
        "socket.socket.connect = connect\n"
        "from deployctl.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(*[name for name in {SLOW!r} if name in sys.modules])\n"
        "print('deployctl.targets.kubernetes.api' in sys.modules)\n"
    )
    environment = {"KUBECONFIG": str(file), "DEPLOYCTL_STATE_DIR": str(tmp_path),
                   "PYTHONPATH": ":".join(sys.path), "NO_PROXY": "*"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=environment, check=False)  # fmt: skip
    loaded, asked = done.stdout.splitlines()[-2:]
    assert loaded == "", done.stderr
    assert asked == str(target == "kubernetes")


def test_what_others_wrote_commands_no_runner(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("DEPLOYCTL_ANNOTATIONS", "github")
    evil = "a\n  ::add-mask::good\n\x1b[0m::stop-commands::x\nb ##[set-output name=verdict;]good"
    error = EngineError("it died", hint=evil, log_tail=(evil,))
    app.report(error)
    assert capsys.readouterr().err.count("##[set-output") == 3
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    app.report(error)
    *told, command = capsys.readouterr().err.splitlines()
    assert command.startswith("::error title=deployctl::it died%0Ahint: a%0A  ::add-mask")
    assert not [line for line in told if line.lstrip().startswith("::") or "##[" in line]
    assert [line for line in told if line.lstrip().startswith(": :add-mask::good")]


def test_an_answer_that_others_wrote_commands_no_runner(monkeypatch, capsys):
    evil = ("::add-mask::good", "\t::set-output name=verdict::good", "a ##[add-mask]good")
    told = {"lines": [*evil, "\n".join(evil)]}

    def answered():
        for line in ("\n".join(evil), *evil):
            console.say(line)
            console.print_rows([[line, "x"]])
            console.out.print(line)
        lines = capsys.readouterr().out.splitlines()
        console.answer_json(told)
        said = capsys.readouterr().out
        assert json.loads(said) == told
        return [*lines, *said.splitlines()]

    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert "::add-mask::good" in answered()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert not [line for line in answered() if line.lstrip().startswith("::") or "##[" in line]


def test_a_pipeline_that_asks_for_it_has_an_error_at_its_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "service.yaml").write_text("model: org/one\ngpu: l4\nreplicas: many\n")
    _, _, plain = run_main(monkeypatch, capsys, "plan", "-f", "service.yaml")
    assert "::" not in plain
    monkeypatch.setenv("DEPLOYCTL_ANNOTATIONS", "github")
    code, out, err = run_main(monkeypatch, capsys, "plan", "-f", "service.yaml")
    assert (code, out) == (2, "")
    assert err.startswith(plain)
    [line] = err.removeprefix(plain).splitlines()
    assert line.startswith("::error title=deployctl,file=service.yaml,line=3,col=1::input should")
