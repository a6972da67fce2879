"""A headless Chromium with one page, told what to do over its debugging socket."""

import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
import urllib.request

PATIENCE_S = 60.0
_SAYS = re.compile(r"ws://127\.0\.0\.1:(\d+)/")


def missing():
    """Why there can be none, or None."""
    if shutil.which("chromium") is None:
        return "there is no chromium command; Debian has a package of that name"
    try:
        import websockets.sync.client  # noqa: F401
    except ImportError:
        return "there is no package websockets"
    return None


class Page:
    """Use it as a context manager."""

    def __init__(self, folder, *, width=1000, height=720, dark=False, words=()):
        self._log = folder / "chromium.log"
        more = [*words, *(["--force-dark-mode"] if dark else [])]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                 f"--user-data-dir={folder / 'chromium'}", f"--window-size={width},{height}",
                 "--remote-debugging-port=0", "--remote-allow-origins=*", *more, "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._numbers = itertools.count()
        self._open = contextlib.ExitStack()
        self.said = []  # of the console: what a policy has forbidden, too

    def __enter__(self):
        from websockets.sync.client import connect

        try:
            port = self._until(lambda: _SAYS.search(self._log.read_text()))[1]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                place = next(each for each in json.load(answer) if each["type"] == "page")
            opened = connect(place["webSocketDebuggerUrl"], max_size=None)
            self._socket = self._open.enter_context(opened)
            for domain in ("Page", "Runtime", "Log"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._open.close()
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def go(self, url):
        """To an address; returns once the page is there."""
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def ask(self, script):
        """What an expression is."""
        got = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def until(self, script):
        """Waits until an expression is something, and returns it."""
        return self._until(lambda: self.ask(script))

    def write(self, element, words):
        """Types into an element, as a person does."""
        self.ask(f"document.querySelector({json.dumps(element)}).focus()")
        self._call("Input.insertText", text=words)

    def press(self, element):
        """Clicks on an element."""
        self.ask(f"document.querySelector({json.dumps(element)}).click()")

    def enter(self):
        """Presses the key."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                       windowsVirtualKeyCode=13)  # fmt: skip

    def photograph(self, path):
        """What is seen, as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv(PATIENCE_S))
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]
            if told.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.said.append(json.dumps(told["params"]))

    def _until(self, condition):
        end = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < end, self.said
            time.sleep(0.05)
        return found
