"""The demo's page, with Gradio, and its server: it reads no file but what visitors upload, and calls nobody."""

import os
import tempfile
from functools import wraps
from typing import Any, Callable, Optional

os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')  # Gradio reads it when it is imported

try:
    import gradio as gr
except ImportError as error:
    raise ImportError(f'the demo needs Gradio ({error}); run "pip install kdeov_mm[demo]"') from error
from starlette.middleware import Middleware

from .service import Demo

EXAMPLES = 'red circle, blue star, green square'
BOXES = ['name', 'score', 'x1, y1, x2, y2']
TEACHER = ['teacher', 'probability']
BUTTONS = ['download', 'fullscreen']  # Gradio's others would share pictures with its makers' site
KEPT = 3600  # seconds that uploads and pictures are kept
WAITING = 32  # visitors; others are told to come again
ONE_AT_A_TIME = dict(concurrency_limit=1, concurrency_id='model')


class RequestLimit:
    """ASGI middleware that refuses requests whose body is larger than so many bytes, without reading them to the end.

    Args:
        app: What is behind it.
        bytes: The most that a body may have.
    """

    def __init__(self, app: Callable, bytes: int) -> None:
        self.app, self.bytes = app, bytes

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope['type'] != 'http':
            return await self.app(scope, receive, send)
        told = dict(scope['headers']).get(b'content-length', b'0')
        if not told.isdigit() or int(told) > self.bytes:
            await send(dict(type='http.response.start', status=413, headers=[(b'content-type', b'text/plain')]))
            return await send(dict(type='http.response.body', body=b'The request is too large.'))
        received = 0

        async def limited() -> dict:
            nonlocal received
            message = await receive()
            received += len(message.get('body', b''))
            return message if received <= self.bytes else dict(type='http.disconnect')

        await self.app(scope, limited, send)


