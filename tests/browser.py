"""A real browser for tests: Chromium without a window, driven over W3C WebDriver.

    with Browser() as browser:
        browser.open("http://127.0.0.1:8110/")
        assert browser.run("return document.title") == "..."

What WebDriver has no word for, such as the preferred colours or a browser without scripts, goes over Chromium's own protocol (`cdp`).
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Self
from urllib.request import Request, urlopen

import pytest

PROGRAMS: Final = ("chromium", "chromedriver")
SECONDS: Final = 60

FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
)
"""No window, no way out: nothing but the page under test is asked. A container's root has no sandbox, and little shared memory."""

TAB: Final = "\ue004"
ENTER: Final = "\ue007"


def need_browser() -> None:
    """Skip the test where there is no browser; fail where all packages of tests/debian-packages.txt are said to be there."""
    if any(shutil.which(each) is None for each in PROGRAMS):
        absent = pytest.fail if os.environ.get("TEST_PACKAGES") == "installed" else pytest.skip
        absent("chromium and chromium-driver are missing")


class Browser:
    """One browser with one window."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="mailserver-browser-")

    def __enter__(self) -> Self:
        """Start it, at a port of the driver's choice."""
        self._driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self._driver.stdout is not None
        said = b""
        while not (started := re.search(rb"started successfully on port (\d+)", said)):
            line = self._driver.stdout.readline()
            assert line, said
            said += line
        self._root = f"http://127.0.0.1:{int(started[1])}/session"
        options = {"args": [*FLAGS, f"--user-data-dir={self._profile.name}"], "binary": shutil.which("chromium")}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._root += "/" + self._ask("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._ask("", method="DELETE")
        finally:
            self._driver.terminate()
            self._driver.wait(SECONDS)
            assert self._driver.stdout is not None
            self._driver.stdout.close()
            self._profile.cleanup()

    def open(self, url: str) -> None:
        """Load a page, whole."""
        self._ask("/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Run the body of a function in the page; what it returns."""
        return self._ask("/execute/sync", {"script": script, "args": arguments})

    def press(self, key: str) -> None:
        """Press a key, and let it go."""
        keys = [{"type": each, "value": key} for each in ("keyDown", "keyUp")]
        self._ask("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def cdp(self, command: str, **parameters: object) -> Any:
        """A command of Chromium's own protocol."""
        return self._ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width: int, height: int = 900) -> None:
        """Let the page have so many pixels of CSS."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """Prefer "light" or "dark"."""
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def complaints(self) -> list[str]:
        """What the browser has said on its console since the last time, such as violations of the page's policy."""
        said: list[dict[str, str]] = self._ask("/se/log", {"type": "browser"})
        return [each["message"] for each in said]

    def picture(self, path: Path, scale: float = 1) -> None:
        """Save what is in the window as PNG."""
        width, height = self.run("return [innerWidth, innerHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
        path.write_bytes(base64.b64decode(self.cdp("Page.captureScreenshot", clip=clip)["data"]))

    def _ask(self, path: str, said: object = None, method: str = "") -> Any:
        data = None if said is None else json.dumps(said).encode()
        request = Request(self._root + path, data, {"Content-Type": "application/json"}, method=method or None)
        with urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)["value"]
