"""An admission webhook of a namespace's own, which refuses whatever it is asked about."""

import base64
import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.e2e.docker_parts import until

NAME = "teams.example.com"
SAYS = "every one has a team"
GROUPS = {"pods": "", "deployments": "apps"}
TRIED = {
    "pods": ("run", "tried", "--image=none"),
    "deployments": ("create", "deployment", "tried", "--image=none"),
}
SERVER = f"""
import http.server, json, os, ssl
with open("/tmp/own.pem", "w") as file:
    file.write(os.environ["PEM"])
class Refuses(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        review["response"] = {{"uid": review.pop("request")["uid"], "allowed": False,
                              "status": {{"message": "{SAYS}"}}}}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("", 8443), Refuses)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/tmp/own.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def certificate(host):
    """A self-signed one of a host, and it with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "webhook")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, pem + private.decode()


def serve(namespace, image):
    """Starts it in a pod behind a Service `hook`; returns the certificate to trust."""
    pem, both = certificate(f"hook.{namespace.name}.svc")
    container = {"name": "hook", "image": image, "command": ["python3", "-c", SERVER],
                 "env": [{"name": "PEM", "value": both}],
                 "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1}}  # fmt: skip
    labels = {"app": "hook"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hook", "labels": labels},
           "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}  # fmt: skip
    ports = [{"port": 443, "targetPort": 8443}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
               "spec": {"selector": labels, "ports": ports}}  # fmt: skip
    document = {"apiVersion": "v1", "kind": "List", "items": [pod, service]}
    namespace.kubectl("apply", "--filename=-", data=json.dumps(document))
    namespace.kubectl("wait", "--for=condition=Ready", "pod/hook", "--timeout=120s")
    return pem


@contextmanager
def refusing(namespace, kind, *, service, pem=""):
    """Meanwhile nothing of a kind (`pods`, `deployments`) is made without the word of a Service."""
    rule = {"operations": ["CREATE"], "apiGroups": [GROUPS[kind]], "apiVersions": ["v1"],
            "resources": [kind]}  # fmt: skip
    at = {"service": {"namespace": namespace.name, "name": service}}
    at |= {"caBundle": base64.b64encode(pem.encode()).decode()} if pem else {}
    hook = {
        "name": NAME,
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
        "clientConfig": at,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
        "timeoutSeconds": 5,
    }
    document = json.dumps({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace.name},
        "webhooks": [hook],
    })  # fmt: skip

    def counts():
        return not namespace.kubectl(*TRIED[kind], "--dry-run=server", "-o", "name", check=False)

    namespace.cluster.kubectl("apply", "--filename=-", data=document)
    try:
        until(counts, seconds=30, what="the webhook is asked")
        yield
    finally:
        namespace.cluster.kubectl("delete", "--filename=-", data=document)
