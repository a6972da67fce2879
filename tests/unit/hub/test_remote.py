"""The Hub: what is asked of it, and what its refusals become."""

import httpx
import pytest

from deployctl import hub
from deployctl.doctor import probes
from deployctl.errors import HubError, InputError, ModelError, SpecError
from deployctl.hub import repository

TOKEN = "hf_secret_of_the_test"


class Sleeps(list):
    def __call__(self, seconds):
        self.append(seconds)


def fetch(server, **options):
    options.setdefault("sleep", Sleeps())
    with server.client() as client:
        return hub.fetch("org/model", client=client, **options)


def failing(server, **options):
    with pytest.raises((HubError, ModelError)) as caught:
        fetch(server, **options)
    assert TOKEN not in f"{caught.value} {caught.value.where} {caught.value.hint}"
    return caught.value


@pytest.fixture
def server(kit):
    return kit.hub({"config.json": kit.config, "model.safetensors": kit.weights, "README.md": "x"})


def test_documents(server, kit):
    found = fetch(server)
    assert found.source == "org/model"
    assert not found.local
    assert found.revision == kit.commit
    assert found.config == kit.config
    assert found.files["model.safetensors"] == len(kit.weights)
    assert [t.name for t in found.tensors] == ["a.weight", "b.weight"]
    assert not found.gated


def test_what_a_card_says_costs_no_request(kit):
    files = {"config.json": kit.config, "model.safetensors": kit.weights, "README.md": "x"}
    server = kit.hub(files, cardData={"base_model": ["org/base"], "license": "mit"})
    assert fetch(server).base_models == ("org/base",)
    assert not any("README" in str(request.url) for request in server.requests)
    assert fetch(kit.hub(files, cardData="broken")).base_models == ()


def test_a_revision_is_asked_for_and_pinned(server, kit):
    fetch(server, revision="refs/pr/1")
    asked = [str(r.url) for r in server.requests]
    assert asked[0].endswith("/api/models/org/model/revision/refs%2Fpr%2F1?blobs=true")
    assert all(kit.commit in url for url in asked[1:])


def test_weights_are_never_fetched(kit):
    weights = kit.safetensors({"a": ("F16", [1_000_000], 2_000_000)})
    server = kit.hub({"config.json": kit.config, "model.safetensors": weights})
    fetch(server)
    assert server.sent["model.safetensors"] <= repository.HEAD


def test_weights_are_not_read_when_a_mirror_ignores_ranges(kit):
    read = []

    class Slow(httpx.SyncByteStream):
        def __init__(self, content):
            self.content = content

        def __iter__(self):
            for at in range(0, len(self.content), 4096):
                read.append(4096)
                yield self.content[at : at + 4096]

    weights = kit.safetensors({"a": ("F16", [1_000_000], 2_000_000)})
    server = kit.hub({"config.json": kit.config, "model.safetensors": weights})
    server.ranges = False
    plain = server._file
    server._file = lambda name, asked: (
        httpx.Response(200, stream=Slow(weights)) if "safe" in name else plain(name, asked)
    )
    assert len(fetch(server).tensors) == 1
    assert sum(read) <= repository.HEAD + 4096


def test_a_header_longer_than_the_first_read(kit):
    tensors = {f"model.layers.{i}.mlp.down_proj.weight": ("F16", [1], 2) for i in range(3000)}
    server = kit.hub({"config.json": kit.config, "model.safetensors": kit.safetensors(tensors)})
    assert len(fetch(server).tensors) == 3000
    assert sum("safetensors" in str(r.url) for r in server.requests) == 2


def test_many_shards_keep_their_order(kit):
    names = [f"model-{i:02}.safetensors" for i in range(20)]
    shards = {n: kit.safetensors({f"t{n}": ("F16", [1], 2)}) for n in names}
    index = {"weight_map": {f"t{n}": n for n in names}}
    files = {"config.json": kit.config, "model.safetensors.index.json": index, **shards}
    assert [t.name for t in fetch(kit.hub(files)).tensors] == [f"t{n}" for n in names]


