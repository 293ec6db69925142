"""The server gives away no file, downloads nothing, takes nothing that is too large, and calls nobody."""

import asyncio
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest

httpx = pytest.importorskip('httpx')
gradio = pytest.importorskip('gradio')


@pytest.fixture
def url(demo, monkeypatch, tmp_path):
    """The demo as it is served; files of at most 10 kB are taken."""
    from kdeov_mm.demo.app import running

    monkeypatch.chdir(tmp_path)
    demo.limits.bytes = 10_000
    with running(demo) as url:
        yield url.rstrip('/')


def upload(url, path, name=None):
    """Upload a file; where the server keeps it."""
    with open(path, 'rb') as file:
        files = dict(files=(name or os.path.basename(path), file))
        answer = httpx.post(f'{url}/gradio_api/upload', files=files, timeout=60)
    answer.raise_for_status()
    return answer.json()[0]


def call(url, name, *data):
    """Call an endpoint; the event's name and its data."""
    answer = httpx.post(f'{url}/gradio_api/call/{name}', json=dict(data=data), timeout=60)
    answer.raise_for_status()
    lines = httpx.get(f'{url}/gradio_api/call/{name}/{answer.json()["event_id"]}', timeout=60).text.splitlines()
    events = [line.split(': ', 1)[1] for line in lines if ': ' in line]
    return events[-2], json.loads(events[-1])


def as_file(path):
    return dict(path=str(path), meta=dict(_type='gradio.FileData'))


def test_detect_and_its_errors(url, half_red, tmp_path):
    path = upload(url, half_red)
    event, (picture, teacher, summary, table) = call(url, 'detect', as_file(path), 'blue, red', 0.3)
    assert event == 'complete' and table['data'] == [['red', 0.6, '0, 0, 30, 40', 'red', 1.0]]
    assert httpx.get(picture['url']).headers['content-type'].startswith('image/')
    event, told = call(url, 'detect', as_file(path), ' ', 0.3)
    assert event == 'error' and 'name' in str(told)
    (tmp_path / 'model.pkl').write_bytes(b'\x80\x04\x95')  # a pickle's first bytes
    event, told = call(url, 'detect', as_file(upload(url, tmp_path / 'model.pkl', 'a.png')), 'blue, red', 0.3)
    assert event == 'error'


def test_no_file_is_given_away(url, tmp_path, half_red):
    secret = tmp_path / 'secret.png'  # in the working directory, even
    secret.write_text('not for you')
    outside = [secret, Path(__file__), Path('/etc/passwd'), 'secret.png', '../../../../etc/passwd']
    for path in outside:
        for route in ('file=', 'file/'):
            for text in (str(path), quote(str(path), safe=''), str(path).replace('/', '%2f')):
                for prefix in ('/gradio_api/', '/'):
                    answer = httpx.get(f'{url}{prefix}{route}{text}')
                    assert answer.status_code in (403, 404), (prefix, route, text)
                    assert 'not for you' not in answer.text and 'root:' not in answer.text
    event, told = call(url, 'classify', as_file(half_red), 'red')  # an image, but not an uploaded one
    assert event == 'error'
    assert call(url, 'classify', as_file(upload(url, half_red)), 'red')[0] == 'complete'


def test_nothing_is_downloaded(url, demo, monkeypatch):
    from gradio import processing_utils

    asked = []

    async def download(url, **options):
        asked.append(url)
        raise OSError(url)

    monkeypatch.setattr(processing_utils, 'async_ssrf_protected_download', download)
    for given in (
        as_file('http://127.0.0.1:1/a.png'),
        as_file('https://example.com/a.png'),
        dict(as_file('a.png'), url='https://example.com/a.png'),
    ):
        event, told = call(url, 'classify', given, 'red')
        assert event == 'error'
    assert asked == []


def test_what_is_too_large(url, tmp_path):
    large = tmp_path / 'large.png'
    large.write_bytes(bytes(20_000))
    with open(large, 'rb') as file:
        answer = httpx.post(f'{url}/gradio_api/upload', files=dict(files=('large.png', file)))
    assert answer.status_code == 413
    answer = httpx.post(f'{url}/gradio_api/call/classify', content=bytes(2**20 + 10_001))
    assert answer.status_code == 413


def test_a_body_of_untold_length():
    from kdeov_mm.demo.app import RequestLimit

    received = []

    async def app(scope, receive, send):
        while (message := await receive())['type'] == 'http.request':
            received.append(len(message['body']))
        await send(message)

    async def receive():
        return dict(type='http.request', body=bytes(40), more_body=True)

    async def send(message):
        received.append(message['type'])

    asyncio.run(RequestLimit(app, 100)(dict(type='http', headers=[]), receive, send))
    assert received == [40, 40, 'http.disconnect']


def test_no_analytics(url):
    assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False' or not gradio.analytics.analytics_enabled()
    config = httpx.get(f'{url}/config').json()
    assert config['analytics_enabled'] is False and not config.get('is_space')
    assert httpx.get(f'{url}/monitoring').status_code == 403
