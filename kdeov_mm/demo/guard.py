"""The demo's request filter: allowed requests, their size limits, and the folder of uploads."""

import asyncio
import ipaddress
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import h11
from python_multipart.multipart import parse_options_header
from uvicorn.protocols.http.h11_impl import H11Protocol

from kdeov_mm.utils.display import printable
from .uploads import Limits

CALL_BYTES = 2**20  # of a request without upload; the longest list of class names has 150 kB
QUERY_BYTES = 1024
CONNECTIONS = 256  # a visitor's browser has up to six
REQUEST_SECONDS = 120  # from a connection's opening to the end of the request: 20 MB at 1.4 Mbit/s

API = '/gradio_api'
UPLOAD, PROGRESS, QUEUE = f'{API}/upload', f'{API}/upload_progress', f'{API}/queue/data'
JOIN, CALL = f'{API}/queue/join', f'{API}/call/'
UNKNOWN = 'This session is unknown; load the page again.'
# The routes that the page and Gradio's Python client use. Other routes of Gradio write outside of the upload folder
# (process_recording) or send requests to other hosts (file=https://..., proxy=, run-history).
GET_PATHS = ('/', '/config', '/theme.css', '/favicon.ico', '/robots.txt', '/manifest.json')
GET_PATHS += (QUEUE, PROGRESS, *(f'{API}/{name}' for name in ('info', 'app_id', 'startup-events')))
GET_FOLDERS = ('/assets/', '/static/', '/svelte/', '/pwa_icon/', f'{API}/heartbeat/', CALL)
POST_PATHS = (UPLOAD, JOIN, f'{API}/cancel', f'{API}/reset')
POST_FOLDERS = (CALL,)

LOOPBACK = ('localhost', '127.0.0.1', '::1')
HOST = re.compile(r'(?:\[([0-9a-f:.]+)\]|([^\s:/@\[\]]+))(?::([0-9]{1,5}))?')

Refusal = tuple[int, str] | None  # status and reason; None: the request may pass


def split_host(text: str) -> tuple[str | None, int | None]:
    """Split ``name:port`` or ``[address]:port``, the port of which may be missing; (None, None) if it is neither."""
    match = HOST.fullmatch(text.lower())
    if not match:
        return None, None
    return match[1] or match[2], int(match[3]) if match[3] else None


class OwnNames:
    """Check that a request is for this server and not from a foreign page.

    The Host header reveals DNS rebinding. Origin and Sec-Fetch-Site reveal foreign pages; programs send neither header.

    Args:
        host: Address or name that the server listens at.
        allowed: Further names, which a proxy passes on. Their port is the proxy's, and may be any.
    """

    def __init__(self, host: str, allowed: Sequence[str] = ()) -> None:
        self.host, self.allowed = host.strip('[]').lower(), [name.lower() for name in allowed]

    def refusal(self, scope: dict[str, Any]) -> Refusal:
        """Return why a request is not for this server or comes from a foreign page, or None."""
        hosts = header_values(scope, b'host')
        name, port = split_host(hosts[0]) if len(hosts) == 1 else (None, None)
        if not self.is_own(scope, name, port or 80):
            shown = printable(' '.join(hosts)[:80])
            reason = f'This server does not answer for the host "{shown}". Use the address that it printed when it '
            return 421, reason + 'started, or start it with --allow-host NAME.\n'
        origins, sites = header_values(scope, b'origin'), header_values(scope, b'sec-fetch-site')
        foreign = any(not is_same_origin(origin, name, port) for origin in origins)
        if foreign or any(site not in ('same-origin', 'none') for site in sites) and not is_link(scope):
            return 403, 'This server answers to its own page only, not to pages of other origins.\n'
        return None

    def is_own(self, scope: dict[str, Any], name: str | None, port: int) -> bool:
        """Return whether a request's Host is a name of this server."""
        if name is None or name in self.allowed:
            return name is not None
        address, own_port = scope.get('server') or ('', None)  # the address of the connection
        names = {self.host, plain_address(address)} - {'', '0.0.0.0', '::'}
        return port == own_port and (name in names or name in LOOPBACK and not names.isdisjoint(LOOPBACK))


def plain_address(address: str) -> str:
    """Return an address without its interface, and convert IPv4-mapped IPv6 addresses to IPv4."""
    try:
        parsed = ipaddress.ip_address(address.partition('%')[0])
    except ValueError:
        return ''
    return str(getattr(parsed, 'ipv4_mapped', None) or parsed)


