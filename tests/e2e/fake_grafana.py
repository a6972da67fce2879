"""Stands for Grafana in a test: it says that it is well where it was told to listen, once it has
been given its password and what it provisions from. It is no Grafana.
"""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class FakeGrafana(BaseHTTPRequestHandler):
    """Answers /api/health."""

    def do_GET(self) -> None:
        """Says that it is well."""
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(b'{"database": "ok", "version": "fake"}')


if __name__ == "__main__":
    for file in (
        os.environ["GF_SECURITY_ADMIN_PASSWORD__FILE"],
        "/etc/grafana/provisioning/datasources/deployctl.yaml",
        "/etc/grafana/provisioning/dashboards/deployctl.yaml",
        os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"],
    ):
        assert Path(file).read_bytes(), file
    Path("/var/lib/grafana/grafana.db").write_text("")
    address = os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])
    HTTPServer(address, FakeGrafana).serve_forever()
