"""The server answers to its own page only, keeps little of what it is given, and nothing when it ends."""

import asyncio
import io
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

httpx = pytest.importorskip('httpx')
pytest.importorskip('gradio')
ROOT = Path(__file__).resolve().parents[2]
HOSTILE_NAME = '<img src=x onerror=alert(1)>\x1b[31m\u202e*.jpg'


class Folder:
    """A private folder of one image, with a hostile name and a thumbnail that would start Ghostscript."""

    def search(self, vector, number):
        eps = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n'
        return [dict(path=f'/private/{HOSTILE_NAME}', score=0.5, thumbnail=eps)]

    def __len__(self):
        return 1


class Served:
    """A demo that runs, and requests to it as visitors and foreign pages send them."""

    def __init__(self, demo, url):
        self.demo, self.url, self.folder = demo, url.rstrip('/'), Path(os.environ['GRADIO_TEMP_DIR'])
        self.port, self.client = int(self.url.rsplit(':', 1)[1]), httpx.Client(verify=False, timeout=60)

    def request(self, method, path, headers=None, **options):
        return self.client.request(method, self.url + path, headers=headers, **options)

    def upload(self, count=1, content=b'x', headers=None):
        files = [('files', (f'{k}.png', content)) for k in range(count)]
        return self.request('POST', '/gradio_api/upload', headers, files=files)

    def call(self, name, *data):
        """Call an endpoint; the event's name and its data."""
        event = self.request('POST', f'/gradio_api/call/{name}', json=dict(data=data)).json()['event_id']
        lines = self.request('GET', f'/gradio_api/call/{name}/{event}').text.splitlines()
        events = [line.split(': ', 1)[1] for line in lines if ': ' in line]
        return events[-2], json.loads(events[-1])

    def send(self, *pieces, pause=0.0):
        """Send pieces of bytes, with pauses between them; what comes until the server closes the connection."""
        received = b''
        with socket.create_connection(('127.0.0.1', self.port), timeout=20) as connection:
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)
                while more := connection.recv(4096):
                    received += more
            except (BrokenPipeError, ConnectionResetError):
                pass
        return received

    def files(self):
        return [path for path in self.folder.rglob('*') if path.is_file()]


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    from demo_data import Colours

    from kdeov_mm.apis import KDEOVInferencer

    from kdeov_mm.demo import Demo
    from kdeov_mm.demo.app import running

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp('work'))
        demo = Demo(KDEOVInferencer(Colours()), Folder(), teacher=Colours())
        with running(demo) as url:
            yield Served(demo, url)


@pytest.mark.parametrize(
    'host',
    [
        'evil.example',
        'evil.example:{port}',
        'localhost',
        'localhost:1',
        'localhost.evil.example:{port}',
        '127.0.0.1@evil.example:{port}',
        '192.0.2.1:{port}',
        '',
    ],
)
def test_dns_rebinding(served, host):
    headers = {'Host': host.format(port=served.port), 'X-Forwarded-Host': f'127.0.0.1:{served.port}'}
    search = dict(data=['red', None, 12])
    for method, path, body in (('GET', '/config', None), ('POST', '/gradio_api/call/search', search)):
        answer = served.request(method, path, headers, json=body)
        assert answer.status_code == 421 and answer.headers['content-type'].startswith('text/plain')
        assert '<' not in answer.text and 'event_id' not in answer.text


def test_own_names(served):
    for name in ('localhost', '127.0.0.1', '[::1]', 'LOCALHOST'):
        host = f'{name}:{served.port}'
        for headers in ({'Host': host}, {'Host': host, 'Origin': f'http://{host.lower()}'}):
            assert served.request('GET', '/config', headers).status_code == 200, headers
    assert served.send(b'GET /config HTTP/1.0\r\n\r\n').startswith(b'HTTP/1.1 421')
    twice = f'GET /config HTTP/1.1\r\nHost: localhost:{served.port}\r\nHost: evil.example\r\nConnection: close\r\n\r\n'
    assert served.send(twice.encode())[:12] in (b'HTTP/1.1 400', b'HTTP/1.1 421')