def test_a_damaged_shard_is_named_with_its_commit(kit):
    server = kit.hub({"config.json": kit.config, "model.safetensors": kit.weights[:-1]})
    error = failing(server)
    assert isinstance(error, ModelError)
    assert error.where == f"org/model@{kit.commit[:12]}/model.safetensors"


def test_the_token_goes_to_the_hub_and_nowhere_else(server):
    server.first.append(
        httpx.Response(307, headers={"Location": "http://elsewhere.test/api/models/org/model"})
    )
    fetch(server, token=TOKEN)
    for request in server.requests:
        sent = request.headers.get("Authorization")
        assert sent == (None if request.url.host == "elsewhere.test" else f"Bearer {TOKEN}")


def test_without_a_token_none_is_sent(server):
    fetch(server)
    assert not any("Authorization" in r.headers for r in server.requests)


def test_the_endpoint_is_honoured(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.test/hf/")
    server.first.append(httpx.Response(404))
    failing(server)
    assert str(server.requests[0].url).startswith("https://mirror.test/hf/api/models/org/model")


@pytest.mark.parametrize(
    "endpoint", ["ftp://x", "not an address", "http://[", "file:///etc", "https://"]
)
def test_an_endpoint_that_is_none(server, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(SpecError, match="not the address of a Hub") as caught:
        fetch(server)
    assert "HF_ENDPOINT" in caught.value.where
    assert server.requests == []


def test_gated_with_access(kit):
    server = kit.hub({"config.json": kit.config}, gated="manual")
    assert fetch(server).gated


@pytest.mark.parametrize(
    ("status", "headers", "kind", "says"),
    [
        (404, {}, ModelError, "no such model"),
        (401, {"X-Error-Code": "RepoNotFound"}, ModelError, "no such model"),
        (404, {"X-Error-Code": "RevisionNotFound"}, ModelError, "no such revision"),
        (401, {}, HubError, "refuses access"),
        (403, {}, HubError, "refuses access"),
        (403, {"X-Error-Code": "GatedRepo"}, HubError, "gated"),
        (403, {"X-Error-Message": "Access to model is gated"}, HubError, "gated"),
        (500, {}, HubError, "HTTP 500"),
        (418, {}, HubError, "HTTP 418"),
        (302, {}, HubError, "HTTP 302"),
    ],
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_refusals(server, status, headers, kind, says, token):
    server.first += [httpx.Response(status, headers=headers) for _ in range(4)]
    error = failing(server, token=token)
    assert type(error) is kind
    assert says in error.message
    assert error.hint
    if status in (401, 403):
        assert ("HF_TOKEN" in error.hint) == (token is None)


def test_gated_only_when_a_file_is_asked_for(kit):
    server = kit.hub({"config.json": kit.config}, gated="auto")
    server._file = lambda *_: httpx.Response(403, headers={"X-Error-Code": "GatedRepo"})
    error = failing(server)
    assert "ask for access" in error.hint
    assert error.exit_code == 4


def test_429_is_waited_out_as_the_hub_says(server):
    server.first += [
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.Response(429, headers={"RateLimit": '"api";r=0;t=11'}),
        httpx.Response(503),
    ]
    sleeps = Sleeps()
    assert fetch(server, sleep=sleeps).config
    assert sleeps == [7.0, 11.0, 4.0]


def test_429_for_ever(server):
    server.first += [httpx.Response(429) for _ in range(9)]
    sleeps = Sleeps()
    error = failing(server, sleep=sleeps)
    assert "fewer requests" in error.message
    assert sleeps == [1.0, 2.0, 4.0]


def test_a_wait_too_long_is_reported_at_once(server):
    server.first.append(httpx.Response(429, headers={"Retry-After": "3600"}))
    sleeps = Sleeps()
    error = failing(server, sleep=sleeps)
    assert "3600 s" in error.hint
    assert sleeps == []


@pytest.mark.parametrize("wait", ["-1", "nan", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 400])
def test_a_wait_that_is_no_number(server, wait):
    server.first.append(httpx.Response(429, headers={"Retry-After": wait}))
    sleeps = Sleeps()
    assert fetch(server, sleep=sleeps).config
    assert sleeps == [1.0]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (httpx.ConnectError("[Errno -2] Name or service not known"), "Name or service not known"),
        (httpx.ConnectTimeout("x"), "did not answer in time"),
        (httpx.ReadTimeout("x"), "did not answer in time"),
        (httpx.RemoteProtocolError("peer closed"), "peer closed"),
        (httpx.ConnectError("certificate verify failed"), "not trusted"),
        (httpx.ProxyError(""), "ProxyError"),
    ],
)
def test_a_network_that_fails(error, says):
    calls = []

    def handler(request):
        calls.append(request)
        raise error

    sleeps = Sleeps()
    with (
        httpx.Client(transport=httpx.MockTransport(handler)) as client,
        pytest.raises(HubError) as caught,
    ):
        hub.fetch("org/model", client=client, sleep=sleeps)
    assert says in caught.value.message
    assert "HF_ENDPOINT" in caught.value.hint
    offline = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    assert len(calls) == (2 if offline else 4)
    assert sleeps == ([1.0] if offline else [1.0, 2.0, 4.0])


def test_a_network_that_recovers(server):
    failures = [httpx.ReadTimeout("x"), httpx.ConnectError("x")]

    def handler(request):
        if failures:
            raise failures.pop()
        return server(request)

    with httpx.Client(transport=httpx.MockTransport(handler)) as client:
        assert hub.fetch("org/model", client=client, sleep=Sleeps()).config


def test_redirects_without_end(kit):
    server = kit.hub({})
    server.first += [httpx.Response(302, headers={"Location": "/x"}) for _ in range(200)]
    assert "redirects endlessly" in failing(server).message


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in</html>",
        b"[]",
        b"{}",
        b'{"sha": null, "siblings": []}',
        b'{"sha": "../x", "siblings": []}',
        b'{"sha": "abc", "siblings": [1]}',
        b'{"sha": "abc", "siblings": [{"rfilename": 1}]}',
        b'{"sha": "abc", "siblings": 7}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_not_the_hubs(server, body):
    server.first.append(httpx.Response(200, content=body))
    assert "not the Hub's" in failing(server).message


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", "a\nb", "x" * 2000])
def test_a_repository_with_impossible_file_names(server, kit, name):
    listing = {"sha": kit.commit, "siblings": [{"rfilename": name}]}
    server.first.append(httpx.Response(200, json=listing))
    assert "impossible name" in failing(server).message


def test_a_document_too_large_is_not_downloaded(server, kit):
    siblings = [{"rfilename": "config.json", "size": 10**9}]
    server.first.append(httpx.Response(200, json={"sha": kit.commit, "siblings": siblings}))
    assert "larger than" in failing(server).message
    assert len(server.requests) == 1


def test_sizes_that_the_hub_does_not_tell(server, kit):
    siblings = [{"rfilename": "config.json"}, {"rfilename": "model.safetensors", "size": None}]
    server.first.append(httpx.Response(200, json={"sha": kit.commit, "siblings": siblings}))
    found = fetch(server)
    assert found.files == {"config.json": None, "model.safetensors": None}
    assert len(found.tensors) == 2


def test_with_no_client_of_its_own_a_closed_port_is_an_error(monkeypatch):
    with pytest.raises(HubError):
        hub.fetch("org/model", sleep=Sleeps())


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALL_PROXY", "socks5://u:a-password@127.0.0.1:1", "SOCKS"),
        ("HTTPS_PROXY", "ftp://u:a-password@x:1", "Unknown scheme"),
        ("HTTPS_PROXY", "http://[::", "Invalid port"),
        ("SSL_CERT_FILE", "/nonexistent", "No such file"),
        ("SSL_CERT_FILE", __file__, "no certificate"),
    ],
)
def test_an_environment_by_which_nobody_can_be_asked(monkeypatch, variable, value, said):
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError) as caught:
        hub.fetch("org/model")
    assert said in caught.value.message
    assert variable in caught.value.where
    assert caught.value.hint
    assert "a-password" not in f"{caught.value.message} {caught.value.where}"
    status, problem, _ = probes._head("https://huggingface.co")
    assert status is None
    assert variable in problem