def is_same_origin(origin: str, name: str, port: int | None) -> bool:
    """Return whether an Origin has a Host header's name and port; the scheme may be that of a proxy."""
    try:
        parts = urlsplit(origin)
        scheme_port = dict(http=80, https=443)[parts.scheme]
        return (parts.hostname, parts.port or scheme_port) == (name, port or scheme_port)
    except (KeyError, ValueError):  # "null" or invalid
        return False


def is_link(scope: dict[str, Any]) -> bool:
    """Return whether a request opens the page in a window of its own, as a link on another page does."""
    wanted = [(b'sec-fetch-mode', ['navigate']), (b'sec-fetch-dest', ['document'])]
    return (
        scope['type'] == 'http'
        and (scope['method'], scope['path']) == ('GET', '/')
        and all(header_values(scope, name) == values for name, values in wanted)
    )


def header_values(scope: dict[str, Any], name: bytes) -> list[str]:
    """Return all values of a header."""
    return [value.decode('latin-1') for key, value in scope['headers'] if key == name]


def route_refusal(scope: dict[str, Any], folder: str) -> Refusal:
    """Return why a path is not allowed, or None."""
    method, path = scope['method'], scope['path']
    if len(scope.get('query_string', b'')) > QUERY_BYTES:
        return 414, f'The query has {len(scope["query_string"])} bytes; at most {QUERY_BYTES} are taken.\n'
    if method in ('GET', 'HEAD'):
        allowed = path.rstrip('/') in GET_PATHS or path in GET_PATHS
        allowed = allowed or path.startswith((*GET_FOLDERS, f'{API}/file={folder}{os.sep}'))
    else:
        allowed = method == 'POST' and (path.rstrip('/') in POST_PATHS or path.startswith(POST_FOLDERS))
    return None if allowed else (403, 'This is not a part of the demo.\n')


def stream_answer(scope: dict[str, Any], is_waiting: Callable[[str], bool]) -> bytes | None:
    """Return the complete response of a stream that Gradio should not handle; None for all other requests.

    Gradio keeps every id of ``upload_progress`` forever. For an unknown session it logs a traceback.

    Args:
        scope: The request.
        is_waiting: Returns whether a session, or the session of an event, waits for messages.
    """
    path = scope['path'].rstrip('/')
    if scope['method'] != 'GET':
        return None
    if path == PROGRESS:
        return b'data: {"msg": "done"}\n\n'
    if path == QUEUE:
        (session,) = parse_qs(scope.get('query_string', b'').decode('latin-1')).get('session_hash', [''])[:1]
        lost = dict(msg='unexpected_error', message=UNKNOWN, session_not_found=True, success=False)
        return None if is_waiting(session) else f'data: {json.dumps(lost)}\n\n'.encode()
    if path.startswith(CALL) and not is_waiting(path.rpartition('/')[2]):
        return f'event: error\ndata: {json.dumps(UNKNOWN)}\n\n'.encode()
    return None


class Functions(NamedTuple):
    """Describes the functions of a page.

    Attributes:
        indices: The index of each function.
        parameters: For each function's name, its parameters and whether a call needs them.
    """

    indices: Collection[int]
    parameters: Mapping[str, Mapping[str, bool]]


