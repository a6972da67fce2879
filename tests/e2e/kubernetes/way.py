"""A way to the cluster's API server that can be cut: a port of this machine, and a kubeconfig that
leads there.
"""

import json
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Way:
    """Open as long as its block."""

    def __init__(self, cluster, folder):
        config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        there = config["clusters"][0]["cluster"]
        server = urlsplit(there["server"])
        self._far = (server.hostname, server.port or 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        there["server"] = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        there["tls-server-name"] = server.hostname
        file = folder / "way.kubeconfig"
        file.write_text(json.dumps(config))
        self.environment = {"KUBECONFIG": str(file)}
        self._open, self._sockets, self._threads = True, [], []

    def __enter__(self):
        self._begin(self._accept)
        return self

    def __exit__(self, *_):
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def cut(self):
        """Ends every connection, and takes no other."""
        self._open = False
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self._open = True

    def _begin(self, function, *words):
        self._threads.append(threading.Thread(target=function, args=words, daemon=True))
        self._threads[-1].start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                near.close()
                continue
            far = socket.create_connection(self._far)
            self._sockets += [near, far]
            self._begin(self._pump, near, far)
            self._begin(self._pump, far, near)

    def _pump(self, one, other):
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
