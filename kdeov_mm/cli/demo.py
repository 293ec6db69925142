"""Start a web page to try a model: detect, classify, and search a folder (docs/demo.md).

kdeov export kdeov_yolov8n --out-dir work_dirs/export
kdeov demo work_dirs/export --images data/shapes/test --teacher configs/kdeov_yolov8n.py
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import user_errors
from kdeov_mm.utils.options import check_at_least, check_config_file, check_files

if TYPE_CHECKING:
    from kdeov_mm.search import ImageStore

KINDS = ('image_encoder', 'open_detector', 'text_encoder')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument('export', type=Path, help=f'folder of "kdeov export", with {", ".join(KINDS)}')
    parser.add_argument('--images', nargs='+', metavar='PATH', help='images, or folders of them, to search')
    parser.add_argument(
        '--index',
        metavar='DIR',
        help='folder of their embeddings, or an index of '
        '"kdeov index"; default with --images: index in the folder of the export',
    )
    parser.add_argument('--teacher', metavar='CONFIG', help='also show the teacher of a training')
    parser.add_argument(
        '--examples',
        metavar='NAMES',
        default='red circle, blue star, green square',
        help='class names that the page shows at first, separated by commas',
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; 0.0.0.0: all; default: this machine')
    parser.add_argument('--port', type=int, help='port; default: the first free one from 7860 on')
    parser.add_argument(
        '--allow-host',
        metavar='NAME',
        action='append',
        default=[],
        help="another name by which browsers may call the server, such as a proxy's; may be given more than once",
    )
    parser.add_argument('--threads', type=int, help="threads of the network; default: ONNX Runtime's choice")
    parser.add_argument('--max-megabytes', type=int, default=20, help='maximum size of an uploaded file; default: 20')
    parser.add_argument('--max-megapixels', type=int, default=50, help='maximum size of an uploaded image; default: 50')


def check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program with a usage message if an option is out of range."""
    check_at_least(parser, args, max_megabytes=1, max_megapixels=1, threads=1, port=1)
    if not args.allow_host:
        return
    from kdeov_mm.demo.guard import split_host

    for name in args.allow_host:
        if split_host(name)[0] != name.lower().strip('[]') or split_host(name)[1] is not None:
            parser.error(f'--allow-host: "{printable(name)}" is not a host name; give one without scheme and port')
    args.allow_host = [split_host(name)[0] for name in args.allow_host]


def open_index(args: argparse.Namespace) -> Optional['ImageStore']:
    """Return the updated index of the folder to search, or None."""
    if not args.images and not args.index:
        return None
    from kdeov_mm.apis.sources import find_images
    from kdeov_mm.search import IndexEncoder, ImageStore, update_index

    encoder, folder = IndexEncoder(str(args.export / 'image_encoder.onnx')), args.index or str(args.export / 'index')
    if not args.images:
        ImageStore.open(folder)  # raises FileNotFoundError, where create would make a new index
    store = ImageStore.create(folder, encoder.describe())
    if args.images:
        report = update_index(find_images(args.images), store, encoder)
        print(
            f'{folder}: {len(store)} images, {report.added} new, {len(report.broken)} that cannot be read',
            file=sys.stderr,
        )
    return store


def run(args: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    with user_errors():
        files = [args.export / f'{kind}.onnx' for kind in KINDS]
        check_files('export', files)
        check_files('--images', args.images)
        if args.teacher:
            check_config_file(args.teacher)
        from kdeov_mm.apis import KDEOVInferencer
        from kdeov_mm.apis.backends import OnnxBackend
        from kdeov_mm.demo import Demo, Limits
        from kdeov_mm.demo.app import serve
        from kdeov_mm.deploy import Runtime

        runtime = Runtime(files, threads=args.threads)
        teacher = None
        if args.teacher:
            from kdeov_mm.demo.teacher import Teacher

            teacher = Teacher(args.teacher, runtime.metadata['text_encoder'].get('text_space'))
        limits = Limits(bytes=args.max_megabytes * 2**20, pixels=args.max_megapixels * 10**6)
        demo = Demo(KDEOVInferencer(OnnxBackend(runtime)), open_index(args), teacher, limits)
        serve(demo, args.host, args.port, args.examples, allow_hosts=args.allow_host)
