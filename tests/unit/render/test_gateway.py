"""The gateway's configuration: what is made of which services, and what is refused."""

import json
import re

import pytest
import yaml

from deployctl.errors import InputError, PlanRefusedError
from deployctl.render import (
    gateway,
    gatewayproject,
    gatewayrefusals,
    render_compose,
    render_process,
)
from deployctl.render.candidate import candidate
from deployctl.render.gateway import GatewayEntry, admitted, configuration, entry

ONE = {"exposed": False, "domain": None, "tls": None, "hold_s": 300, "port": 8080}


def one(service="tiny", **more):
    return GatewayEntry(**{**ONE, "service": service, **more})


def named(service, domain, tls="internal", **more):
    return one(service, domain=domain, tls=tls, port=8443, **more)


SERVICES = {
    "one": [one(root=True)],
    "pool": [one(replicas=2, root=True)],
    "several": [
        one("chat", root=True),
        one("embed", hold_s=20),
        named("qwen", "llm.example.com", "acme", exposed=True, root=True),
        named("gemma", "llm.example.com", "acme", exposed=True),
        named("other", "other.example.com", "internal", exposed=True, root=True),
    ],
}


@pytest.mark.parametrize("name", SERVICES)
def test_golden(golden, name):
    golden(f"gateway/{name}.json", configuration(SERVICES[name], monitor_port=20190))


def test_the_order_of_services_makes_no_difference():
    there = SERVICES["several"]
    assert configuration(there, monitor_port=1) == configuration(there[::-1], monitor_port=1)


def test_an_engine_behind_the_gateway_stays_on_loopback_when_the_service_is_exposed(by_hand):
    plan, spec = by_hand(gateway=True, expose=True, port=8001, hold=60)
    files = render_process(plan, spec).files
    command = json.loads(files["command.json"])
    assert (command["host"], command["port"], command["api_key"]) == ("127.0.0.1", 8001, True)
    found = gateway.entry_of(render_process(plan, spec))
    assert found == one(exposed=True, hold_s=60)
    assert (found.host, found.url) == ("0.0.0.0", "http://127.0.0.1:8080/tiny")


def test_without_one_nothing_of_it_is_rendered(by_hand):
    assert gateway.entry_of(render_process(*by_hand())) is None


def test_a_candidate_is_tried_without_it(by_hand):
    plan, spec = by_hand(domain="llm.example.com", tls="internal")
    assert gateway.entry_of(render_process(plan, spec))
    tried = candidate(spec, plan, "process", port=9000, cards=None)
    assert gateway.entry_of(tried.bundle) is None


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"root": True}, "http://127.0.0.1:8080"),
        ({"root": True, "port": 80}, "http://127.0.0.1"),
        ({"domain": "a.example", "port": 443}, "https://a.example/tiny"),
        ({"domain": "a.example", "port": 8443, "root": True}, "https://a.example:8443"),
    ],
)
def test_where_clients_find_it(given, url):
    assert one(**given).url == url


def test_the_first_at_an_address_has_the_root_and_keeps_it():
    first = admitted(one("a"), [])
    second = admitted(one("b"), [first])
    assert (first.root, second.root) == (True, False)
    assert admitted(one("a", hold_s=5), [first, second]).root
    assert admitted(named("c", "c.example"), [first, second]).root
    # Who comes after it has gone has it; who was there does not change its address.
    assert admitted(one("c"), [second]).root


@pytest.mark.parametrize(
    ("wanted", "there", "said"),
    [
        (one("b", exposed=True), one("a"), "with --expose|without --expose"),
        (named("b", "b.example"), one("a"), "without TLS"),
        (named("b", "a.example"), named("a", "a.example", "acme"), "is acme for a"),
    ],
)
def test_what_does_not_go_together_on_a_port_is_refused(wanted, there, said):
    wanted = wanted.model_copy(update={"port": there.port})
    with pytest.raises(InputError, match=said) as caught:
        admitted(wanted, [there])
    assert caught.value.hint


def test_a_domain_has_one_certificate_whatever_the_port():
    there = named("a", "a.example", "acme", exposed=True)
    with pytest.raises(InputError, match="is acme for a"):
        admitted(named("b", "a.example").model_copy(update={"port": 9443}), [there])


