"""The demo's Gradio page and its server, which reads only uploaded files and sends no requests."""

import atexit
import errno
import html
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')  # Gradio reads it on import

try:
    import gradio as gr
except ImportError as error:
    raise ImportError(f'the demo needs Gradio ({error}); run "pip install kdeov_mm[demo]"') from error
import uvicorn
from fastapi import FastAPI

from kdeov_mm.structures import Detections

from .guard import Functions, Guard, OwnNames, RequestLimit, TimedProtocol, UploadFolder, upload_folder
from .service import Demo

__all__ = ['RequestLimit', 'build_app', 'running', 'serve']

EXAMPLES = 'red circle, blue star, green square'
BOXES = ['name', 'score', 'x1, y1, x2, y2']
TEACHER = ['teacher', 'probability']
BUTTONS = ['download', 'fullscreen']  # Gradio's other buttons would share pictures with its website
PORTS = range(7860, 7960)
START_SECONDS = 30
WAITING = 32  # visitors in the queue; others are refused
ONE_AT_A_TIME = dict(concurrency_limit=1, concurrency_id='model')


def build_app(demo: Demo, examples: str = EXAMPLES) -> gr.Blocks:
    """Build the page with its three tabs.

    Args:
        demo: Models of the demo.
        examples: Class names that the page shows at first, separated by commas.
    """
    with gr.Blocks(title='KDEOV', analytics_enabled=False) as page:
        gr.Markdown('# One small network, any words\nDetection, search and classification with the names you give.')
        with gr.Tab('Detect'):
            detect_tab(demo, examples)
        with gr.Tab('Search', id='search'):
            search_tab(demo, examples)
        with gr.Tab('Classify'):
            classify_tab(demo, examples)
    return page.queue(max_size=WAITING)


def detect_tab(demo: Demo, examples: str) -> None:
    """Build the tab that detects class names in an image."""
    with gr.Row():
        with gr.Column(scale=1):
            image, words = (
                upload('detect-image'),
                names_box('detect-words', examples, 'One name is enough: each has a score of its own.'),
            )
            initial = min(max(round(demo.inferencer.threshold, 2), 0.01), 0.99)
            threshold = gr.Slider(0.01, 0.99, initial, step=0.01, label='Minimum score')
            button = gr.Button('Detect', variant='primary', elem_id='detect-button')
        with gr.Column(scale=2):
            with gr.Row():
                picture = shown_image('Student', 'detect-picture')
                teacher_picture = shown_image('Teacher, of the same boxes', 'detect-teacher', bool(demo.teacher))
            summary = gr.Markdown(elem_id='detect-summary')
            table = gr.Dataframe(
                headers=BOXES + TEACHER * bool(demo.teacher),
                interactive=False,
                label='Detections',
                elem_id='detect-found',
            )

    @with_user_errors
    def detect(path: str | None, words: str, threshold: float) -> tuple:
        student, teacher, summary = demo.detect(path, words, threshold)
        return student.draw(), teacher and teacher.draw(), summary, table_rows(student, teacher)

    button.click(
        detect,
        [image, words, threshold],
        [picture, teacher_picture, summary, table],
        api_name='detect',
        **ONE_AT_A_TIME,
    )


def table_rows(student: Detections, teacher: Detections | None) -> list[list]:
    """Return class name, score and box of each detection, and the teacher's class name and probability."""
    rows = [
        [name, round(float(score), 3), ', '.join(f'{side:.0f}' for side in box)]
        for name, score, box in zip(student.names, student.scores, student.boxes)
    ]
    if teacher is None:
        return rows
    return [[*row, name, round(float(score), 3)] for row, name, score in zip(rows, teacher.names, teacher.scores)]