def call_refusal(path: str, body: bytes, functions: Functions) -> Refusal:
    """Return why a call is not allowed, or None; Gradio itself refuses a body of the wrong format.

    Args:
        path: ``JOIN``, or a path below ``CALL``, without a slash at its end.
        body: The complete body, in JSON.
        functions: The page's functions.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if path == JOIN:
        given = content if isinstance(content, dict) else {}
        index = given.get('fn_index')
        if index is not None and (type(index) is not int or index not in functions.indices):
            return 404, 'fn_index: the page has no such function; GET /gradio_api/info describes its functions.\n'
        return (
            (400, 'session_hash: expected a name, got an empty string.\n') if given.get('session_hash') == '' else None
        )
    name = path.removeprefix(CALL)
    parameters = functions.parameters.get(name.removeprefix('v2/'))
    if parameters is None:
        known = ', '.join(functions.parameters)
        return 404, f'The page has no function "{printable(name[:80])}"; expected one of {known}.\n'
    if name.startswith('v2/') and isinstance(content, dict):
        names = content.keys() - {'oauth_token'}
        if not {key for key, needed in parameters.items() if needed} <= names <= parameters.keys():
            return 422, f'{name}: expected the parameters {", ".join(parameters)}.\n'
    return None


async def refuse(send: Callable, status: int, reason: str) -> None:
    """Send a refusal as plain text."""
    await answer(send, status, b'text/plain; charset=utf-8', reason.encode())


async def answer(send: Callable, status: int, kind: bytes, body: bytes) -> None:
    """Send a complete response."""
    headers = [(b'content-type', kind), (b'x-content-type-options', b'nosniff'), (b'cache-control', b'no-store')]
    await send(dict(type='http.response.start', status=status, headers=headers))
    await send(dict(type='http.response.body', body=body))


class RequestLimit:
    """Refuses requests with a too large body or too many parts without reading them completely; ASGI middleware.

    Args:
        app: The inner app.
        bytes: Maximum size of a body.
        parts: Maximum number of parts of a multipart body; default: unlimited.
    """

    def __init__(self, app: Callable, bytes: int, parts: int | None = None) -> None:
        self.app, self.bytes, self.parts = app, bytes, parts

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope['type'] != 'http':
            return await self.app(scope, receive, send)
        content_length = dict(scope['headers']).get(b'content-length', b'0')
        if not content_length.isdigit() or int(content_length) > self.bytes:
            return await refuse(send, 413, self.limits())
        count = None if self.parts is None else PartCount(scope)
        received, refused, cut, replaced = 0, False, False, False

        async def limited() -> dict:
            nonlocal received, refused, cut
            message = await receive()
            body = message.get('body', b'')
            received += len(body)
            refused = refused or received > self.bytes or count is not None and count.add(body) > self.parts
            cut = cut or refused or message['type'] == 'http.disconnect'
            return dict(type='http.disconnect') if refused else message

        async def watched(message: dict) -> None:
            nonlocal replaced
            if (
                message['type'] == 'http.response.start' and refused
            ):  # replaces the app's response to a truncated request
                replaced = True
                await refuse(send, 413, self.limits())
            if not replaced:
                await send(message)

        try:
            await self.app(scope, limited, watched)
        except Exception:
            if not cut:  # after a truncated request Starlette reports a lost client
                raise

    def limits(self) -> str:
        """Return the reason of a refusal."""
        parts = '' if self.parts is None else f' and {self.parts} files'
        return f'A request may have at most {self.bytes / 2**20:.1f} MiB{parts}; send smaller or fewer files.\n'


class CallCheck:
    """Refuses calls of unknown functions, for which Gradio would log a traceback; ASGI middleware.

    Args:
        app: The inner app.
        functions: The page's functions.
    """

    def __init__(self, app: Callable, functions: Functions) -> None:
        self.app, self.functions = app, functions

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        path = scope['path'].rstrip('/')
        if scope['method'] != 'POST' or path != JOIN and not path.startswith(CALL):
            return await self.app(scope, receive, send)
        messages = [await receive()]
        while messages[-1].get('more_body'):
            messages.append(await receive())
        if messages[-1]['type'] != 'http.disconnect':
            body = b''.join(message.get('body', b'') for message in messages)
            refusal = call_refusal(path, body, self.functions)
            if refusal:
                return await refuse(send, *refusal)

        async def replayed() -> dict:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, replayed, send)


class PartCount:
    """Counts the parts of a multipart body from its chunks without parsing; may overcount, never undercount."""

    def __init__(self, scope: dict[str, Any]) -> None:
        types = header_values(scope, b'content-type')
        boundary = parse_options_header(types[0])[1].get(b'boundary') if types else None  # as Gradio reads it
        self.mark = None if boundary is None else b'--' + boundary
        self.count, self.rest = 0, b''

    def add(self, body: bytes) -> int:
        """Return the number of parts so far."""
        if self.mark is None:
            return 0
        body = self.rest + body
        self.count += body.count(self.mark)
        self.rest = body[1 - len(self.mark) :]  # a mark may span two chunks
        return self.count - 1  # one mark closes the last part


class UploadFolder:
    """Keeps a private folder for uploads and pictures within its limits by deleting the oldest files.

    Refusing new files instead would let one visitor fill the folder and lock out all others.

    Args:
        path: The folder.
        limits: Limits of number, size and age of files.
    """

    def __init__(self, path: str, limits: Limits) -> None:
        self.path, self.limits = path, limits

    def trim(self) -> None:
        """Delete expired files, then the oldest ones until there is room for current uploads.

        The method never awaits, so it cannot see a file between two steps of Gradio.
        """
        limits, now, files = self.limits, time.time(), []
        for parent, _, names in os.walk(self.path):
            for name in names:
                path = os.path.join(parent, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                files.append((status.st_ctime, status.st_size, path))
        total, count = sum(size for _, size, _ in files), len(files)
        max_bytes = limits.folder_bytes - limits.uploads * limits.bytes
        max_files = limits.folder_files - limits.uploads * limits.parts
        for changed, size, path in sorted(files):
            if total <= max_bytes and count <= max_files and now - changed <= limits.seconds:
                break
            total, count = total - size, count - 1
            try:
                os.unlink(path)
                if os.path.dirname(path) != self.path:
                    os.rmdir(os.path.dirname(path))  # Gradio gives each file a folder
            except OSError:
                pass


@contextmanager
def upload_folder(limits: Limits) -> Iterator[UploadFolder]:
    """Create a folder that only this user can read and set it as Gradio's; delete it at exit."""
    before = os.environ.get('GRADIO_TEMP_DIR')
    with tempfile.TemporaryDirectory(prefix='kdeov-demo-', ignore_cleanup_errors=True) as path:
        path = os.environ['GRADIO_TEMP_DIR'] = os.path.realpath(path)
        try:
            yield UploadFolder(path, limits)
        finally:
            if os.environ.get('GRADIO_TEMP_DIR') == path:
                os.environ.pop('GRADIO_TEMP_DIR')
                if before is not None:
                    os.environ['GRADIO_TEMP_DIR'] = before