@pytest.mark.parametrize(
    'origin', ['http://evil.example', 'null', 'http://localhost:{port}', 'http://127.0.0.1:1', '[']
)
def test_foreign_origins(served, origin):
    headers = {'Origin': origin.format(port=served.port), 'Access-Control-Request-Method': 'POST'}
    before = served.files()
    for method, path in (('GET', '/config'), ('OPTIONS', '/gradio_api/upload'), ('POST', '/gradio_api/call/search')):
        answer = served.request(method, path, headers)
        assert answer.status_code == 403 and not [name for name in answer.headers if name.startswith('access-control')]
    assert served.upload(headers=headers).status_code == 403 and served.files() == before


def test_fetch_metadata(served):
    """Browsers send no Origin with the images and scripts of a page, but say whose they are."""
    for site, status in (('cross-site', 403), ('same-site', 403), ('same-origin', 200), ('none', 200)):
        assert served.request('GET', '/config', {'Sec-Fetch-Site': site}).status_code == status
    link = {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document'}
    assert served.request('GET', '/', link).status_code == 200
    assert served.request('GET', '/config', link).status_code == 403
    assert served.request('GET', '/', dict(link, **{'Sec-Fetch-Dest': 'iframe'})).status_code == 403


def test_behind_a_proxy():
    from kdeov_mm.demo.guard import OwnNames

    def refusal(names, host, address='127.0.0.1', origin=None):
        headers = [(b'host', host.encode())] + ([(b'origin', origin.encode())] if origin else [])
        scope = dict(type='http', method='POST', path='/', headers=headers, server=(address, 7860))
        return (names.refusal(scope) or [None])[0]

    proxied = OwnNames('127.0.0.1', ['Demo.example'])
    assert refusal(proxied, 'demo.example', origin='https://demo.example') is None
    assert refusal(proxied, 'demo.example:8443', origin='https://demo.example:8443') is None
    assert refusal(proxied, 'demo.example', origin='https://demo.example:8443') == 403
    assert refusal(proxied, 'demo.example', origin='https://other.example') == 403
    assert refusal(proxied, 'other.example') == 421
    everywhere = OwnNames('0.0.0.0')
    assert refusal(everywhere, '192.0.2.7:7860', '192.0.2.7') is None
    assert refusal(everywhere, '192.0.2.7:7860', '::ffff:192.0.2.7') is None
    assert refusal(everywhere, '[fe80::1]:7860', 'fe80::1%eth0') is None
    assert refusal(everywhere, 'localhost:7860', '127.0.0.1') is None
    for host in ('localhost:7860', '192.0.2.8:7860', '0.0.0.0:7860', 'evil.example:7860'):
        assert refusal(everywhere, host, '192.0.2.7') == 421, host
    assert refusal(OwnNames('lab.example'), 'lab.example:7860', '192.0.2.7') is None


def test_web_sockets_are_refused(demo):
    from kdeov_mm.demo.guard import Functions, Guard, OwnNames, UploadFolder

    sent = []

    async def send(message):
        sent.append(message)

    guard = Guard(None, OwnNames('127.0.0.1'), UploadFolder('/nowhere', demo.limits), Functions([], {}))
    asyncio.run(guard(dict(type='websocket', path='/', headers=[]), None, send))
    assert [message['type'] for message in sent] == ['websocket.close']


def test_paths_of_gradio_that_the_page_does_not_need(served):
    others = ['proxy=https://x.hf.space/', 'file=https://example.com/', 'run-history/buckets', 'queue/status']
    paths = [f'/gradio_api/{path}' for path in others] + ['/docs', '/openapi.json', '/monitoring', '//config']
    paths += [f'/gradio_api/file={served.folder}/../../etc/passwd', f'/gradio_api/file={served.folder}x/a.png']
    for path in paths:
        assert served.request('GET', path).status_code == 403, path
    for path in ('process_recording', 'component_server', 'vibe-edit', 'run/search', 'run-history/connect'):
        assert served.request('POST', f'/gradio_api/{path}', json={}).status_code == 403, path
    assert served.request('GET', f'/gradio_api/upload_progress?upload_id={"x" * 2000}').status_code == 414


def test_files_of_this_machine_are_no_input(served):
    Image.new('RGB', (8, 6)).save('secret.png')  # in the working directory
    before = len(served.files())
    for path in (os.path.abspath('secret.png'), 'secret.png', '/etc/passwd', f'{served.folder}/../passwd'):
        given = dict(path=path, meta=dict(_type='gradio.FileData'))
        for name, data in (('classify', [given, 'red']), ('search', [given, None, 12])):  # also where text is expected
            event, error = served.call(name, *data)
            assert event == 'error' and os.getcwd() not in str(error)
    assert len(served.files()) == before


def test_streams_of_unknown_sessions(served):
    """They end as Gradio ends them, but log nothing and leave nothing behind."""
    from gradio.routes import file_upload_statuses

    logged = []
    handler = logging.Handler()
    handler.emit = logged.append
    logging.getLogger('uvicorn.error').addHandler(handler)
    try:
        for query in ('', '?session_hash=unknown', '?session_hash=a&session_hash=b'):
            answer = served.request('GET', f'/gradio_api/queue/data{query}')
            assert answer.status_code == 200 and json.loads(answer.text.removeprefix('data: '))['session_not_found']
        answer = served.request('GET', '/gradio_api/call/search/unknown')
        assert answer.status_code == 200 and answer.text.startswith('event: error')
        for number in range(20):
            answer = served.request('GET', f'/gradio_api/upload_progress?upload_id={number}')
            assert json.loads(answer.text.removeprefix('data: ')) == dict(msg='done')
            files = [('files', ('a.png', b'x'))]
            assert served.request('POST', f'/gradio_api/upload?upload_id={number}', files=files).status_code == 200
    finally:
        logging.getLogger('uvicorn.error').removeHandler(handler)
    assert logged == [] and not file_upload_statuses._statuses and not file_upload_statuses._signals


JOIN = dict(data=['red', None, 12], session_hash='page')


@pytest.mark.parametrize(
    'path, body, status',
    [
        ('queue/join', dict(JOIN, fn_index=999), 404),
        ('queue/join', dict(JOIN, fn_index=-1), 404),
        ('queue/join', dict(JOIN, fn_index='999'), 404),
        ('queue/join', dict(JOIN, fn_index=999.0), 404),
        ('queue/join', dict(JOIN, fn_index=2**70), 404),
        ('queue/join', dict(JOIN, fn_index=[0]), 404),
        ('queue/join', dict(JOIN, fn_index=0, session_hash=''), 400),
        ('queue/join', JOIN, 400),
        ('queue/join', {}, 422),
        ('queue/join', None, 422),
        ('queue/join/', dict(JOIN, fn_index=999), 404),
        ('call/nope', dict(data=[]), 404),
        ('call/nope/', dict(data=[]), 404),
        ('call/v2', dict(data=[]), 404),
        ('call/v2/nope', {}, 404),
        ('call/v2/', {}, 404),
        ('call/detect', {}, 422),
        ('call/v2/detect', {}, 422),
        ('call/v2/detect', dict(data=[None, 'red', 0.3]), 422),
        ('call/v2/detect', dict(path=None, words='red', threshold=0.3, other=1), 422),
        ('call/v2/detect', [], 422),
    ],
)
def test_calls_of_unknown_functions(served, caplog, path, body, status):
    answer = served.request('POST', f'/gradio_api/{path}', json=body)
    assert answer.status_code == status
    assert not [record for record in caplog.records if record.exc_info]


def test_calls_of_the_three_functions(served):
    for number in range(3):
        assert served.request('POST', '/gradio_api/queue/join', json=dict(JOIN, fn_index=number)).status_code == 200
    for path, body in (
        ('call/search', dict(data=['red', None, 12])),
        ('call/v2/search', dict(words='red', path=None)),  # "top" has a default
        ('call/v2/detect/', dict(path=None, words='red', threshold=0.3)),
    ):
        assert 'event_id' in served.request('POST', f'/gradio_api/{path}', json=body).json()


def test_a_call_in_several_pieces(served):
    body = json.dumps(dict(JOIN, fn_index=999)).encode()
    head = f'POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n'
    head += f'Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n'
    assert served.send(head.encode(), body[:20], body[20:], pause=0.2).startswith(b'HTTP/1.1 404')


def test_hostile_names_of_the_folder(served):
    event, result = served.call('search', 'red', None, 12, 0)
    assert event == 'complete', result
    gallery, summary = result
    assert summary.startswith('1 of 1 images')
    assert gallery[0]['caption'] == '0.500 <img src=x onerror=alert(1)>\\x1b[31m\\u202e*.jpg'  # shown as text
    event, error = served.call('search', '<img src=x onerror=alert(1)>' * 20, None, 12, 0)
    assert event == 'error' and '<' not in error['error'] and '&lt;img' in error['error']  # shown as HTML


def test_files_of_one_upload(served):
    assert served.upload(4).status_code == 200
    before = len(served.files())
    for count in (5, 900):
        assert served.upload(count).status_code == 413
    assert len(served.files()) <= before + 2 * 4  # what came before each refusal; the folder's limits delete it


@pytest.mark.parametrize('size', [1, 7, 1000])
def test_parts_are_counted_over_pieces(size):
    from kdeov_mm.demo.guard import PartCount

    body = b'--a-bc\r\n\r\nx--a\r\n' * 5 + b'--a-bc--\r\n'
    for kind in (b'multipart/form-data; boundary=a-bc', b'multipart/form-data; boundary="a-bc"'):
        count = PartCount(dict(headers=[(b'content-type', kind)]))
        assert [count.add(body[k : k + size]) for k in range(0, len(body), size)][-1] == 5
    assert PartCount(dict(headers=[(b'content-type', b'application/json')])).add(body) == 0


def test_the_folder_stays_small(tmp_path):
    from kdeov_mm.demo import Limits
    from kdeov_mm.demo.guard import UploadFolder

    limits = Limits(bytes=100, uploads=10, parts=1, folder_files=60)
    folder = UploadFolder(str(tmp_path), limits)
    for k in range(70):
        (tmp_path / f'{k:02}').mkdir()
        (tmp_path / f'{k:02}' / 'a.png').write_bytes(bytes(100))
        time.sleep(0.005)  # the file system's clock
    folder.trim()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f'{k:02}' for k in range(30, 70)]  # 50 * 100 bytes, less what 10 uploads may bring
    limits.folder_files = 15
    (tmp_path / 'unfinished').write_bytes(b'x')
    folder.trim()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['66', '67', '68', '69', 'unfinished']
    limits.seconds = -1
    folder.trim()
    assert list(tmp_path.iterdir()) == [] and tmp_path.is_dir()


