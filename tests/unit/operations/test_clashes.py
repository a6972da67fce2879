"""Services of a file that cannot be on one host beside each other: every verb says so, and where,
before anything is started."""

import sys

import pytest
import yaml

from deployctl.cli.app import main
from deployctl.operations.review import review
from known import tiny_folder

HTTPS = {"domain": "llm.example.com", "tls": "internal"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write(first, second)` writes two.yaml: two small services on a CPU, with these keys too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    tiny_folder(tmp_path / "tiny")

    def one(name, port, given):
        usual = {"model": "tiny", "name": name, "port": port, "gpu": "cpu", "max_model_len": 256}
        return usual | given

    def make(first, second, cards=()):
        documents = [one("a", 8101, first), one("b", 8201, second)]
        fleet = [{"fleet": list(cards)}] if cards else []
        (tmp_path / "two.yaml").write_text(yaml.safe_dump_all([*fleet, *documents]))

    return make


@pytest.fixture
def refused(monkeypatch, capsys):
    """What a verb says as it refuses: the error, its place and its hint."""

    def run(*words, code=2):
        monkeypatch.setattr(sys, "argv", ["deployctl", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == code, said
        lines = said.splitlines()
        begin = next(n for n, line in enumerate(lines) if line.startswith("error: "))
        return " ".join(line.strip() for line in lines[begin:])

    return run


@pytest.mark.parametrize(
    ("first", "second", "where", "said"),
    [
        ({"gateway": True}, {"gateway": True, "expose": True}, "gateway_port", "without --expose"),
        ({"gateway": True}, {**HTTPS, "gateway_port": 8080}, "gateway_port", "without TLS"),
        (HTTPS, {**HTTPS, "tls": "acme", "expose": True}, "tls", "the certificate of llm"),
        ({"gateway": True}, {"gateway": True, "target": "docker"}, "gateway_port", "for target"),
        ({"port": 8080}, {"gateway": True}, "gateway_port", "and an engine's of a"),
        ({"gateway": True}, {"port": 8080}, "port", "behind which a is"),
        ({"port": 8080}, {"replicas": 2}, "gateway_port", "and an engine's of a"),
    ],
)
def test_every_verb_refuses_what_cannot_be_beside_each_other(
    write, refused, tmp_path, first, second, where, said
):
    write(first, second)
    told = refused("plan", "-f", "two.yaml")
    assert said in told
    assert f"at: two.yaml: services/1/{where} hint: " in told
    assert refused("render", "-f", "two.yaml", "-o", "out") == told
    assert not (tmp_path / "out").exists()
    assert refused("up", "-f", "two.yaml") == told
    assert not (tmp_path / "state").exists()
    assert refused("diff", "-f", "two.yaml") == told
    files = [tmp_path / "two.yaml"]
    reviewed = review(files, root=tmp_path).review
    [found] = [each for each in reviewed.findings if each.level == "error"]
    assert (found.service, found.where) == ("b", where)
    # In the second document, at its key where it has one.
    assert found.line > files[0].read_text().splitlines().index("---")


def test_a_fleet_is_refused_as_well(write, refused, tmp_path):
    cpu = [{"gpu": "cpu"}]
    write({"gateway": True}, {"gateway": True, "expose": True}, cards=cpu)
    told = refused("plan", "-f", "two.yaml")
    assert "at: two.yaml: services/1/gateway_port" in told
    for words in (("render", "-o", "out"), ("up",)):
        assert refused(*words, "-f", "two.yaml") == told
    [found] = review([tmp_path / "two.yaml"], root=tmp_path).review.findings
    before, *_ = (tmp_path / "two.yaml").read_text().rpartition("---")
    assert found.line > len(before.splitlines())
    write({"gateway": True}, {"hold": 5}, cards=cpu)
    assert "at: two.yaml: services/1/hold" in refused("plan", "-f", "two.yaml")
    write({"name": "a"}, {"target": "kubernetes"}, cards=cpu)
    assert "at: two.yaml: services/1/target" in refused("plan", "-f", "two.yaml")


def test_replicas_that_the_planner_chose_are_behind_the_gateway_too(write, refused):
    """`gpus: 2` and no word of replicas or a gateway."""
    cards = {"gpu": "l4", "target": "process"}
    write({**cards, "gpus": 2}, {**cards, "gateway": True, "expose": True})
    assert "with --expose" not in (told := refused("plan", "-f", "two.yaml"))
    assert "without --expose" in told
    assert refused("up", "-f", "two.yaml") == told
    write({**cards, "gpus": 2, "port": 8200, "gateway_port": 9090}, cards)
    assert "port 8201 is an engine's of a too at: two.yaml: services/1/port" in refused(
        "plan", "-f", "two.yaml"
    )


def test_what_goes_together_is_planned(write, refused):
    """Two at a port with a name each, one of them with another domain's certificate; and what does
    not fit, or is on a cluster, is in nobody's way."""
    write({"gateway": True}, {"gateway": True})
    refused_not = ("plan", "-f", "two.yaml")
    with pytest.raises(StopIteration):
        refused(*refused_not, code=0)
    write(HTTPS, {**HTTPS, "domain": "other.example.com"})
    with pytest.raises(StopIteration):
        refused(*refused_not, code=0)
    write({"gateway": True, "gpu": "l4", "users": 10**9}, {"gateway": True, "expose": True})
    assert "a does not fit" in refused(*refused_not, code=3)


def test_docker_on_another_host_is_in_no_process_s_way(write, refused, tmp_path, monkeypatch):
    write({"gateway": True}, {"gateway": True, "target": "docker"})
    files = [tmp_path / "two.yaml"]
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    refused("render", "-f", "two.yaml", "-o", "out")
    assert any(each.level == "error" for each in review(files, root=tmp_path).review.findings)
    monkeypatch.setenv("DOCKER_HOST", "tcp://gpu1:2376")
    with pytest.raises(StopIteration):
        refused("render", "-f", "two.yaml", "-o", "out", code=0)
    assert not any(each.level == "error" for each in review(files, root=tmp_path).review.findings)


@pytest.mark.parametrize(
    ("words", "variables", "where"),
    [
        (["--hold", "5", "--no-gateway"], {}, "--hold"),
        ([], {"DEPLOYCTL_HOLD": "5"}, "DEPLOYCTL_HOLD"),
        (["--tls", "internal"], {}, "--tls"),
        ([], {"DEPLOYCTL_TLS": "internal"}, "DEPLOYCTL_TLS"),
        (["--no-gateway", "--replicas", "2"], {}, "--gateway"),
        (["--domain", "llm.example.com"], {}, "--domain"),
        (["--gateway", "--gateway-port", "8000"], {}, "--gateway-port"),
        (["--gateway", "--port", "8080"], {}, "--gateway-port"),  # of a default: what to say
        (["--gateway", "--name", "v1"], {}, "--name"),
    ],
)
def test_a_refusal_of_the_gateway_names_the_flag_or_the_variable(
    write, refused, monkeypatch, words, variables, where
):
    write({}, {})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = ["--model", "tiny", "--gpu", "cpu", *words]
    assert f" at: {where} hint: " in refused("plan", *given)


@pytest.mark.parametrize(
    ("second", "where"),
    [
        ({"tls": "internal"}, "tls"),
        ({"hold": 5}, "hold"),
        ({"domain": "llm.example.com"}, "domain"),
        ({"gateway": False, "replicas": 2}, "gateway"),
        ({"gateway": True, "name": "v1"}, "name"),
        ({"gateway": True, "gateway_port": 8201}, "gateway_port"),
    ],
)
def test_or_the_service_of_the_file_and_its_key(write, refused, second, where):
    write({}, second)
    assert f" at: two.yaml: services/1/{where} hint: " in refused("plan", "-f", "two.yaml")


def test_what_is_wrong_with_the_other_file_of_a_diff_is_in_that(write, refused, tmp_path):
    """The services have the same names."""
    write({}, {"hold": 5})
    (tmp_path / "two.yaml").rename(tmp_path / "main.yaml")
    write({}, {})
    against = ("diff", "-f", "two.yaml", "--against-file", "main.yaml")
    assert " at: main.yaml: services/1/hold hint: " in refused(*against)
    write({}, {"gpu": "l4"}, cards=[{"gpu": "cpu"}])
    (tmp_path / "two.yaml").rename(tmp_path / "main.yaml")
    write({}, {})
    assert " at: main.yaml: services/1/gpu hint: " in refused(*against)


def test_fewer_named_cards_than_the_replicas_take_are_refused_by_all(write, refused):
    cards = {"gpu": "l4", "gpus": 2, "replicas": 2, "target": "process"}
    write(cards | {"env": {"CUDA_VISIBLE_DEVICES": "0"}}, {"target": "process"})
    told = refused("plan", "-f", "two.yaml", code=3)
    assert "names 1 cards, and 2 replicas take 2 " in told
    assert "at: two.yaml: services/0/env/CUDA_VISIBLE_DEVICES hint: name 2" in told
    assert refused("render", "-f", "two.yaml", "-o", "out", code=3) == told
    assert refused("up", "-f", "two.yaml", code=3) == told
    one = ["--model", "tiny", "--gpu", "l4", "--env", "CUDA_VISIBLE_DEVICES=0,1"]
    assert "names 2 cards, and the plan uses 1 at: --env/CUDA" in refused("plan", *one, code=3)
