"""The documentation as a site: it builds without a warning, is current, and needs no network."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import autotune
from tests_shared import serving_in_a_thread

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


def test_the_pages_that_follow_from_the_code_are_current():
    done = subprocess.run(
        [sys.executable, ".ci/docs_pages.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n`make docs` writes them"


def test_nothing_comes_from_elsewhere(site):
    loads = re.compile(
        r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?([^\s\">]+)|<link[^>]*\shref=\"?([^\s\">]+)"
    )
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    found = {
        (page.name, address)
        for page in pages
        for pair in loads.findall(page.read_text(encoding="utf-8"))
        for address in pair
        if re.match(r"(?:https?:)?//", address)
    }
    assert found == set()


def test_every_public_name_is_in_the_reference(site):
    text = (site / "reference.html").read_text(encoding="utf-8")
    for name in set(autotune.__all__) - {"__version__"}:
        assert re.search(rf'id="?autotune\.[\w.]*\b{name}"?[ >]', text), name


def test_every_key_of_a_study_file_is_on_its_page(site):
    from autotune.study.study_file import KEYS

    text = (site / "study-file.html").read_text(encoding="utf-8")
    for key in (*KEYS, "precision", "stop_when", "memory_limit", "accelerator"):
        assert f"<code>{key}</code>" in text, key


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def browser(tmp_path):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="no chromium, or no chromedriver, on the PATH")
def test_a_browser_shows_pages_without_an_error_or_a_request_elsewhere(site, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    handler = functools.partial(Quiet, directory=site)
    with serving_in_a_thread(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        base = f"http://127.0.0.1:{server.server_port}"
        for page in ("index", "study-file", "reference", "first/function"):
            for width in (390, 1280):
                browser.set_window_size(width, 900)
                browser.get(f"{base}/{page}.html")
                script = "return document.documentElement.scrollWidth - window.innerWidth"
                assert browser.execute_script(script) <= 0, f"{page} is wider than a screen of {width}"
        box = browser.find_element(By.CSS_SELECTOR, "input.md-search__input")
        browser.execute_script("arguments[0].focus()", box)
        box.send_keys("confidence")
        WebDriverWait(browser, 60).until(
            lambda b: b.find_elements(By.CSS_SELECTOR, ".md-search-result__item")
        )
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [entry for entry in severe if "favicon" not in entry["message"]] == []
    asked = {
        address
        for entry in browser.get_log("performance")
        for address in re.findall(
            r'"Network\.requestWillBeSent".*?"url":"(https?://[^"]+)"', entry["message"]
        )
    }
    assert {address for address in asked if not address.startswith(base)} == set()