def test_total_quota(served, monkeypatch):
    monkeypatch.setattr(served.demo.limits, 'bytes', 20_000)
    for _ in range(60):
        newest = served.upload(content=os.urandom(19_000))
    assert sum(path.stat().st_size for path in served.files()) <= served.demo.limits.folder_bytes == 1_000_000
    assert Path(newest.json()[0]).is_file()


def test_a_deleted_upload(served, half_red):
    path = served.upload(content=Path(half_red).read_bytes()).json()[0]
    given = dict(path=path, meta=dict(_type='gradio.FileData'))
    assert served.call('classify', given, 'red')[0] == 'complete'
    os.unlink(path)
    assert served.call('classify', given, 'red')[0] == 'error'


def test_too_many_uploads_at_once(served):
    head = f'POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: 1000\r\n'
    head += 'Content-Type: multipart/form-data; boundary=B\r\n\r\n'
    waiting = []
    for _ in range(served.demo.limits.uploads):
        waiting.append(socket.create_connection(('127.0.0.1', served.port)))
        waiting[-1].sendall(head.encode())
    time.sleep(0.5)
    assert served.upload().status_code == 503
    for connection in waiting:
        connection.close()
    time.sleep(0.5)
    assert served.upload().status_code == 200


@pytest.mark.parametrize(
    'head',
    [
        'GET / HTTP/1.1\r\nX: ',
        'POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100000\r\n'
        'Content-Type: multipart/form-data; boundary=B\r\n\r\n--B\r\n',
        'POST /gradio_api/upload HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 100000\r\n\r\n',  # goes on, refused
    ],
)
def test_a_request_that_does_not_end(served, head, monkeypatch):
    from kdeov_mm.demo.guard import TimedProtocol

    monkeypatch.setattr(TimedProtocol, 'seconds', 2)
    begin = time.monotonic()
    served.send(head.format(port=served.port).encode(), *[b'x'] * 60, pause=0.25)
    assert time.monotonic() - begin < 14
    assert served.request('GET', '/config').status_code == 200


