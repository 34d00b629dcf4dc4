"""A real browser for the tests: Chromium without a window, driven through its DevTools protocol on two pipes.

    with opened(page, width=1200, height=800) as tab:
        tab.click("#next")
        tab.press("ArrowRight")
        tab.value("document.title")
        assert tab.complaints == []

Messages are JSON objects, each ended by a zero byte: Chromium reads them from its file 3 and writes to its 4
(https://chromedevtools.github.io/devtools-protocol/, --remote-debugging-pipe). Clicks and keys are events of
the browser, not calls of the page's functions.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120.0
"""Seconds until a browser on a busy machine is given up."""

KEYS = {" ": ("Space", 32), "ArrowLeft": ("ArrowLeft", 37), "ArrowUp": ("ArrowUp", 38)}
KEYS |= {"ArrowRight": ("ArrowRight", 39), "ArrowDown": ("ArrowDown", 40), "Home": ("Home", 36)}
KEYS |= {"End": ("End", 35), "Escape": ("Escape", 27)} | {str(n): (f"Digit{n}", 48 + n) for n in range(10)}

AS_3_AND_4 = """
import os, sys
read, write, *command = sys.argv[1:]
os.dup2(int(read), 3)
os.dup2(int(write), 4)
os.execv(command[0], command)
"""
"""A program that becomes another one, with two of its files as the files 3 and 4."""

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--force-device-scale-factor=1", "--remote-debugging-pipe"),
)


def browser() -> str:
    """The path of a Chromium or Chrome; the test that asks is skipped where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip("no Chromium on this machine: the page is not opened in a browser")


class Pipe:
    """Commands to a browser and its answers."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._held, self._last = write, read, b"", 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer to a command; events that come before it are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def wait(self, event: str) -> None:
        """Until there has been an event of this name."""
        while not any(seen["method"] == event for seen in self.events):
            self._next()

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._held:
            if not select.select([self._read], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"the browser said nothing for {PATIENCE:g} s")
            got = os.read(self._read, 1 << 16)
            if not got:
                raise RuntimeError("the browser ended")
            self._held += got
        line, _, self._held = self._held.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


class Tab:
    """A page in the browser."""

    def __init__(self, pipe: Pipe, session: str) -> None:
        self._pipe, self._session = pipe, session

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol to this tab."""
        return self._pipe.ask(method, self._session, **parameters)

    def open(self, page: Path, width: int, height: int, scheme: str, query: str) -> None:
        """Load a file, as a person who opens it would."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Page.navigate", url=page.as_uri() + query)
        self._pipe.wait("Page.loadEventFired")

    def resize(self, width: int, height: int) -> None:
        """Another size of the window."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def value(self, expression: str) -> Any:
        """What JavaScript makes of an expression."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """The left button in the middle of the first element that the selector finds."""
        at = self.value(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            " one.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        self.click_at(*at)

    def click_at(self, x: float, y: float) -> None:
        """The left button at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """A key, down and up."""
        code, number = KEYS[key]
        named = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        text = {"text": key} if len(key) == 1 else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **named, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def picture(self, path: Path) -> None:
        """What is seen, as a PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    @property
    def complaints(self) -> list[str]:
        """Exceptions, errors and warnings of the console, and every request for another file."""
        found = []
        for event in self._pipe.events:
            said = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                details = said["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and said["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(f"{said['type']}: {said['args']}")
            elif event["method"] == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
                found.append(said["entry"]["text"])
            elif event["method"] == "Network.requestWillBeSent" and said["type"] != "Document":
                found.append(f"asked for {said['request']['url']}")
        return found


@contextlib.contextmanager
def opened(
    page: Path, width: int = 1200, height: int = 800, scheme: str = "light", query: str = ""
) -> Iterator[Tab]:
    """A tab with a file, in a browser of its own that ends with it."""
    path = browser()
    to_browser, from_browser = os.pipe(), os.pipe()
    # Away from 3 and 4, onto which the child puts them.
    child = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (to_browser[0], from_browser[1])]
    for fd in (to_browser[0], from_browser[1]):
        os.close(fd)

    with tempfile.TemporaryDirectory(prefix="browser", ignore_cleanup_errors=True) as profile:
        profile_option = f"--user-data-dir={profile}"
        process = subprocess.Popen(  # noqa: S603
            [
                sys.executable,
                "-c",
                AS_3_AND_4,
                *map(str, child),
                path,
                *OPTIONS,
                profile_option,
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=child,
        )
        for fd in child:
            os.close(fd)
        pipe = Pipe(to_browser[1], from_browser[0])
        try:
            target = pipe.ask("Target.createTarget", url="about:blank")["targetId"]
            session = pipe.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            tab = Tab(pipe, session)
            tab.open(page, width, height, scheme, query)
            yield tab
        finally:
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                pipe.ask("Browser.close")
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(to_browser[1])
            os.close(from_browser[0])
