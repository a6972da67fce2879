"""The chat page: where it is served, and what its policy lets run."""

import base64
import hashlib
import json
import re

import pytest

from deployctl import assets
from deployctl.errors import InputError
from deployctl.render import chat
from deployctl.render.candidate import candidate
from deployctl.render.gateway import GatewayEntry, configuration, entry, entry_of

PAGE = assets.path("deploy", "chat", "index.html").read_text()


def one(service="tiny", **more):
    given = {"exposed": False, "domain": None, "tls": None, "hold_s": 300, "port": 8080, **more}
    return GatewayEntry(service=service, **given)


def routes(*entries):
    """Those of a port: the paths that lead to a page, and the rest."""
    servers = json.loads(configuration(entries, monitor_port=1))["apps"]["http"]["servers"]
    found = servers["port-8080"]["routes"]
    pages = [each for each in found if each["handle"][0].get("body") == PAGE]
    return pages, found


def test_a_service_has_it_below_its_name_where_the_bare_address_leads_for_now():
    """Nothing that a browser keeps of it is another service's, to which that address may go."""
    pages, found = routes(one(root=True, chat=True), one("chat"))
    assert [each["match"] for each in pages] == [[{"path": ["/tiny/chat/"]}]]
    leads = found[2]["handle"][0]
    assert found[2]["match"] == [{"path": ["/chat", "/chat/"]}]
    assert (leads["status_code"], leads["headers"]) == (307, {"Location": ["/tiny/chat/"]})
    assert found[3]["match"] == [{"path": ["/chat/*"]}]  # a service that is called chat
    assert len(routes(one(chat=True), one("chat"))[1]) == len(found) - 2  # no root
    named = one("named", domain="a.example", tls="internal", root=True, chat=True)
    hosts = [match.get("host") for each in routes(named)[1][:3] for match in each["match"]]
    assert hosts == [["a.example"]] * 3


def test_without_the_slash_it_leads_there():
    bare = routes(one(chat=True))[1][1]
    assert bare["match"] == [{"path": ["/tiny/chat"]}]
    assert bare["handle"][0]["headers"] == {"Location": ["chat/"]}


def test_it_is_off_until_it_is_asked_for(by_hand):
    assert routes(one(root=True))[0] == []
    plan, spec = by_hand(gateway=True)
    assert not entry(plan, spec).chat
    assert chat.address(spec, "http://127.0.0.1:8080") is None


def test_its_address_is_the_gateways(by_hand):
    _, spec = by_hand(domain="a.example", tls="internal", with_chat=True)
    assert chat.address(spec, "https://a.example/tiny") == "https://a.example/tiny/chat/"
    assert chat.address(spec, None) is None


def test_where_there_is_no_gateway_it_is_refused(by_hand):
    with pytest.raises(InputError, match="with_chat is said of a gateway"):
        entry(*by_hand(with_chat=True))
    assert entry(*by_hand(with_chat=True, replicas=2)).chat  # there it stands without a word


def test_an_engine_that_generates_no_text_has_none(by_hand):
    plan, spec = by_hand(gateway=True, with_chat=True)
    engine = plan.engine.model_copy(update={"tasks": ("embed",)})
    with pytest.raises(InputError, match="nothing to chat with"):
        entry(plan.model_copy(update={"engine": engine}), spec)


def test_a_candidate_is_tried_without_it(by_hand):
    plan, spec = by_hand(gateway=True, with_chat=True)
    assert entry_of(candidate(spec, plan, "process", port=9000, cards=None).bundle) is None


def test_its_policy_lets_its_own_script_and_style_run_and_nothing_else():
    policy = routes(one(chat=True))[0][0]["handle"][0]["headers"]["Content-Security-Policy"][0]
    told = dict(part.split(" ", 1) for part in policy.split("; "))
    assert told["default-src"] == "'none'"
    assert told["connect-src"] == "'self'"
    for kind in ("script", "style"):
        (content,) = re.findall(f"<{kind}>(.*?)</{kind}>", PAGE, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert told[f"{kind}-src"] == f"'sha256-{digest}'"
        assert len(re.findall(f"<{kind}", PAGE)) == 1


def test_it_asks_no_other_host_and_makes_no_html_of_what_it_is_told():
    assert re.findall(r"https?:|src=|href=|@import|url\(", PAGE) == []
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|localStorage", PAGE)
        == []
    )
    assert re.findall(r"\son\w+=", PAGE.split("<script>")[0]) == []