def test_too_many_connections(served, monkeypatch):
    from kdeov_mm.demo.guard import TimedProtocol

    monkeypatch.setattr(TimedProtocol, 'max_connections', 20)
    connections = [socket.create_connection(('127.0.0.1', served.port)) for _ in range(60)]
    time.sleep(1)
    still_open = 0
    for connection in connections:
        connection.settimeout(0.01)
        try:
            still_open += connection.recv(1) != b''
        except TimeoutError:
            still_open += 1
        except ConnectionResetError:
            pass
        connection.close()
    assert still_open <= 20


def test_the_folder_is_deleted(demo, monkeypatch, tmp_path):
    from kdeov_mm.demo.app import running

    for before in (None, str(tmp_path)):
        monkeypatch.delenv('GRADIO_TEMP_DIR', raising=False)
        if before:
            monkeypatch.setenv('GRADIO_TEMP_DIR', before)
        with pytest.raises(KeyError):
            with running(demo) as url:
                served = Served(demo, url)
                assert served.upload().status_code == 200 and served.files()
                assert stat.S_IMODE(served.folder.stat().st_mode) == 0o700
                raise KeyError
        assert not served.folder.exists() and os.environ.get('GRADIO_TEMP_DIR') == before
        with pytest.raises(httpx.ConnectError):
            served.request('GET', '/')


SERVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
sys.path.insert(0, {tests!r})
from demo_data import Colours
from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.demo import Demo
from kdeov_mm.demo.app import serve
if {wait}:
    serve(Demo(KDEOVInferencer(Colours())))
else:
    print(serve(Demo(KDEOVInferencer(Colours())), wait=False), flush=True)
    input()
"""


@pytest.mark.slow
@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, 'interpreter', 'exception'])
def test_the_folder_is_deleted_when_the_program_ends(end, tmp_path):
    program = SERVER.format(tests=str(Path(__file__).parent), wait=not isinstance(end, str))
    env = {key: value for key, value in os.environ.items() if key != 'GRADIO_TEMP_DIR'}
    env.update(TMPDIR=str(tmp_path), PYTHONPATH=str(ROOT))
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process = subprocess.Popen([sys.executable, '-c', program], cwd=tmp_path, env=env, **pipes)
    try:
        url = next(line for line in process.stdout if 'http://' in line).split()[-1]
        upload = httpx.post(f'{url}gradio_api/upload', files=dict(files=('a.png', b'x')), timeout=60)
        assert Path(upload.json()[0]).is_file() and list(tmp_path.glob('kdeov-demo-*'))
        stream = threading.Thread(target=httpx.get, args=(f'{url}gradio_api/heartbeat/x',), daemon=True)
        stream.start()  # a page that stays open
        if end == 'exception':
            process.stdin.close()  # input() raises
        elif end == 'interpreter':
            process.stdin.write('\n')
            process.stdin.flush()
        else:
            process.send_signal(end)
        status = dict(interpreter=0, exception=1).get(end, 0 if end == signal.SIGINT else None)
        assert process.wait(timeout=120) == (128 + end if status is None else status)
    finally:
        process.kill()
    assert not list(tmp_path.glob('kdeov-demo-*'))


def test_allow_host(capsys):
    from kdeov_mm.cli.command_line import parse

    args = parse(['demo', 'export', '--allow-host', 'Demo.example', '--allow-host', '[::2]']).args
    assert args.allow_host == ['demo.example', '::2']
    for name in ('https://demo.example', 'demo.example:80', 'a b', ''):
        with pytest.raises(SystemExit) as ended:
            parse(['demo', 'export', '--allow-host', name])
        assert ended.value.code == 2


def test_thumbnails_are_read_with_limits():
    from kdeov_mm.demo.service import thumbnail

    large = io.BytesIO()
    Image.fromarray(np.zeros((2000, 2000), np.uint8)).save(large, 'PNG')
    for content in (large.getvalue(), b'', b'%!PS-Adobe-3.0 EPSF-3.0\n', b'\x89PNG', None):
        assert thumbnail(dict(path='/a.jpg', thumbnail=content)).read().shape == (120, 160, 3)
