"""The mock server's schedules: what is due when, and that the bytes are what they should be."""

import itertools
import json

import pytest
from benchmarks.fidelity import scenarios
from benchmarks.fidelity.scenarios import NAMES, is_special, phase, plan

ITL, CHUNKS = 0.02, 6


def body(shape, stream=7):
    """What a client receives of a stream, without HTTP's framing."""
    raw = b"".join(write.render(stream, 12.5) for write in shape.writes)
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    out = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            assert rest == b"\r\n"
            return out, True
        out, rest = out + rest[: int(size, 16)], rest[int(size, 16) :]
        assert rest.startswith(b"\r\n")
        rest = rest[2:]
    return out, False


def events(shape):
    data, ended = body(shape)
    said = [part.removeprefix(b"data: ") for part in data.split(b"\n\n") if part]
    return [part if part == b"[DONE]" else json.loads(part) for part in said], ended


def texts(parsed):
    return [
        event["choices"][0]["delta"]["content"]
        for event in parsed
        if isinstance(event, dict) and event.get("choices")
    ]


@pytest.mark.parametrize("scenario", NAMES)
def test_a_good_stream_is_whole_and_says_who_it_is_and_when(scenario):
    shape = plan(scenario, False, ITL, CHUNKS)
    parsed, ended = events(shape)
    assert ended
    assert parsed[-1] == b"[DONE]"
    assert parsed[-2]["usage"]["completion_tokens"] == shape.tokens
    said = [text for text in texts(parsed) if text]
    assert len(said) == CHUNKS
    for number, text in enumerate(said):
        assert f"000007.{number:04d}.0000012.500000" in text
    assert sorted(n for write in shape.writes for n in write.completes) == list(range(CHUNKS))
    assert shape.fault is None


def test_text_events_are_one_gap_apart():
    shape = plan("one_token", False, ITL, CHUNKS)
    due = [write.after_s for write in shape.writes if write.completes]
    assert due == pytest.approx([scenarios.TTFT_S + ITL * k for k in range(CHUNKS)])


def test_four_tokens_a_chunk_are_counted_by_the_usage():
    assert plan("four_tokens", False, ITL, CHUNKS).tokens == 4 * CHUNKS


def test_the_role_chunk_is_early_and_without_text():
    shape = plan("role_first", False, ITL, CHUNKS)
    role = next(write for write in shape.writes if write.role)
    assert role.after_s == pytest.approx(scenarios.TTFT_S - scenarios.ROLE_EARLY_S)
    assert texts(events(shape)[0])[0] == ""


def test_the_usage_is_late_and_alone():
    shape = plan("usage_last", False, ITL, CHUNKS)
    last = max(write.after_s for write in shape.writes if write.completes)
    assert [round(write.after_s - last, 3) for write in shape.writes[-2:]] == [0.1, 0.12]


def test_splits_are_within_a_character():
    first, second = plan("split", False, ITL, 1).writes[1:3]
    with pytest.raises(UnicodeDecodeError):
        first.render(1, 1.0).decode()
    assert second.completes == (0,)
    assert second.after_s - first.after_s == pytest.approx(scenarios.SPLIT_S)


def test_two_events_share_a_write():
    writes = [w for w in plan("coalesced", False, ITL, 5).writes if w.completes]
    assert [write.completes for write in writes] == [(0, 1), (2, 3), (4,)]


def test_a_stall_comes_once_and_moves_the_rest():
    due = [w.after_s for w in plan("stall", True, ITL, CHUNKS).writes if w.completes]
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert sorted(round(gap, 3) for gap in gaps) == [ITL] * (CHUNKS - 2) + [0.52]


def test_what_goes_wrong_goes_wrong():
    cut = plan("truncated", True, ITL, CHUNKS)
    assert (cut.ending, cut.fault) == ("cut", "truncated")
    parsed, ended = events(cut)
    assert len(texts(parsed)) == CHUNKS // 2
    assert not ended
    failed, ended = events(plan("stream_error", True, ITL, CHUNKS))
    assert failed[-2]["error"]["code"] == 500
    assert ended
    refusal = plan("http_503", True, ITL, CHUNKS).writes[0].render(1, 1.0)
    assert refusal.startswith(b"HTTP/1.1 503")


def test_one_in_ten_goes_wrong_and_never_the_first():
    assert [n for n in range(30) if is_special("truncated", n)] == [2, 12, 22]
    assert [n for n in range(300) if is_special("stall", n)] == [2, 102, 202]
    assert not any(is_special("one_token", n) for n in range(300))


def test_streams_are_spread_over_a_gap():
    phases = sorted(phase(n) for n in range(100))
    assert all(0 <= p < 1 for p in phases)
    assert max(b - a for a, b in itertools.pairwise(phases)) < 0.03
