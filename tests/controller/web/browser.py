"""A real browser that looks at the page: headless Chromium."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

SCREENSHOTS = Path(__file__).parent / "screenshots"
PATIENCE = 30.0

UNTIL = """
const done = arguments[arguments.length - 1];
const holds = () => { try { return (%s); } catch { return false; } };
if (holds()) return done(true);
const observer = new MutationObserver(() => { if (holds()) { observer.disconnect(); done(true); } });
observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
"""
"""Resolves as soon as a condition holds, which is looked at whenever the document changes."""


class Browser:
    """One tab."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    async def open(self, url: str, token: str) -> None:
        """Open the page and show it the token."""
        await asyncio.to_thread(self._driver.get, url)
        await self.until("!document.querySelector('#door').hidden")
        await self.enter(token)
        await self.until("document.querySelector('#link').dataset.state === 'live'")

    async def leave(self) -> None:
        """Close the page, which has to have nothing to complain of, before its site goes."""
        assert await self.complaints() == []
        await asyncio.to_thread(self._driver.get, "about:blank")

    async def enter(self, token: str) -> None:
        """Answer the page's question."""
        await self.run(f"document.querySelector('#token').value = {json.dumps(token)}")
        await self.click("#door button")

    async def run(self, script: str) -> Any:
        """Run a script, and return what it returns."""
        return await asyncio.to_thread(self._driver.execute_script, script)

    async def until(self, condition: str) -> None:
        """Return when an expression is true."""
        await asyncio.to_thread(self._driver.execute_async_script, UNTIL % condition)

    async def shows(self, selector: str, text: str) -> None:
        """Return when a text stands in an element."""
        found = f"document.querySelector({json.dumps(selector)})?.textContent.includes({json.dumps(text)})"
        await self.until(found)

    async def click(self, selector: str) -> None:
        """Click on an element, as a person would who has scrolled to it."""
        await self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        await asyncio.to_thread(self._click, selector)

    async def press(self, selector: str, keys: str) -> None:
        """Go to an element, and press keys there."""
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await asyncio.to_thread(ActionChains(self._driver).send_keys(keys).perform)

    async def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Be a screen of this size, in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if width < 600 else 1, "mobile": False}
        await self._command("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._command("Emulation.setEmulatedMedia", {"features": [scheme]})

    async def screenshot(self, name: str) -> Path:
        """Keep a picture for a person to look at."""
        SCREENSHOTS.mkdir(exist_ok=True)
        taken = await self._command("Page.captureScreenshot", {})
        path = SCREENSHOTS / f"{name}.png"
        path.write_bytes(base64.b64decode(taken["data"]))
        print(f"screenshot: {path}")
        return path

    async def overflow(self) -> int:
        """Return by how many pixels the page is wider than the screen."""
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(await self.run(f"return {width}"))

    async def complaints(self) -> list[str]:
        """Return what the console says since the last time, without what is only noted."""
        entries = await asyncio.to_thread(self._driver.get_log, "browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def _click(self, selector: str) -> None:
        while True:
            with suppress(StaleElementReferenceException):  # the page has drawn it anew between the two steps
                return self._driver.find_element("css selector", selector).click()

    async def _command(self, name: str, arguments: dict[str, Any]) -> Any:
        return await asyncio.to_thread(self._driver.execute_cdp_cmd, name, arguments)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Run a browser; it ends with the block."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for switch in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
    ):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_script_timeout(PATIENCE)
    try:
        yield driver
    finally:
        driver.quit()


@asynccontextmanager
async def open_tab(driver: webdriver.Chrome) -> AsyncIterator[Browser]:
    """Open a tab, which knows nothing of those before it; it is closed with the block."""
    first = driver.current_window_handle
    await asyncio.to_thread(driver.switch_to.new_window, "tab")
    tab = Browser(driver)
    await tab.complaints()
    try:
        yield tab
    finally:
        await asyncio.to_thread(driver.close)
        driver.switch_to.window(first)
