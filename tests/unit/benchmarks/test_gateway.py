"""What benchmarks.gateway makes of the times that the kernel tells."""

import json

import numpy as np
import pytest
from benchmarks.door.client import chat
from benchmarks.gateway.__main__ import Run, added, seen, table
from benchmarks.gateway.loop import FIRST_NS, MARK, Told, chunk, whole
from benchmarks.gateway.parts import parts
from benchmarks.gateway.peer import configuration as nginx_configuration

from deployctl.render.gateway import GatewayEntry, configuration

MS = 1_000_000


def ran(first_ms, gap_ms=0.0):
    first, gap = np.full(4, first_ms), np.full(252, gap_ms)
    return Run(first, first, gap + 20.0, gap, np.full(256, 0.1), 2.5, 0.01, 0.02, 1)


def told(begun, asked, sent, came):
    one = Told()
    one.begun, one.asked, one.sent, one.came = begun, asked, sent, came
    one.late, one.read = [0] * len(sent), came
    return one


def test_how_late_the_engine_is_is_not_the_gateways():
    due = 2 * MS + FIRST_NS  # the second text is sent 5 ms later than it should be
    sent = [due + 3 * MS, due + 28 * MS]
    found = seen([told(0, 2 * MS, sent, [sent[0] + MS, sent[1] + 4 * MS])], 1.5)
    assert found.first == pytest.approx([6.0])
    assert found.first_alone == pytest.approx([3.0])  # 2 ms of the request, 1 ms of the text
    assert found.gap == pytest.approx([28.0])
    assert found.gap_alone == pytest.approx([3.0])
    assert found.way == pytest.approx([1.0, 4.0])


def test_what_is_added_is_of_each_rounds_own_difference():
    past = [ran(0.1), ran(10.1)]  # the second round was in a bad moment
    *_, more, half = added(past, [ran(0.6), ran(10.6)], "first_alone")
    assert more == pytest.approx([0.5, 0.5])
    assert half[1] < 0.01


@pytest.mark.parametrize(
    ("through", "code", "words"),
    [
        ([ran(0.9, 0.05)] * 2, 0, ("within 1.0", "within 0.1")),
        ([ran(1.9, 0.05)] * 2, 1, ("above 1.0", "within 0.1")),
        ([ran(0.2, 0.05), ran(1.6, 0.05)], 2, ("not told from 1.0", "within 0.1")),
        ([ran(0.9, 0.05)], 2, ("not told from 1.0", "not told from 0.1")),  # one round says nothing
    ],
)
def test_an_interval_is_held_against_its_limit(through, code, words):
    said, found = table(64, {"past": [ran(0.1)] * len(through), "gateway": through})
    assert found == code
    for name, word in zip(("TTFT, less", "gap, less"), words, strict=True):
        lines = iter(said.splitlines())
        next(each for each in lines if f"| {name}" in each)  # p50
        assert next(lines).endswith(f"| {word} |")


def test_nginx_stands_beside_it():
    kinds = {"past": [ran(0.1)] * 2, "gateway": [ran(2.1)] * 2, "nginx": [ran(1.4)] * 2}
    said, code = table(64, kinds)
    assert code == 1
    (line,) = (each for each in said.splitlines() if "| TTFT, less" in each)
    assert "| 2.100 | +2.000 ± 0.000 | +1.300 ± 0.000 | 1.5 |" in line
    assert "above 1.0; nginx above" in said
    assert "within 0.1; nginx within" in said
    assert "2.50 ms, nginx's 2.50 ms" in said


def test_many_streams_have_no_limit():
    said, code = table(512, {"past": [ran(0.1)] * 2, "gateway": [ran(9.0)] * 2})
    assert code == 0
    assert "within" not in said
    assert "The gateway's CPU of a stream: 2.50 ms" in said


def test_a_text_is_counted_once_wherever_it_is_cut():
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + chunk(b"data: a" + MARK) + chunk(b"data: b" + MARK)
    answer += chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    for cut in range(1, len(answer)):
        one = Told()
        assert not one.heard(answer[:cut], 7, 8)
        assert one.heard(answer[cut:], 9, 10)
        assert len(one.came) == 2
        assert one.shared == sum(max(0, p.count(MARK) - 1) for p in (answer[:cut], answer[cut:]))


def test_a_request_is_whole_with_its_body():
    request = chat(64, "?stream=17")
    assert json.loads(request.partition(b"\r\n\r\n")[2])["max_tokens"] == 64
    assert whole(bytearray(request)) == 17
    assert whole(bytearray(request[:-1])) is None
    assert whole(bytearray(request[:40])) is None


def test_nginx_keeps_no_file_outside_its_folder(tmp_path):
    paths = [
        word.rstrip(";")
        for word in nginx_configuration(tmp_path, 8080, 8000).split()
        if "/" in word
    ]
    own = [each for each in paths if not each.startswith("http://127.0.0.1:")]
    assert {"pid", "access.log", "proxy"} <= {
        each.rpartition("/")[2] for each in own if each != "/"
    }
    assert all(each == "/" or each.startswith(f"{tmp_path}/") for each in own)


def test_each_part_is_in_the_configuration():
    entry = GatewayEntry(
        service="demo", port=8080, exposed=False, domain=None, tls=None, hold_s=300, root=True
    )
    rendered = configuration([entry], monitor_port=9000)
    for name, change in parts("127.0.0.1:8000").items():
        document = json.loads(rendered)
        change(document)
        assert (document == json.loads(rendered)) == (name == "as it is"), name
    assert "{file." not in json.dumps(document)  # the last has none of them
