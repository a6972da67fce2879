"""A model is brought, by a Hub and a program that are all memory."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from deployctl import hub
from deployctl.errors import HubError, InputError, ModelError, TargetError
from deployctl.hub.listing import Listing, StoredFile
from deployctl.hub.transfer import Transferred
from deployctl.operations import fetch as module
from deployctl.operations.bundle import ChartOptions
from deployctl.operations.fetch import MANIFEST, bring, bring_back, fetch, fetch_to
from deployctl.render.bundle import VALUES_FILE
from deployctl.render.modelclaim import brought
from deployctl.spec import ServiceSpec
from deployctl.targets.driver import Downloader

LISTING = Listing("org/tiny", "c" * 40, (StoredFile("config.json", 2, "a" * 40),))


class Driver:
    target = "docker"
    found: Downloader | None = Downloader(("docker", "run"), {"HOME": "/"}, "the volume")

    def downloader(self, release):
        return self.found

    def uploader(self, release):
        return None


@pytest.fixture
def asked(monkeypatch):
    """What the program was asked for."""
    requests = []

    def transfer(request, python, environment, tell):
        requests.append((request, list(python), environment))
        return Transferred("/there", 2)

    monkeypatch.setattr(module, "transfer", transfer)
    monkeypatch.setattr(hub, "listing", lambda *_, **__: LISTING)
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror")
    return requests


@pytest.fixture
def release(make_release):
    return make_release(
        plan={"model": "org/tiny", "model_local": False, "revision": "c" * 40}, revision=1
    )


def test_where_the_target_says_it_is_downloaded(asked, release):
    fetched = bring(Driver(), release, lambda _: None)
    request, python, environment = asked[0]
    assert (python, request.endpoint, request.folder) == (["docker", "run"], "http://mirror", None)
    assert environment == {"HOME": "/"}
    assert (fetched.place, fetched.path, fetched.downloaded) == ("the volume", "/there", 2)
    assert json.loads(json.dumps(fetched.document()))["bytes"] == 2


def test_a_mirror_of_the_service_s_own_is_asked(asked, release):
    engine = release.plan.engine.model_copy(update={"env": {"HF_ENDPOINT": "http://own"}})
    plan = release.plan.model_copy(update={"engine": engine})
    bring(Driver(), release.model_copy(update={"plan": plan}), lambda _: None)
    assert asked[0][0].endpoint == "http://own"


def test_a_folder_needs_nothing(asked, make_release):
    assert bring(Driver(), make_release(), lambda _: None) is None
    assert asked == []


def test_a_place_that_we_do_not_know_is_warned_of(asked, release):
    driver, told = Driver(), []
    driver.found = None
    assert bring(driver, release, told.append) is None
    assert [event.kind for event in told] == ["warning"]
    assert asked == []


def test_a_rollback_does_not_fail_because_the_hub_does(asked, release, monkeypatch):
    def down(*_, **__):
        raise HubError("the Hub answered HTTP 503")

    monkeypatch.setattr(hub, "listing", down)
    told = []
    with pytest.raises(HubError):
        bring(Driver(), release, told.append)
    bring_back(Driver(), release, told.append)
    assert "HTTP 503" in told[-1].text


def test_a_folder_says_what_belongs_into_it_and_takes_nothing_else(asked, tmp_path, monkeypatch):
    spec, folder = ServiceSpec(model="org/tiny", gpu="no-such-card"), tmp_path / "bundle"
    assert fetch_to(spec, folder).target is None
    assert json.loads((folder / MANIFEST).read_text())["files"] == {
        "config.json": {"bytes": 2, "digest": "a" * 40}
    }
    fetch_to(spec, folder)  # goes on
    monkeypatch.setattr(hub, "listing", lambda *_, **__: Listing("org/tiny", "d" * 40, ()))
    with pytest.raises(InputError, match="holds org/tiny at cccc") as caught:
        fetch_to(spec, folder)
    assert "--revision cccc" in caught.value.hint
    assert len(asked) == 2


@pytest.mark.parametrize("by", ["--offline", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_brought_into_a_folder(asked, tmp_path, monkeypatch, by):
    if by == "HF_HUB_OFFLINE":
        monkeypatch.setenv(by, "1")
    spec = ServiceSpec(model="org/tiny", offline=by == "--offline")
    with pytest.raises(InputError, match="offline, and a model is to be downloaded") as caught:
        fetch_to(spec, tmp_path / "bundle")
    assert caught.value.where == by
    assert "deployctl fetch --model" in caught.value.hint
    assert not (tmp_path / "bundle").exists()
    assert asked == []


@pytest.mark.parametrize(
    "make", [lambda p: p.write_text("x"), lambda p: (p / "x").mkdir(parents=True)]
)
def test_what_is_there_already_is_left_alone(asked, tmp_path, make):
    make(tmp_path / "bundle")
    with pytest.raises(InputError):
        fetch_to(ServiceSpec(model="org/tiny"), tmp_path / "bundle")
    assert asked == []


class Uploader:
    """Takes whatever is sent."""

    place = "claim model-0"

    def __init__(self, release):
        self.digest = yaml.safe_load(release.bundle.files[VALUES_FILE])["model"]["digest"]
        self.sent = []

    def is_there(self):
        return bool(self.sent)

    def upload(self, folder, files, tell):
        self.sent = [file.name for file in files]
        return sum(file.size for file in files)


class ClusterDriver:
    target = "kubernetes"

    def __init__(self):
        self.uploaders = {}

    def uploader(self, release):
        if not brought(release.bundle):
            return None
        return self.uploaders.setdefault(release.service, Uploader(release))


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOYCTL_CACHE_DIR", str(tmp_path / "cache"))
    driver, opened = ClusterDriver(), []
    monkeypatch.setattr(module, "open_driver", lambda *given: opened.append(given) or driver)
    there = SimpleNamespace(reach=lambda: None)
    monkeypatch.setattr(module, "open_view", lambda *given: there)
    driver.opened, driver.view = opened, there
    return driver


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    config = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config |= {"num_hidden_layers": 2, "vocab_size": 256, "max_position_embeddings": 512}
    config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": "bfloat16"}))
    tensor = {"model.norm.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    header = json.dumps(tensor).encode()
    weights = len(header).to_bytes(8, "little") + header + b"\0\0"
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def of_a_cluster(model):
    spec = {"model": str(model), "name": "own", "gpu": "cpu", "target": "kubernetes"}
    return ServiceSpec(**spec, namespace="llm")


def test_a_folder_is_sent_to_a_cluster_as_up_would_send_it(cluster, checkpoint):
    fetched = fetch(of_a_cluster(checkpoint))
    ((target, settings),) = cluster.opened
    assert (target, settings.namespace) == ("kubernetes", "llm")
    assert cluster.uploaders["own"].sent == ["config.json", "model.safetensors"]
    assert (fetched.target, fetched.place) == ("kubernetes", "claim model-0")
    assert fetched.downloaded == fetched.bytes > 0
    assert fetched.files == 2
    assert fetch(of_a_cluster(checkpoint)).downloaded == 0


def test_a_cluster_that_does_not_answer_is_told_before_a_folder_is_read(cluster, checkpoint):
    def away():
        raise TargetError("no answer")

    cluster.view.reach = away
    with pytest.raises(TargetError, match="no answer"):
        fetch(of_a_cluster(checkpoint))
    assert not (checkpoint.parent / "cache" / "digests").exists()


def test_where_the_values_name_what_holds_it_nothing_is_sent(cluster, checkpoint):
    chart = ChartOptions(overrides={"model": {"claim": "mine"}})
    with pytest.raises(InputError, match="nothing to send"):
        fetch(of_a_cluster(checkpoint), chart=chart)


def test_a_cluster_downloads_a_hub_s_model_by_itself(cluster, asked):
    with pytest.raises(InputError, match="inside the cluster") as caught:
        fetch(of_a_cluster("org/tiny"))
    assert "--to DIR" in caught.value.hint
    assert (cluster.opened, asked) == ([], [])


def test_a_list_that_is_damaged(asked, make_release):
    release = make_release()
    folder = release.plan.model
    (Path(folder) / MANIFEST).write_text("[]")
    with pytest.raises(ModelError, match="is damaged"):
        fetch(release.spec)
    with pytest.raises(ModelError, match="a folder already"):
        fetch_to(release.spec, Path("x"))
