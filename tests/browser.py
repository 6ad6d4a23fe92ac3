"""A headless browser for tests, driven over the DevTools protocol through a pipe: no port, no driver, no package.

It records every request, every message on the console and every breach of the page's policy.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions",
    "--disable-dev-shm-usage", "--no-default-browser-check", "--mute-audio", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip
# the browser reads commands from descriptor 3 and answers on 4
LAUNCH = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 20) for n in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.closerange(5, 64)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEYS = {
    "Enter": 13, "Escape": 27, "Backspace": 8, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
    "ArrowDown": 40, " ": 32,
}  # fmt: skip


def find_browser() -> str | None:
    """``TENSORGRAPH_BROWSER`` where it names a program, else the first of those that are known."""
    chosen = os.environ.get("TENSORGRAPH_BROWSER", "")
    if chosen not in ("", "required"):
        return shutil.which(chosen)
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


def required() -> bool:
    """Whether a missing browser is a failure."""
    return os.environ.get("TENSORGRAPH_BROWSER", "") != ""


class Browser:
    """A browser with one tab."""

    def __init__(self, program: str, folder: Path) -> None:
        command_read, command_write = os.pipe()
        answer_read, answer_write = os.pipe()
        self.log = open(folder / "browser.log", "wb")  # noqa: SIM115 - open as long as the browser
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(command_read), str(answer_write), program, *FLAGS,
             f"--user-data-dir={folder / 'profile'}", "about:blank"],
            pass_fds=(command_read, answer_write), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip
        os.close(command_read)
        os.close(answer_write)
        self.write, self.read = command_write, answer_read
        self.pending = b""
        self.events: list[dict[str, Any]] = []
        self.count = 0
        self.session = ""
        target = self.send("Target.createTarget", url="about:blank", timeout=120.0)["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.send(f"{domain}.enable")
        self.send("Page.setLifecycleEventsEnabled", enabled=True)

    def close(self) -> None:
        try:
            self.send("Browser.close", timeout=5.0)
            self.process.wait(10)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.write)
        os.close(self.read)
        self.log.close()

    # ---- the protocol

    def send(self, method: str, timeout: float = 60.0, **params: Any) -> dict[str, Any]:
        """Call, and wait for the answer; events on the way are kept."""
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data) :]
        until = time.monotonic() + timeout
        while True:
            answer = self.receive(until - time.monotonic())
            assert answer is not None, f"the browser did not answer {method} within {timeout:g} s"
            if answer.get("id") == self.count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def receive(self, timeout: float) -> dict[str, Any] | None:
        until = time.monotonic() + timeout
        while b"\0" not in self.pending:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.read], [], [], left)[0]:
                return None
            data = os.read(self.read, 1 << 20)
            assert data, "the browser has gone"
            self.pending += data
        message, _, self.pending = self.pending.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def listen(self, event: str, timeout: float = 60.0, **params: Any) -> dict[str, Any]:
        """Wait for an event that says this, and drop it."""
        until = time.monotonic() + timeout
        while True:
            for i, found in enumerate(self.events):
                if found.get("method") == event and params.items() <= found["params"].items():
                    return dict(self.events.pop(i)["params"])
            answer = self.receive(until - time.monotonic())
            assert answer is not None, f"no {event} within {timeout:g} s"
            self.events.append(answer)

    # ---- a page

    def window(self, width: int, height: int, dark: bool = False) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file anew; what was recorded of the page before is forgotten."""
        self.go("about:blank")
        self.events.clear()
        self.go(path.as_uri() + fragment)

    def go(self, url: str) -> None:
        """Navigate, and wait until this very page is loaded: one before may have led on to another in the meantime."""
        loader = self.send("Page.navigate", url=url)["loaderId"]
        self.listen("Page.lifecycleEvent", name="load", loaderId=loader)

    def reload(self) -> None:
        """Load the page again; it is this page that is awaited, since an event of loading may be of one before."""
        self.run("window.leaving = true")
        self.send("Page.reload")
        self.until("!window.leaving && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression on the page, promises awaited."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str, timeout: float = 60.0) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + timeout
        while not self.holds(script):
            assert time.monotonic() < end, f"not within {timeout:g} s: {script}"
            time.sleep(0.02)

    def holds(self, script: str) -> Any:
        """Like run; False where the page was on its way to another address."""
        try:
            return self.run(script)
        except AssertionError as error:
            if "navigated" not in str(error):
                raise
            return False

    def key(self, key: str, shift: bool = False) -> None:
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        code = KEYS.get(key, ord(key.upper()) if len(key) == 1 and key.isalnum() else 0)
        more = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **more)
        self.send("Input.dispatchKeyEvent", type="keyUp", **more)

    def write_text(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        self.mouse("mouseReleased", x, y, button="left", clickCount=1)

    def picture(self) -> bytes:
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    # ---- what happened

    def settle(self) -> None:
        """Give everything that is under way the time to be told."""
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def requests(self) -> list[str]:
        """Addresses asked for since the page was opened; what is in the page itself (data:) asks nobody."""
        asked = ("Network.requestWillBeSent", "Network.webSocketCreated")
        sent = [event["params"] for event in self.events if event.get("method") in asked]
        return [url for params in sent if not (url := params.get("request", params)["url"]).startswith("data:")]

    def complaints(self) -> list[str]:
        """Errors, warnings, uncaught exceptions and breaches of the page's policy since it was opened."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str(params["args"]))
            elif (method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning")) or (
                method == "Audits.issueAdded" and "ContentSecurityPolicy" in params["issue"]["code"]
            ):
                found.append(str(params))
        return found