def handlers(document, kind):
    """Every handler of a kind, with the matchers that lead to it."""
    if isinstance(document, list):
        return [found for each in document for found in handlers(each, kind)]
    if not isinstance(document, dict):
        return []
    here = [(document.get("match"), h) for h in document.get("handle", []) if h["handler"] == kind]
    return here + [found for each in document.values() for found in handlers(each, kind)]


def test_no_body_is_sent_again_that_is_not_whole_in_its_buffer():
    """Caddy gives the buffer of such a one to two other requests."""
    proxies = handlers(json.loads(configuration(SERVICES["one"], monitor_port=1)), "reverse_proxy")
    assert len(proxies) == 2 * 3  # below /tiny and at the root
    for match, proxy in proxies:
        (again,) = proxy.get("load_balancing", {}).get("retry_match", [{"expression": "false"}])
        assert ("request_buffers" in proxy) == ("not-begun" in again["expression"])
        if "request_buffers" in proxy:
            length = re.compile(match[0]["header_regexp"]["Content-Length"]["pattern"])
            assert length.match(str(proxy["request_buffers"] - 1))
            assert not length.match(str(proxy["request_buffers"]))
        else:
            assert again == {"expression": "false"}


def test_no_log_has_headers_or_a_query_in_which_clients_send_keys():
    told = json.loads(configuration(SERVICES["one"], monitor_port=1))["logging"]["logs"]
    for log in told.values():
        fields = log["encoder"]["fields"]
        assert fields["request>headers"] == {"filter": "delete"}
        query = fields["request>uri"]
        shown = re.sub(query["regexp"], query["value"], "/tiny/v1/models?api_key=a?b")
        assert (query["filter"], shown) == ("regexp", "/tiny/v1/models?")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "v1", "gateway": True}, "cannot be called v1"),
        ({"domain": "a.example"}, "reaches it"),
        ({"domain": "localhost", "expose": True}, "reaches it"),
        ({"domain": "llm.internal", "expose": True}, "reaches it"),
        ({"gateway": True, "port": 8080}, "port 8080 cannot be the gateway's and an engine's"),
        ({"replicas": 2, "port": 8079}, "port 8080 cannot be the gateway's and an engine's"),
        ({"replicas": 2, "port": 65535}, "ports 65535 to 65536, and there is none above 65535"),
    ],
)
def test_what_cannot_be_served_is_refused(by_hand, given, said):
    plan, spec = by_hand(**given)
    with pytest.raises(InputError, match=said):
        entry(plan, spec)


@pytest.mark.parametrize(
    "given", [{"domain": "A.example"}, {"domain": "10.0.0.1"}, {"tls": "acme"}]
)
def test_a_wrong_domain_is_no_spec(by_hand, given):
    with pytest.raises(ValueError, match="domain"):
        by_hand(**given)


def test_in_a_container_it_listens_on_all_that_this_has_and_leads_its_host_to_engines(golden):
    text = configuration(SERVICES["one"], monitor_port=20190, contained=True)
    golden("gateway/contained.json", text)
    servers = json.loads(text)["apps"]["http"]["servers"]
    assert [servers[name]["listen"] for name in ("monitor", "port-8080")] == [
        ["0.0.0.0:20190"], ["0.0.0.0:8080"],
    ]  # fmt: skip


def test_its_project_publishes_what_services_want_and_the_monitor_on_loopback(golden):
    published = gatewayproject.ports(SERVICES["several"], 20190)
    assert published == ["0.0.0.0:8443", "127.0.0.1:20190", "127.0.0.1:8080"]
    golden("gateway/compose.yaml", gatewayproject.project(published, 20190, "caddy:1"))


def test_in_a_container_it_asks_engines_by_no_proxy_that_docker_gives_it():
    caddy = yaml.safe_load(gatewayproject.project([], 20190, "caddy:1"))["services"]["caddy"]
    told = {name.lower(): value for name, value in caddy["environment"].items()}
    assert {"HTTP_PROXY", "http_proxy"} <= caddy["environment"].keys()
    assert told["http_proxy"] == ""
    assert "https_proxy" not in told  # by it authorities are asked for certificates


def test_in_a_container_it_has_more_threads_than_a_small_host_has_cores():
    caddy = yaml.safe_load(gatewayproject.project([], 20190, "caddy:1"))["services"]["caddy"]
    assert int(caddy["environment"]["GOMAXPROCS"]) == 8


