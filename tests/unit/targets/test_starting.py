"""What a supervisor is started as part of: of the login, or of what ends with the machine."""

import subprocess
from types import SimpleNamespace

import pytest

from deployctl.targets.process import starting


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The words and the environment of a supervisor that starts, where systemd says `code`."""

    def start(code, runtime="/run/user/1000"):
        ran = []

        def run(words, **options):
            ran.append((words, options))
            if code is None and words[0] == "systemctl":
                raise FileNotFoundError
            return subprocess.CompletedProcess(words, code if words[0] == "systemctl" else 0)

        monkeypatch.setattr(
            starting, "subprocess", SimpleNamespace(**{**vars(subprocess), "run": run})
        )
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        if runtime:
            monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        starting.supervise(tmp_path / "job.json", {"PATH": "/bin"}, give_up=lambda: None)
        return ran

    return start


def test_with_the_unit_it_is_ended_after_it_and_by_no_login(started):
    [asked, (words, options)] = started(0)
    assert asked[0] == ["systemctl", "--user", "--quiet", "is-active", "deployctl.service"]
    until = words.index("--")
    assert words[:3] == ["systemd-run", "--user", "--scope"]
    assert "--property=Before=deployctl.service" in words[:until]
    # By which one that runs out of memory does not end the supervisor, that starts it again.
    assert "--property=Delegate=yes" in words[:until]
    # systemd-run finds the user's systemd by it, and an engine has nothing of it.
    assert options["env"] == {"PATH": "/bin", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert words[until + 1 : until + 3] == ["env", "--unset=XDG_RUNTIME_DIR"]


@pytest.mark.parametrize(
    ("code", "runtime", "asks"), [(3, "/run/user/1000", 1), (None, "/run/user/1000", 1), (0, "", 0)]
)
def test_without_it_it_is_started_as_it_is(started, code, runtime, asks):
    *asked, (words, options) = started(code, runtime)
    assert len(asked) == asks
    assert words[1] == "-I"
    assert options["env"] == {"PATH": "/bin"}