def search_tab(demo: Demo, examples: str) -> None:
    """Build the tab that searches the operator's folder by a text or an image."""
    if demo.store is None:
        gr.Markdown('There is no folder to search: the demo was started without one.')
        return
    with gr.Row():
        with gr.Column(scale=1):
            words = gr.Textbox(
                label='Words', value=examples.split(',')[0], elem_id='search-words', max_length=demo.limits.characters
            )
            image = upload('search-image', 'Or an image, to find similar images')
            top = gr.Slider(1, 48, 12, step=1, label='How many')
            threshold = gr.Slider(0, 0.99, 0, step=0.01, label='Minimum probability that an image shows the words')
            button = gr.Button('Search', variant='primary', elem_id='search-button')
        with gr.Column(scale=2):
            summary = gr.Markdown(elem_id='search-summary')
            gallery = gr.Gallery(
                label='Best first', columns=4, object_fit='contain', buttons=BUTTONS, elem_id='search-found'
            )

    @with_user_errors
    def search(words: str, path: str | None, top: float, threshold: float = 0.0) -> tuple:
        result, summary = demo.search(words, path, min(int(top), 48), threshold)
        return [(match.image.read(), f'{match.caption} {match.image.name}') for match in result.matches], summary

    gr.on(
        [button.click, words.submit],
        search,
        [words, image, top, threshold],
        [gallery, summary],
        api_name='search',
        **ONE_AT_A_TIME,
    )


def classify_tab(demo: Demo, examples: str) -> None:
    """Build the tab that classifies an image."""
    with gr.Row():
        with gr.Column(scale=1):
            image, words = (
                upload('classify-image'),
                names_box('classify-words', examples, 'Their probabilities and that of none of these sum to 1.'),
            )
            button = gr.Button('Classify', variant='primary', elem_id='classify-button')
        with gr.Column(scale=2):
            with gr.Row():
                student = gr.Label(label='Student', num_top_classes=8, elem_id='classify-student')
                teacher = gr.Label(
                    label='Teacher', num_top_classes=8, elem_id='classify-teacher', visible=bool(demo.teacher)
                )
            summary = gr.Markdown(elem_id='classify-summary')

    @with_user_errors
    def classify(path: str | None, words: str) -> tuple:
        student, teacher, summary = demo.classify(path, words)
        return dict(zip(*student.with_none())), teacher and teacher.to_dict()['names'], summary

    button.click(classify, [image, words], [student, teacher, summary], api_name='classify', **ONE_AT_A_TIME)


def upload(elem_id: str, label: str = 'Image') -> gr.Image:
    """Build a field for an image that returns the path of the uploaded file, not decoded."""
    field = gr.Image(
        type='filepath',
        image_mode=None,
        sources=['upload', 'webcam', 'clipboard'],
        label=label,
        height=300,
        elem_id=elem_id,
    )
    keep = field.async_move_resource_to_block_cache

    async def only_uploads(path: str | None) -> str | None:
        if path and '://' in str(path):
            raise gr.Error('Upload the image: this demo downloads nothing.', print_exception=False)
        return await keep(path)

    field.async_move_resource_to_block_cache = only_uploads
    return field


def names_box(elem_id: str, examples: str, info: str) -> gr.Textbox:
    """Build a field for class names, with a sentence about them."""
    return gr.Textbox(
        label='Class names, one a line or separated by commas',
        value=examples,
        lines=3,
        elem_id=elem_id,
        info=info,
    )


def shown_image(label: str, elem_id: str, visible: bool = True) -> gr.Image:
    """Build a field that shows an image."""
    return gr.Image(label=label, interactive=False, visible=visible, elem_id=elem_id, buttons=BUTTONS)


def with_user_errors(function: Callable) -> Callable:
    """Show visitors the errors of their inputs."""

    @wraps(function)
    def wrapper(*args: Any) -> Any:
        try:
            return function(*args)
        except FileNotFoundError as error:
            raise gr.Error('The upload was deleted; upload it again.', print_exception=False) from error
        except ValueError as error:  # Gradio shows HTML
            raise gr.Error(html.escape(str(error), quote=False), print_exception=False, duration=None) from error

    return wrapper


