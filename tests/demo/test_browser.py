"""The demo as visitors use it: the trained student beside its teacher, in Chromium without a network."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kdeov_mm.utils.model_index import find_model

pytestmark = pytest.mark.slow
pytest.importorskip('gradio')
ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'kdeov_yolov8n.py'
SCENE = '000000000659.jpg'  # with a dotted and a solid blue triangle, and a solid red semicircle


@pytest.fixture(scope='module')
def scene(demo_world):
    return demo_world('test') / 'test' / SCENE


@pytest.fixture(scope='module')
def url(scene, tmp_path_factory):
    """The demo of the shipped student, started as docs/demo.md says."""
    weights = find_model('kdeov_yolov8n').weights
    folder = tmp_path_factory.mktemp('demo')
    run = dict(cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT)), text=True)
    export = Path(os.environ.get('KDEOV_EXPORT') or folder / 'export')  # files that are there already
    if not export.is_dir():
        subprocess.run(
            [sys.executable, '-m', 'kdeov_mm', 'export', str(CONFIG), weights, '--out-dir', str(export)],
            **run,
            check=True,
            capture_output=True,
        )
    photos = folder / 'photos'
    photos.mkdir()
    for path in [*sorted(scene.parent.glob('*.jpg'))[:60], scene]:
        shutil.copy(path, photos)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        '-u',
        '-m',
        'kdeov_mm',
        'demo',
        str(export),
        '--images',
        str(photos),
        '--teacher',
        str(CONFIG),
        '--index',
        str(folder / 'index'),
        '--port',
        str(port),
        '--threads',
        '1',
    ]
    server = subprocess.Popen(command, **run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = ''
    for line in server.stdout:
        said += line
        if found := re.search(r'http://\S+', line):
            break
    else:
        raise AssertionError(said)
    yield found.group()
    server.terminate()
    server.wait(timeout=30)


@pytest.fixture
def page(url, browser, wait_for):
    """The opened page."""
    from selenium.webdriver.common.by import By

    browser.get(url)
    wait_for(lambda: browser.find_element(By.CSS_SELECTOR, '#detect-button'), 'no page')

    class Page:
        def open(self, tab):
            button = f'//button[@role="tab" and normalize-space()="{tab}"]'
            wait_for(lambda: browser.find_element(By.XPATH, button).click() or True, f'no tab {tab}')

        def upload(self, where, path):
            field = wait_for(lambda: browser.find_element(By.CSS_SELECTOR, f'#{where} input[type=file]'), where)
            field.send_keys(str(path))
            wait_for(lambda: browser.find_element(By.CSS_SELECTOR, f'#{where} img'), f'{where}: no image')

        def type(self, where, text):
            field = wait_for(lambda: browser.find_element(By.CSS_SELECTOR, f'#{where} textarea, #{where} input'), where)
            field.clear()
            field.send_keys(text)

        def click(self, where):
            browser.find_element(By.CSS_SELECTOR, f'#{where}').click()

        def text(self, where, word):
            """What stands there, once it has this word."""

            def text():
                element = browser.find_element(By.CSS_SELECTOR, where)
                return element.text if word in element.text else None

            return wait_for(text, f'{where}: no {word!r}')

        def images(self, where):
            """How many pictures are shown there, once there is one with pixels."""

            def number():
                images = browser.find_elements(By.CSS_SELECTOR, f'#{where} img')
                return sum(browser.execute_script('return arguments[0].naturalWidth', image) > 0 for image in images)

            return wait_for(number, f'{where}: no picture')

    return Page()


def test_detect(page, scene, screenshot, requested, url):
    page.upload('detect-image', scene)
    page.type('detect-words', 'solid blue triangle, dotted blue triangle, solid red semicircle')
    page.click('detect-button')
    summary = page.text('#detect-summary', 'detected in 128 x 128 pixels')
    assert int(summary.split()[0]) >= 3 and 'teacher, of these boxes' in summary
    table = page.text('#detect-found', 'solid red semicircle')
    assert 'dotted blue triangle' in table and 'solid blue triangle' in table
    assert page.images('detect-picture') == page.images('detect-teacher') == 1
    screenshot('demo_detect')
    page.type('detect-words', ' ')
    page.click('detect-button')
    page.text('body', 'Give at least one class name.')
    others = [entry for entry in requested() if re.match('https?:', entry) and not entry.startswith(url)]
    assert others == []


def test_search(page, screenshot):
    page.open('Search')
    page.type('search-words', 'a solid red semicircle')
    page.click('search-button')
    assert page.text('#search-summary', 'of 61 images').startswith('12 of')
    assert page.images('search-found') >= 1
    assert SCENE in page.text('#search-found', SCENE)
    screenshot('demo_search')


def test_classify(page, scene, screenshot):
    page.open('Classify')
    page.upload('classify-image', scene)
    page.type('classify-words', 'blue triangle, green star, yellow circle')
    page.click('classify-button')
    assert 'teacher' in page.text('#classify-summary', 'Student')
    for who in ('student', 'teacher'):
        shown = page.text(f'#classify-{who}', 'blue triangle').split('\n')
        names = [line for line in shown if line in ('blue triangle', 'green star', 'yellow circle')]
        assert names[0] == 'blue triangle' and ('none of these' in shown) == (who == 'student')
    screenshot('demo_classify')
