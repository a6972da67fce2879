"""TLS with a CA of one's own, headers and more fields: what reaches the server."""

import asyncio
import datetime
import ipaddress
import json
import ssl
import statistics
import subprocess
import sys
import threading
from itertools import pairwise

import pytest

from load_parts import PATIENCE_S, finished, lateness, loadtest, refused, samples_in

SECRET = "a-tenant-that-nobody-may-see"


def certificate(folder):
    """A self-signed certificate of 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


class Gateway:
    """Speaks TLS before the engine, and keeps what passes towards it."""

    def __init__(self, engine, pem, key):
        self.passed = b""
        self._port = int(engine.url.rsplit(":", 1)[1])
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(pem, key)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, ssl=self._context)
        self.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._end.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _client(self, reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def pass_on(source, sink, keep):
            try:
                while data := await source.read(65536):
                    if keep:
                        self.passed += data
                    sink.write(data)
                    await sink.drain()
            except (ConnectionError, ssl.SSLError):
                pass
            finally:
                sink.close()

        await asyncio.gather(
            pass_on(reader, inner_writer, True), pass_on(inner_reader, writer, False)
        )

    def stop(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


@pytest.fixture
def gateway(engine, tmp_path):
    pem, key = certificate(tmp_path)
    gateway = Gateway(engine, pem, key)
    yield gateway
    gateway.stop()


def test_a_ca_of_ones_own_is_trusted_and_headers_and_fields_arrive(engine, gateway, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "tenant").write_text(SECRET + "\n")
    run = loadtest(
        gateway, out, "--model", "steady", "--users", "2", "--requests", "6",
        "--ca-file", tmp_path / "ca.pem", "--header", f"X-Tenant: @{tmp_path / 'tenant'}",
        "--header", "X-Team: a", "--extra-body", '{"top_p": 0.25}',
    )  # fmt: skip
    result = finished(run)
    assert (result["requests"]["ok"], result["requests"]["total"]) == (6, 6)
    assert result["setup"]["extra_headers"] == ["X-Team", "X-Tenant"]
    assert result["setup"]["extra_body"] == {"top_p": 0.25}
    assert gateway.passed.count(f"X-Tenant: {SECRET}".encode()) >= 6
    assert gateway.passed.count(b'"top_p": 0.25') == 6
    for path in out.iterdir():
        assert SECRET not in path.read_text(), path
    # In a stream over TLS each chunk has its own time too.
    sent = engine.sent(out)
    off = [
        abs(gap - (after - before))
        for sample in samples_in(out)
        for gap, (before, after) in zip(
            sample["chunk_gaps_s"], pairwise(sent[sample["response_id"]]["texts"]), strict=True
        )
    ]
    assert statistics.median(off) < 0.003 + lateness(result, sent)


def smoke(*words):
    command = [sys.executable, "-m", "deployctl", "smoke", *map(str, words), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4, done.stderr  # the fake engine has no /health
    return json.loads(done.stdout)["checks"]


def test_smoke_trusts_the_same_ca_and_sends_the_same_headers(gateway, tmp_path):
    (tmp_path / "tenant").write_text(SECRET + "\n")
    words = ("--url", gateway.url, "--header", f"X-Tenant: @{tmp_path / 'tenant'}")
    checks = smoke(*words, "--ca-file", tmp_path / "ca.pem")
    assert [check["name"] for check in checks if check["ok"]] == ["models", "strangers"]
    assert f"X-Tenant: {SECRET}".encode() in gateway.passed
    (refused,) = smoke(*words)  # and asks no more
    assert "certificate" in refused["detail"].lower()


def test_an_unknown_certificate_is_refused(gateway, tmp_path):
    run = loadtest(gateway, tmp_path / "out", "--model", "steady", "--requests", "1")
    assert "certificate" in refused(run, code=4).lower()


def test_what_cannot_be_sent_is_refused(engine, tmp_path):
    (tmp_path / "junk.pem").write_text("junk")
    body = json.dumps({"stream": False})
    for words, said in (
        (["--header", "Authorization: Bearer x"], "--api-key-file"),
        (["--header", "no-colon"], "not a header"),
        (["--extra-body", "[1]"], "not a JSON object"),
        (["--extra-body", body], "stream cannot be set"),
        (["--extra-body", "{"], "not JSON"),
        (["--ca-file", tmp_path / "absent.pem"], "absent.pem"),
        (["--ca-file", tmp_path / "junk.pem"], "no certificate"),
        (["--workload", "absent"], "there is no workload"),
        (["--trace", tmp_path / "absent.csv"], "absent.csv"),
        (["--workers", "many"], "neither auto nor"),
    ):
        assert said in refused(loadtest(engine, tmp_path / "out", "--model", "steady", *words))
