"""Bodies that are forms: a file with its model, read as the engine reads them."""

import httpx
import pytest

from .test_keys import entry

AUDIO = "/v1/audio/transcriptions"
KEY = "the-default-key"

FORM = (
    b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n\x00\r\n--b0--\r\n"
)
MULTIPART = 'multipart/form-data; boundary="b0"'


def test_a_form_goes_through_and_its_model_is_looked_at(ask, write_keys, engine):
    write_keys(entry("one", "key-1", models=["whisper"]))
    headers = [("content-type", MULTIPART)]
    for model, status in ((b"whisper", 200), (b"other", 403)):
        answer = ask("POST", AUDIO, key="key-1", body=FORM % model, headers=headers)
        assert answer.status == status
    assert engine.seen == [("POST", AUDIO, FORM % b"whisper")]
    assert ask("POST", AUDIO, key=KEY, body={"model": "whisper"}).status == 415


def test_a_form_as_a_client_writes_it(ask, write_keys):
    """The client that OpenAI's own library is made on."""
    write_keys(entry("one", "key-1", models=["whisper"]))
    files = {"file": ('a "b";.wav', b"\x00\r\n--", "audio/wav")}
    request = httpx.Request("POST", "http://x", data={"model": "whisper", "n": "1"}, files=files)
    headers = [("content-type", request.headers["content-type"])]
    body = request.read()
    assert ask("POST", AUDIO, key="key-1", body=body, headers=headers).status == 200


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'name="model"', b'name="mod\\el"'),
        (b'name="model"', b"name=model"),
        (b'name="model"', b"name*=utf-8''model"),
        (b'name="model"', b'name="model"; name="x"'),
        (b'name="model"', b'name="model"\r\nContent-Disposition: form-data; name="x"'),
        (b'name="model"', b'name="x"\r\nX: y'),
        (b'name="model"', b'name="model"; filename="x"'),
        (b'name="file"; filename="a.wav"', b'name="model"'),
        (b"--b0\r\nContent", b"--b0\nContent"),
        (b"--b0\r\nContent", b"--b0 \r\nContent"),
        (b"--b0\r\nContent", b"x--b0\r\nContent"),
        (b"\x00", b"\x00\n--b0\nx"),
        (b"--b0--\r\n", b"--b0--\r\nmore"),
        (b"--b0--\r\n", b""),
        (b"\r\n\r\n", b"\n\n"),
    ],
)
def test_a_form_that_two_readers_could_read_differently_is_refused(
    ask, write_keys, engine, old, new
):
    """Where a key is for some models alone; others may send what the engine takes."""
    write_keys(entry("one", "key-1", models=["whisper"]))
    assert old in FORM
    body = FORM.replace(old, new, 1) % b"whisper"
    headers = [("content-type", MULTIPART)]
    answer = ask("POST", AUDIO, key="key-1", body=body, headers=headers)
    assert answer.status in (400, 403)
    assert engine.seen == []
    assert ask("POST", AUDIO, key=KEY, body=body, headers=headers).status == 200


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=b0; boundary=b1",
        "multipart/form-data; boundary*0=b; boundary*1=0",
        "multipart/form-data; charset=utf-7; boundary=b0",
    ],
)
def test_a_form_of_more_than_one_boundary_is_refused(ask, write_keys, kind):
    write_keys(entry("one", "key-1", models=["whisper"]))
    headers = [("content-type", kind)]
    answer = ask("POST", AUDIO, key="key-1", body=FORM % b"whisper", headers=headers)
    assert answer.status == 400
