"""What a supervisor is started as part of: of the login, or of what ends with the machine."""

import subprocess
from types import SimpleNamespace

import pytest

from deployctl.targets.process import starting


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The words and the environment of a supervisor that starts, where systemd says that the unit
    is in this state."""

    def start(state, runtime="/run/user/1000", group="/user.slice/session-3.scope"):
        ran = []

        def run(words, **options):
            ran.append((words, options))
            if state is None and words[0] == "systemctl":
                raise FileNotFoundError
            return subprocess.CompletedProcess(words, 0, f"{state}\n".encode())

        monkeypatch.setattr(
            starting, "subprocess", SimpleNamespace(**{**vars(subprocess), "run": run})
        )
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        if runtime:
            monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        (tmp_path / "cgroup").write_text(f"0::{group}\n")
        monkeypatch.setattr(starting, "_GROUPS", tmp_path / "cgroup")
        starting.supervise(
            tmp_path / "job.json", {"PATH": "/bin"}, unit="my.service", give_up=lambda: None
        )
        return ran

    return start


@pytest.mark.parametrize("state", ["active", "reloading", "activating"])
def test_with_the_unit_it_is_ended_after_it_and_by_no_login(started, state):
    [asked, (words, options)] = started(state)
    assert asked[0][:3] == ["systemctl", "--user", "show"]
    assert asked[0][-1] == "my.service"
    until = words.index("--")
    assert words[:3] == ["systemd-run", "--user", "--scope"]
    assert "--property=Before=my.service" in words[:until]
    # By which one that runs out of memory does not end the supervisor, that starts it again.
    assert "--property=Delegate=yes" in words[:until]
    # systemd-run finds the user's systemd by it, and an engine has nothing of it.
    assert options["env"] == {"PATH": "/bin", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert words[until + 1 : until + 3] == ["env", "--unset=XDG_RUNTIME_DIR"]


@pytest.mark.parametrize(
    ("state", "runtime", "asks"),
    [("inactive", "/run/user/1000", 1), (None, "/run/user/1000", 1), ("active", "", 0)],
)
def test_without_it_it_is_started_as_it_is(started, state, runtime, asks):
    *asked, (words, options) = started(state, runtime)
    assert len(asked) == asks
    assert words[1] == "-I"
    assert options["env"] == {"PATH": "/bin"}


def test_what_the_unit_itself_starts_stays_part_of_it(started):
    [(words, _)] = started("activating", group="/user@1000.service/app.slice/my.service")
    assert words[1] == "-I"
