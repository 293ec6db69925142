"""A headless Chromium without a network, and a server of static folders."""

import functools
import http.server
import io
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from PIL import Image

SCREENSHOTS = os.environ.get('KDEOV_SCREENSHOTS')  # folder; docs/images renews those of the docs


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def serve():
    """Serves a folder as any static host does: ``serve(folder)`` gives its URL."""
    servers = []

    def serve(folder):
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f'http://127.0.0.1:{server.server_address[1]}'

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def browser(tmp_path):
    """Selenium's driver of Chromium, with a camera that shows a test picture; other hosts cannot be found."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='no selenium')
    chromium = shutil.which('chromium') or shutil.which('google-chrome')
    driver_file = shutil.which('chromedriver')
    if not chromium or not driver_file:
        pytest.skip('no Chromium with chromedriver here: apt install chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        'headless=new',
        'no-sandbox',
        'disable-gpu',
        'disable-dev-shm-usage',
        'window-size=1280,1000',
        f'user-data-dir={tmp_path / "profile"}',
        'host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
        'use-fake-device-for-media-stream',
        'use-fake-ui-for-media-stream',
        'force-color-profile=srgb',
    ):
        options.add_argument(f'--{argument}')
    options.set_capability('goog:loggingPrefs', dict(browser='ALL', performance='ALL'))
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_file))
    driver.set_script_timeout(120)
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture
def wait_for(browser):
    """Waits until a function of no argument gives something, whatever Selenium says meanwhile."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    def wait_for(condition, what, seconds=120):
        waiting = WebDriverWait(browser, seconds, ignored_exceptions=(WebDriverException,))
        return waiting.until(lambda _: condition(), what)

    return wait_for


@pytest.fixture
def requested(browser):
    """The URLs that the browser has asked for since the last call."""

    def requested():
        messages = (json.loads(entry['message'])['message'] for entry in browser.get_log('performance'))
        return [
            message['params']['request']['url']
            for message in messages
            if message['method'] == 'Network.requestWillBeSent'
        ]

    return requested


@pytest.fixture
def screenshot(browser, tmp_path):
    """Saves what the browser shows: ``screenshot(name)``."""

    def screenshot(name):
        path = Path(SCREENSHOTS or tmp_path) / f'{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert('RGB')
        shown.save(path, quality=85, optimize=True)
        assert path.stat().st_size < 300_000

    return screenshot