def serve(
    demo: Demo,
    host: str = '127.0.0.1',
    port: int | None = None,
    examples: str = EXAMPLES,
    wait: bool = True,
    allow_hosts: Sequence[str] = (),
) -> str:
    """Serve the page.

    Args:
        demo, host, port, examples, allow_hosts: See :func:`running`.
        wait: Whether to return only when Ctrl-C, SIGTERM or SIGHUP stops the server. Otherwise the server runs until
            the interpreter exits.

    Returns:
        str: URL of the page.

    Raises:
        OSError: If the port is not free.
    """
    server = running(demo, host, port, examples, allow_hosts)
    if not wait:
        url = server.__enter__()
        atexit.register(server.__exit__, None, None, None)
        return url
    if threading.current_thread() is threading.main_thread():  # only the main thread can
        for signal_number in (signal.SIGTERM, getattr(signal, 'SIGHUP', signal.SIGTERM)):
            signal.signal(signal_number, stop)
    with server as url:
        print(f'Ctrl-C stops the demo. It is at {url}', flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
    return url


def stop(signal_number: int, frame: Any) -> None:
    """Exit cleanly on a signal, so the uploads are deleted."""
    raise SystemExit(128 + signal_number)


@contextmanager
def running(
    demo: Demo,
    host: str = '127.0.0.1',
    port: int | None = None,
    examples: str = EXAMPLES,
    allow_hosts: Sequence[str] = (),
) -> Iterator[str]:
    """Serve the page in a thread and yield its URL; at exit stop the server and delete the uploads.

    Gradio's ``launch`` puts its middleware before any other and starts servers that environment variables request.

    Args:
        demo, examples: See :func:`build_app`.
        host: Address to listen at; ``0.0.0.0``: all addresses of this machine.
        port: Port; default: the first free one from 7860 on.
        allow_hosts: Additional host names of the server, such as that of a proxy.

    Raises:
        OSError: If the port is not free.
    """
    host = host.strip('[]')
    with listen(host, port) as listening, upload_folder(demo.limits) as folder:
        page = build_app(demo, examples)
        server = make_server(page, folder, OwnNames(host, allow_hosts))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            begin = time.monotonic()
            while not server.started:
                if not thread.is_alive() or time.monotonic() - begin > START_SECONDS:
                    raise RuntimeError('the server did not start')
                time.sleep(0.01)
            shown = {'0.0.0.0': 'localhost', '::': 'localhost'}.get(host, f'[{host}]' if ':' in host else host)
            yield f'http://{shown}:{listening.getsockname()[1]}/'
        finally:
            page.close(verbose=False)  # ends its streams
            server.should_exit = True
            thread.join(timeout=START_SECONDS)


def make_server(page: gr.Blocks, folder: UploadFolder, names: OwnNames) -> uvicorn.Server:
    """Build the server of a page, behind the guard."""
    app = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        path='/',
        root_path='',
        allowed_paths=[],
        show_error=False,  # only those of gr.Error
        max_file_size=folder.limits.bytes,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        footer_links=[],
    )
    # As "launch" does. Without these flags Gradio accepts any file of this machine as input.
    page.has_launched = page.is_running = True

    async def trim() -> None:
        folder.trim()

    return uvicorn.Server(
        uvicorn.Config(
            Guard(app, names, folder, page_functions(page), partial(is_waiting, page)),
            http=TimedProtocol,
            ws='none',
            lifespan='on',
            log_level='warning',
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            callback_notify=trim,
            timeout_notify=30,
        )
    )


def page_functions(page: gr.Blocks) -> Functions:
    """Describe a page's functions for the guard."""
    endpoints = page.get_api_info()['named_endpoints']
    return Functions(
        list(page.fns),
        {
            name.removeprefix('/'): {
                parameter['parameter_name']: not parameter['parameter_has_default']
                for parameter in endpoint['parameters']
            }
            for name, endpoint in endpoints.items()
        },
    )


def is_waiting(page: gr.Blocks, name: str) -> bool:
    """Return whether a session waits for messages; ``name`` is its hash, or the id of one of its events."""
    queue = page._queue
    event = queue.event_ids_to_events.get(name)
    sessions = (session for session, events in queue.pending_event_ids_session.items() if name in events)
    return (event.session_hash if event else next(sessions, name)) in queue.pending_messages_per_session


def listen(host: str, port: int | None) -> socket.socket:
    """Listen at an address and a port, or at the first free one.

    Raises:
        OSError: If no port is free.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    for candidate in PORTS if port is None else [port]:
        try:
            return socket.create_server((host, candidate), family=family)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise OSError(error.errno, f'cannot listen at {host}, port {candidate}: {error.strerror}') from None
    wanted = f'port {port} is' if port else f'ports {PORTS[0]} to {PORTS[-1]} are'
    raise OSError(errno.EADDRINUSE, f'{wanted} in use at {host}; give another --port')
