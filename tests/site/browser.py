"""Headless Chromium, driven by Selenium: where it is, and the few things that tests ask of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_LOCAL = ("file:", "data:", "blob:", "about:", "chrome:", "devtools:")
#: seconds that a view may take on a busy machine
_PATIENCE = 20


class Browser:
    """A browser on one page.

    Args:
        driver: of Selenium.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.page = Path()

    def open(self, state: str = "") -> None:
        """Load the page in the state that its address tells."""
        self.driver.get("about:blank")
        self.driver.get(self.page.as_uri() + state)
        self.wait("document.documentElement.dataset.ready === '1'")

    def wait(self, condition: str) -> None:
        """Wait until a condition in JavaScript holds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.02).until(
            lambda driver: driver.execute_script(f"return Boolean({condition})"), condition
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        """All elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        """The text of the first element of a CSS selector, hidden or not."""
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element of a CSS selector whose text contains a text."""
        found = [element for element in self.all(selector) if text in element.text]
        assert found, f"no {selector} with {text!r}"
        self.run("arguments[0].scrollIntoView({block: 'center'})", found[0])
        found[0].click()

    def choose(self, label: str, value: str) -> None:
        """Choose a value of the list with a label."""
        self.click(f'select[data-label="{label}"] option[value="{value}"]')

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def size(self, width: int, height: int) -> None:
        """Set the size of the window in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def colours(self, scheme: str) -> None:
        """What the machine prefers: light or dark."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def errors(self) -> list[str]:
        """What the console has reported since the last question."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def foreign_requests(self) -> list[str]:
        """Addresses beyond this machine that were asked for since the last question."""
        messages = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        addresses = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        assert all(isinstance(address, str) for address in addresses)
        return [address for address in addresses if not address.startswith(_LOCAL)]


def open_browser() -> Browser:
    """Start the browser of the distribution, or skip with the reason why there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver)
    return Browser(webdriver.Chrome(options=options, service=service))
