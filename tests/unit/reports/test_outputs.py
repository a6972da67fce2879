"""What a step hands to the next one."""

import json

from deployctl.errors import SloMissedError
from deployctl.reports.outputs import outputs


def read(text):
    assert text.endswith("\n")
    return dict(line.split("=", 1) for line in text.splitlines())


def test_of_a_deployed_service():
    answer = {"services": [{"service": "chat"}, {"url": "http://h:8000", "revision": 4}]}
    found = read(outputs(0, answer, None))
    assert json.loads(found.pop("json")) == answer
    assert found == {
        "verdict": "good",
        "summary": "good",
        "url": "http://h:8000",
        "revision": "4",
    }


def test_of_a_failure():
    found = read(outputs(5, None, SloMissedError("ttft_p95 is 3 s\nurl=http://evil")))
    assert found == {
        "verdict": "slo-missed",
        "summary": "ttft_p95 is 3 s url=http://evil",
        "url": "",
        "revision": "",
        "json": "",
    }


def test_what_is_foreign_adds_no_output_of_its_own():
    found = read(outputs(0, {"url": "x\nverdict=bad", "a": "b\r\n\u2028verdict=bad"}, None))
    assert found["verdict"] == "good"
    assert found["url"] == "x verdict=bad"


def test_an_answer_that_is_too_long_is_left_to_the_file():
    assert read(outputs(0, {"a": "b" * 600_000}, None))["json"] == ""


def test_the_verdict_of_an_interruption():
    assert read(outputs(130, None, None))["verdict"] == "interrupted"
