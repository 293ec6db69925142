"""A web page to try a model on: detect, search a folder, classify, all in one's own words (docs/demo.md).

python tools/export.py configs/kdeov_yolov8n.py work_dirs/kdeov_yolov8n --out-dir work_dirs/export
python tools/demo.py work_dirs/export --images data/shapes/test --teacher configs/kdeov_yolov8n.py
"""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
from kdeov_mm.apis import KDEOVInferencer, find_images
from kdeov_mm.apis.backends import OnnxBackend
from kdeov_mm.demo import Demo, Limits
from kdeov_mm.demo.app import serve
from kdeov_mm.demo.guard import split_host
from kdeov_mm.deploy import Runtime
from kdeov_mm.utils import check_at_least, user_errors
from kdeov_mm.utils.display import printable

KINDS = ('image_encoder', 'open_detector', 'text_encoder')


def parse_args(args: List[str] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('export', type=Path, help=f'folder of tools/export.py, with {", ".join(KINDS)}')
    parser.add_argument('--images', nargs='+', metavar='PATH', help='images, or folders of them, that can be searched')
    parser.add_argument(
        '--index',
        metavar='DIR',
        help='where their embeddings are kept, or an index of '
        'tools/index.py; default with --images: index in the folder of the export',
    )
    parser.add_argument('--teacher', metavar='CONFIG', help='also show the teacher of a training')
    parser.add_argument(
        '--examples',
        metavar='NAMES',
        default='red circle, blue star, green square',
        help='names that stand there when the page opens, separated by commas',
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; 0.0.0.0: all; default: this machine')
    parser.add_argument('--port', type=int, help='default: the first free one from 7860 on')
    parser.add_argument(
        '--allow-host',
        metavar='NAME',
        action='append',
        default=[],
        help="another name by which browsers may call the server, such as a proxy's; may be given more than once",
    )
    parser.add_argument('--threads', type=int, help="threads of the network; default: ONNX Runtime's choice")
    parser.add_argument('--max-megabytes', type=int, default=20, help='of an uploaded file; default: 20')
    parser.add_argument('--max-megapixels', type=int, default=50, help='of an uploaded image; default: 50')
    args = parser.parse_args(args)
    check_at_least(parser, args, max_megabytes=1, max_megapixels=1, threads=1, port=1)
    for name in args.allow_host:
        if split_host(name)[0] != name.lower().strip('[]') or split_host(name)[1] is not None:
            parser.error(f'--allow-host: "{printable(name)}" is not a host name; give one without scheme and port')
    args.allow_host = [split_host(name)[0] for name in args.allow_host]
    return args


def open_index(args: argparse.Namespace) -> Optional[object]:
    """The index of the folder to search, brought up to date, or None."""
    if not args.images and not args.index:
        return None
    from kdeov_mm.search import ImageEncoder, ImageStore, update_index

    encoder, folder = ImageEncoder(str(args.export / 'image_encoder.onnx')), args.index or str(args.export / 'index')
    if not args.images:
        ImageStore.open(folder)  # which does not make one
    store = ImageStore.create(folder, encoder.describe())
    if args.images:
        report = update_index(find_images(args.images), store, encoder)
        print(
            f'{folder}: {len(store)} images, {report.added} new, {len(report.broken)} that cannot be read',
            file=sys.stderr,
        )
    return store


def main(args: List[str] = None) -> None:
    args = parse_args(args)
    with user_errors():
        runtime = Runtime([args.export / f'{kind}.onnx' for kind in KINDS], threads=args.threads)
        teacher = None
        if args.teacher:
            from kdeov_mm.demo.teacher import Teacher

            teacher = Teacher(args.teacher, runtime.metadata['text_encoder'].get('text_space'))
        limits = Limits(bytes=args.max_megabytes * 2**20, pixels=args.max_megapixels * 10**6)
        demo = Demo(KDEOVInferencer(OnnxBackend(runtime)), open_index(args), teacher, limits)
        serve(demo, args.host, args.port, args.examples, allow_hosts=args.allow_host)


if __name__ == '__main__':
    main()