class Guard:
    """Lets only requests of the page pass, within the limits; the outermost ASGI middleware.

    Args:
        app: The page. Its CORS middleware reflects any origin, so it must not see foreign ones.
        names: Host names of the server.
        folder: Folder of the uploads.
        functions: The page's functions.
        is_waiting: See :func:`stream_answer`.
    """

    def __init__(
        self,
        app: Callable,
        names: OwnNames,
        folder: UploadFolder,
        functions: Functions,
        is_waiting: Callable[[str], bool] = lambda session: True,
    ) -> None:
        self.app, self.names, self.folder, self.uploading = app, names, folder, 0
        self.is_waiting = is_waiting
        self.calls = RequestLimit(CallCheck(app, functions), CALL_BYTES)
        self.uploads = RequestLimit(app, folder.limits.bytes + CALL_BYTES, folder.limits.parts)

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope['type'] == 'lifespan':
            return await self.app(scope, receive, send)
        if scope['type'] != 'http':  # the page has no WebSockets
            return await send(dict(type='websocket.close', code=1008))
        refusal = self.names.refusal(scope) or route_refusal(scope, self.folder.path)
        if refusal:
            return await refuse(send, *refusal)
        stream = stream_answer(scope, self.is_waiting)
        if stream is not None:
            return await answer(send, 200, b'text/event-stream; charset=utf-8', stream)
        if scope['method'] == 'POST':
            self.folder.trim()
        if scope['path'].rstrip('/') != UPLOAD:
            return await self.calls(scope, receive, send)
        if self.uploading >= self.folder.limits.uploads:
            return await refuse(send, 503, 'Too many uploads at once; try again in a minute.\n')
        self.uploading += 1
        try:
            await self.uploads(
                dict(scope, query_string=b''), receive, send
            )  # without an id, whose progress Gradio would keep
        finally:
            self.uploading -= 1


class TimedProtocol(H11Protocol):
    """Closes connections above a maximum number, and those whose request takes too long; extends Uvicorn's protocol."""

    max_connections, seconds = CONNECTIONS, REQUEST_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.deadline = None
        if len(self.connections) > self.max_connections:
            return transport.abort()
        self.set_deadline()

    def set_deadline(self) -> None:
        """Start the deadline of a request."""
        self.end_deadline()
        self.deadline = self.loop.call_later(self.seconds, self.check_deadline)

    def end_deadline(self) -> None:
        """Cancel the deadline of the last request."""
        if self.deadline is not None:
            self.deadline.cancel()

    def check_deadline(self) -> None:
        """Close the connection if the request is not complete; responses have no deadline."""
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self.transport.abort()

    def on_response_complete(self) -> None:
        self.set_deadline()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end_deadline()
        super().connection_lost(exc)