def build_app(demo: Demo, examples: str = EXAMPLES) -> gr.Blocks:
    """The page with its three tabs.

    Args:
        demo: What it shows.
        examples: Names that stand there when it opens, separated by commas.
    """
    with gr.Blocks(title='KDEOV', analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
        gr.Markdown('# One small network, any words\nDetection, search and classification with the names you give.')
        with gr.Tab('Detect'):
            detect_tab(demo, examples)
        with gr.Tab('Search', id='search'):
            search_tab(demo, examples)
        with gr.Tab('Classify'):
            classify_tab(demo, examples)
    return page.queue(max_size=WAITING)


def detect_tab(demo: Demo, examples: str) -> None:
    """An image and names become boxes."""
    with gr.Row():
        with gr.Column(scale=1):
            image, words = upload('detect-image'), names_box('detect-words', examples)
            threshold = gr.Slider(0.01, 0.99, 0.3, step=0.01, label='Least score')
            button = gr.Button('Detect', variant='primary', elem_id='detect-button')
        with gr.Column(scale=2):
            with gr.Row():
                picture = shown_image('Student', 'detect-picture')
                teacher_picture = shown_image('Teacher, of the same boxes', 'detect-teacher', bool(demo.teacher))
            summary = gr.Markdown(elem_id='detect-summary')
            table = gr.Dataframe(
                headers=BOXES + TEACHER * bool(demo.teacher), interactive=False, label='Found', elem_id='detect-found'
            )

    @told
    def detect(path: Optional[str], words: str, threshold: float) -> tuple:
        found = demo.detect(path, words, threshold)
        return found.picture, found.teacher_picture, found.summary, found.rows

    button.click(
        detect,
        [image, words, threshold],
        [picture, teacher_picture, summary, table],
        api_name='detect',
        **ONE_AT_A_TIME,
    )


def search_tab(demo: Demo, examples: str) -> None:
    """Words, or an image, find images of the folder that the operator chose."""
    if demo.store is None:
        gr.Markdown('There is no folder to search: whoever started this demo gave none.')
        return
    with gr.Row():
        with gr.Column(scale=1):
            words = gr.Textbox(
                label='Words', value=examples.split(',')[0], elem_id='search-words', max_length=demo.limits.characters
            )
            image = upload('search-image', 'Or an image, to find those that are like it')
            top = gr.Slider(1, 48, 12, step=1, label='How many')
            button = gr.Button('Search', variant='primary', elem_id='search-button')
        with gr.Column(scale=2):
            summary = gr.Markdown(elem_id='search-summary')
            gallery = gr.Gallery(
                label='Best first', columns=4, object_fit='contain', buttons=BUTTONS, elem_id='search-found'
            )

    @told
    def search(words: str, path: Optional[str], top: float) -> tuple:
        found = demo.search(words, path, min(int(top), 48))
        return found.images, found.summary

    gr.on(
        [button.click, words.submit],
        search,
        [words, image, top],
        [gallery, summary],
        api_name='search',
        **ONE_AT_A_TIME,
    )


def classify_tab(demo: Demo, examples: str) -> None:
    """An image and names become probabilities."""
    with gr.Row():
        with gr.Column(scale=1):
            image, words = upload('classify-image'), names_box('classify-words', examples)
            button = gr.Button('Classify', variant='primary', elem_id='classify-button')
        with gr.Column(scale=2):
            with gr.Row():
                student = gr.Label(label='Student', num_top_classes=8, elem_id='classify-student')
                teacher = gr.Label(
                    label='Teacher', num_top_classes=8, elem_id='classify-teacher', visible=bool(demo.teacher)
                )
            summary = gr.Markdown(elem_id='classify-summary')

    @told
    def classify(path: Optional[str], words: str) -> tuple:
        found = demo.classify(path, words)
        return found.student, found.teacher, found.summary

    button.click(classify, [image, words], [student, teacher, summary], api_name='classify', **ONE_AT_A_TIME)


def upload(elem_id: str, label: str = 'Image') -> gr.Image:
    """A field for an image, which gives the path of the uploaded file as it is, not decoded."""
    field = gr.Image(
        type='filepath',
        image_mode=None,
        sources=['upload', 'webcam', 'clipboard'],
        label=label,
        height=300,
        elem_id=elem_id,
    )
    keep = field.async_move_resource_to_block_cache

    async def only_uploads(path: Optional[str]) -> Optional[str]:
        if path and '://' in str(path):
            raise gr.Error('Upload the image: this demo downloads nothing.', print_exception=False)
        return await keep(path)

    field.async_move_resource_to_block_cache = only_uploads
    return field


def names_box(elem_id: str, examples: str) -> gr.Textbox:
    """A field for names."""
    return gr.Textbox(
        label='Names, one a line or separated by commas',
        value=examples,
        lines=3,
        elem_id=elem_id,
        info='Names compete: name also what you are not looking for.',
    )


def shown_image(label: str, elem_id: str, visible: bool = True) -> gr.Image:
    """A field that shows an image."""
    return gr.Image(label=label, interactive=False, visible=visible, elem_id=elem_id, buttons=BUTTONS)


def told(function: Callable) -> Callable:
    """Show a visitor what is wrong with what was given."""

    @wraps(function)
    def wrapper(*args: Any) -> Any:
        try:
            return function(*args)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False, duration=None) from error

    return wrapper


def serve(
    demo: Demo, host: str = '127.0.0.1', port: Optional[int] = None, examples: str = EXAMPLES, wait: bool = True
) -> str:
    """Serve the page.

    Args:
        demo, examples: See :func:`build_app`.
        host: Address to listen at; ``0.0.0.0``: all of this machine's.
        port: Default: the first free one from 7860 on.
        wait: Return only when the server is stopped.

    Returns:
        str: Its URL.

    Raises:
        OSError: The port is not free.
    """
    os.environ['GRADIO_TEMP_DIR'] = tempfile.mkdtemp(prefix='kdeov-demo-')  # the usual one is other demos', too
    page = build_app(demo, examples)
    limit = Middleware(RequestLimit, bytes=demo.limits.bytes + 2**20)
    _, url, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        allowed_paths=[],
        max_file_size=demo.limits.bytes,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        footer_links=[],
        prevent_thread_lock=not wait,
        app_kwargs=dict(middleware=[limit]),
        quiet=not wait,
    )
    return url