def test_by_hand_it_has_what_up_would_write(golden):
    files = gatewayproject.by_hand(one())
    assert sorted(files) == [
        "gateway/compose.yaml", "gateway/files/caddy.json", "gateway/files/monitor_port",
        "gateway/files/services/tiny.json", "gateway/files/upstreams/tiny",
    ]  # fmt: skip
    assert GatewayEntry.model_validate_json(files["gateway/files/services/tiny.json"]).root
    loaded = json.loads(files["gateway/files/caddy.json"])["apps"]["http"]["servers"]
    assert loaded["monitor"]["listen"] == [f"0.0.0.0:{files['gateway/files/monitor_port']}"]


@pytest.mark.parametrize(
    ("given", "networks"),
    [
        ({}, ["gateway"]),
        ({"env": {"HF_HUB_OFFLINE": "0"}}, ["gateway", "default"]),
        ({"otlp_traces_endpoint": "http://otel:4317"}, ["gateway", "default"]),
    ],
)
def test_an_engine_in_docker_is_reached_by_its_network_alone_and_gets_out_if_it_must(
    by_hand, given, networks
):
    bundle = render_compose(*by_hand(gateway=True, **given))
    document = yaml.safe_load(bundle.files["compose.yaml"])
    engine = document["services"]["engine"]
    assert "ports" not in engine
    assert list(engine["networks"]) == networks
    assert document["networks"]["gateway"] == {
        "name": "deployctl_gateway_engines", "external": True,
    }  # fmt: skip
    assert gateway.entry_of(bundle) == one()


def test_an_engine_in_docker_is_led_to_by_a_name_that_no_other_has(by_hand):
    known = {}
    for service in ("a", "a-engine-1"):
        bundle = render_compose(*by_hand(gateway=True, name=service))
        document = yaml.safe_load(bundle.files["compose.yaml"])
        ((name, engine),) = [each for each in document["services"].items() if "networks" in each[1]]
        aliases = engine["networks"]["gateway"].get("aliases", [])
        known[service] = [f"{document['name']}-{name}-1", *aliases]  # as Compose names it
    for service in known:
        host = gateway.upstream(service).removesuffix(":8000")
        assert [each for each, names in known.items() if host in names] == [service]
        assert gateway.inside(service) == "/engines/" + host.removeprefix("deployctl-")


def test_in_docker_the_gateway_may_have_the_port_that_an_engine_has_elsewhere(by_hand):
    bundle = render_compose(*by_hand(gateway=True, port=8000, gateway_port=8000))
    assert gateway.entry_of(bundle).port == 8000


@pytest.mark.parametrize("given", [{"gateway_port": 9090}, {"hold": 300}, {"with_chat": True}])
@pytest.mark.parametrize("target", ["process", "docker", "kubernetes"])
def test_what_is_said_of_a_gateway_wants_one(by_hand, given, target):
    plan, spec = by_hand(**given)
    with pytest.raises(InputError, match="said of a gateway, and tiny is behind none") as e:
        gateway.check(plan, spec, target)
    assert [e.value.where] == list(given)
    if target != "kubernetes":
        gateway.check(*by_hand(**given, gateway=True), target)
        gateway.check(*by_hand(**given, replicas=2), "process")  # it is implied


def test_replicas_of_a_host_cannot_do_without_it(by_hand):
    with pytest.raises(InputError, match="2 replicas of tiny have one address by"):
        entry(*by_hand(gateway=False, replicas=2))
    assert entry(*by_hand(gateway=False)) is None
    gateway.check(*by_hand(gateway=False, replicas=2), "kubernetes")


def test_a_domain_cannot_do_without_it(by_hand):
    """`--no-gateway` was believed to be nothing."""
    with pytest.raises(InputError, match=r"tiny is served at a\.example by the gateway") as e:
        entry(*by_hand(gateway=False, domain="a.example", tls="internal"))
    assert e.value.where == "gateway"


def test_the_monitors_port_in_a_container_is_no_services(by_hand):
    wants = by_hand(gateway=True, gateway_port=20190)
    with pytest.raises(InputError, match="port 20190 is where the gateway tells"):
        gateway.check(*wants, "docker")
    gateway.check(*wants, "process")  # there it is any that is free


def test_a_cluster_has_none(by_hand):
    _, spec = by_hand(gateway=True)
    with pytest.raises(PlanRefusedError, match="services of a host alone"):
        gatewayrefusals.refuse(spec)
