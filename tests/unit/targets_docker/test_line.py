"""Where ssh goes, and what is said when it does not get there; tests/e2e has an sshd."""

from itertools import pairwise

import pytest

from deployctl.errors import DockerError
from deployctl.targets.docker import line
from deployctl.targets.docker.line import SshHost, _refused


@pytest.mark.parametrize(
    ("url", "words", "shown"),
    [
        ("ssh://ops@gpu1", ["-l", "ops", "--", "gpu1"], "ops@gpu1"),
        ("ssh://AD\\ops@gpu1", ["-l", "AD\\ops", "--", "gpu1"], "AD\\ops@gpu1"),
        ("ssh://GPU-box", ["--", "GPU-box"], "GPU-box"),  # as ~/.ssh/config has it
        ("ssh://ops@gpu1:2222/", ["-l", "ops", "-p", "2222", "--", "gpu1"], "ops@gpu1:2222"),
        ("ssh://[fd00::1]:22", ["-p", "22", "--", "fd00::1"], "[fd00::1]:22"),
    ],
)
def test_where_it_goes(url, words, shown):
    to = SshHost.of(url)
    assert to.words() == words
    assert str(to) == shown


@pytest.mark.parametrize(
    "url",
    [
        *("ssh://", "gpu1", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://a:secret@h"),
        *("ssh://h/path", "ssh://h;id", "ssh://`id`", "ssh://$(id)@h", "ssh://h\n-oX", "ssh://a|b"),
    ],
)
def test_what_is_none_is_refused(url):
    with pytest.raises(DockerError, match="names no host") as raised:
        SshHost.of(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("Host key verification failed.", "its host key is not known", "ssh ops@gpu1"),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "its host key is another",
            "ssh-keygen -R gpu1",
        ),
        ("ssh: Could not resolve hostname gpu1: Name or service not known", "no host", "--host"),
        ("ssh: connect to host gpu1 port 22: Connection refused", "does not answer", "sshd"),
        ("ssh: connect to host gpu1 port 22: Connection timed out", "does not answer", "sshd"),
        ("ops@gpu1: Permission denied (publickey).", "ssh does not let us in", "ssh-add"),
        (
            "permission denied while trying to connect to the docker API at unix:///x.sock",
            "may not use Docker",
            "usermod",
        ),
        ("bash: line 1: docker: command not found", "no docker command", "docs.docker.com"),
        ("sh: 1: docker: not found", "no docker command", "docs.docker.com"),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker "
            "daemon running?",
            "Docker is not running on that host",
            "systemctl start docker",
        ),
        ("something new\n", "ssh ended: something new", "docker version"),
    ],
)
def test_why_there_is_no_way(said, message, hint):
    error = _refused(SshHost.of("ssh://ops@gpu1"), 255, said)
    assert message in error.message
    assert hint in error.hint
    assert error.where == "ssh://ops@gpu1"
    assert error.exit_code == 4


def test_what_is_to_be_typed_knows_the_port():
    changed = "REMOTE HOST IDENTIFICATION HAS CHANGED"
    hint = _refused(SshHost.of("ssh://ops@gpu1:2222"), 255, changed).hint
    assert hint.endswith("ssh-keygen -R '[gpu1]:2222', then ssh -p 2222 ops@gpu1")


def test_what_users_have_ssh_run_there_is_not_run_in_the_place_of_ours(tmp_path, monkeypatch):
    """ssh ends with "Cannot execute command-line and remote command" otherwise."""
    begun = []
    monkeypatch.setattr(line.subprocess, "Popen", lambda words, **_: begun.append(words))
    line._start(tmp_path, SshHost.of("ssh://ops@gpu1"))
    [words] = begun
    options = [word for before, word in pairwise(words) if before == "-o"]
    assert {"RemoteCommand=none", "RequestTTY=no"} <= {*options}
    assert words.index("-o") < words.index("--")
