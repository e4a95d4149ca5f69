"""Debian's chromium without a window, driven through its own protocol by a pair of pipes: no driver is needed."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium")
LIMIT_S = 90.0

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--hide-scrollbars",
    "--lang=en",
)

_KEYS = {"Enter": ("\r", 13), "Escape": ("", 27), "Space": (" ", 32), "ArrowRight": ("", 39)}
"""Key -> what it types, and its number."""


class Browser:
    """One page in a browser, and what it did that it should not.

    Attributes:
        errors: What went wrong on the page, as its console says it.
        requests: Addresses that it asked for, but for those that hold their data themselves.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out, self._in = os.fdopen(to_browser, "wb", buffering=0), os.fdopen(from_browser, "rb", buffering=0)
        self._rest, self._number, self._session = b"", 0, ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """Call the protocol and wait for the answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = self._in.read(1 << 20)
            assert chunk, "the browser has ended"
            self._rest += chunk
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            self.errors.append(json.dumps(event["args"])[:500])
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not event["request"]["url"].startswith("data:"):
            self.requests.append(event["request"]["url"])

    def open(self, path: Path, width: int = 1000, height: int = 800, scheme: str = "light") -> None:
        """Open a file, in a window of some size, and wait until it is loaded."""
        self.resize(width, height)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.errors.clear()
        self.requests.clear()
        self.ask("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def resize(self, width: int, height: int) -> None:
        """Another size of the window."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of an expression on the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + LIMIT_S
        while not self.run(condition):
            assert time.monotonic() < end, f"{condition} does not come true; {self.errors}"
            time.sleep(0.1)

    def click(self, selector: str) -> None:
        """Click with the mouse into the middle of an element."""
        x, y, width, height = self.box(selector)
        self.click_at(x + width / 2, y + height / 2)

    def box(self, selector: str) -> list[float]:
        """Left, top, width and height of an element in the window, into whose middle it is brought."""
        element = f"document.querySelector({json.dumps(selector)})"
        for _ in range(2):  # what comes into sight is laid out only then, and may move it
            self.run(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
            self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")
        found: list[float] = self.run(f"(r => [r.x, r.y, r.width, r.height])({element}.getBoundingClientRect())")
        return found

    def click_at(self, x: float, y: float) -> None:
        """Click with the mouse at a place of the window."""
        self.point("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.point(kind, x, y)

    def point(self, kind: str, x: float, y: float) -> None:
        """Move, press or release the mouse."""
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def press(self, key: str) -> None:
        """Press a key, with what it types."""
        typed, number = _KEYS[key]
        names = {"key": typed.replace("\r", "Enter") or key, "code": key, "windowsVirtualKeyCode": number}
        self.ask("Input.dispatchKeyEvent", type="keyDown", text=typed, **names)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **names)

    def picture(self, selector: str = "") -> np.ndarray:
        """(h, w, 3) uint8 of the window, or of an element in it."""
        clip = {}
        if selector:
            x, y, width, height = self.box(selector)
            left, top = self.run("[scrollX, scrollY]")
            clip = {"clip": {"x": x + left, "y": y + top, "width": width, "height": height, "scale": 1}}
        data = self.ask("Page.captureScreenshot", format="png", **clip)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@contextmanager
def opened_browser(folder: Path) -> Iterator[Browser]:
    """A browser with its files in a folder; closed at the end."""
    assert CHROMIUM is not None
    read_there, write_here = os.pipe()
    read_here, write_there = os.pipe()
    flags = [*_FLAGS, f"--user-data-dir={folder / 'profile'}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    shell = f'exec "$0" "$@" 3<&{read_there} 4>&{write_there}'  # the protocol wants these two numbers
    process = subprocess.Popen(
        ["/bin/bash", "-c", shell, CHROMIUM, *flags],
        pass_fds=(read_there, write_there),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_there)
    os.close(write_there)
    try:
        yield Browser(write_here, read_here)
    finally:
        process.kill()
        process.wait()
