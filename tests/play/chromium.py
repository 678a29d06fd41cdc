"""A real browser, headless Chromium, with the page open in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PIXELS = "const c = document.getElementById(arguments[0]); return c.toDataURL();"
KEY = "document.body.dispatchEvent(new KeyboardEvent(arguments[0], {code: arguments[1], bubbles: true}));"

needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")


class Page:
    """A browser with the page open in it."""

    def __init__(self, profile: Path, *, width: int = 1280, height: int = 860, phone: bool = False) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2, "touch": True}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))

    def open(self, link: str) -> None:
        self.driver.get(link)
        self.wait(lambda: self.frame >= 0)

    @property
    def frame(self) -> int:
        return int(self.driver.execute_script("return document.body.dataset.frame ?? -1"))

    def text(self, selector: str) -> str:
        return str(self.driver.execute_script("return document.querySelector(arguments[0]).textContent", selector))

    def picture(self, view: str) -> str:
        return str(self.driver.execute_script(PIXELS, view))

    def key(self, code: str, *, down: bool) -> None:
        self.driver.execute_script(KEY, "keydown" if down else "keyup", code)

    def click(self, selector: str) -> None:
        self.driver.execute_script("document.querySelector(arguments[0]).click()", selector)

    def wait(self, condition: Callable[[], object], *, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.03)

    def play(self, frames: int, *codes: str) -> None:
        """Hold down keys for a number of frames, then pause."""
        for code in codes:
            self.key(code, down=True)
        target = self.frame + frames
        self.wait(lambda: self.frame >= target)
        for code in codes:
            self.key(code, down=False)
        self.click("#pause")

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]
