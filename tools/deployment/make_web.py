"""Put together a static page that detects in the browser, with no server behind it (docs/demo.md).

kdeov export configs/kdeov_yolov8n.py work_dirs/kdeov_yolov8n --out-dir work_dirs/export
python tools/deployment/make_web.py work_dirs/export work_dirs/web --vocabulary names.txt
python tools/deployment/make_web.py work_dirs/export work_dirs/web    # detector.onnx with its own names
python -m http.server --bind 127.0.0.1 --directory work_dirs/web
"""

import argparse
from pathlib import Path

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import numpy as np
from kdeov_mm.deploy.runtime import Runtime
from kdeov_mm.deploy.web import PACKAGE, VERSION, npm_package, write_web
from kdeov_mm.text import read_class_names
from kdeov_mm.utils import InputError, interruptible, user_errors
from kdeov_mm.utils.arrays import read_npy

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'web'


def parse_args(args: list[str] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'export',
        type=Path,
        help='folder with open_detector.onnx (and text_encoder.onnx) of kdeov export, or with detector.onnx',
    )
    parser.add_argument('out_dir', type=Path, help='folder to write')
    parser.add_argument(
        '--vocabulary',
        metavar='FILE',
        help='the names that can be asked for: one a line, or .json; default: those of detector.onnx',
    )
    parser.add_argument(
        '--embeddings', metavar='FILE', help='.npy with one row for each name, in place of the text encoder'
    )
    parser.add_argument(
        '--examples',
        nargs='+',
        default=(),
        metavar='NAME',
        help='names that stand in the page when it opens; default: the first three',
    )
    parser.add_argument(
        f'--{PACKAGE}',
        type=Path,
        metavar='PATH',
        dest='package',
        help=f'node_modules/{PACKAGE}, or its .tgz, version {VERSION}; default: npm gets it',
    )
    return parser.parse_args(args)


def embed(args: argparse.Namespace, names: list[str]) -> np.ndarray:
    """Return the class embeddings ``[K, D]``."""
    if args.embeddings is None:
        return Runtime(args.export / 'text_encoder.onnx').embed_names(names)
    return read_npy(args.embeddings, '--embeddings')


@interruptible()
def main(args: list[str] = None) -> None:
    args = parse_args(args)
    with user_errors():
        if args.embeddings and not args.vocabulary:
            raise InputError('--embeddings: give the names, too, with --vocabulary')
        names = read_class_names(args.vocabulary) if args.vocabulary else None
        class_embeddings = embed(args, names) if names else None
        detector = args.export / ('open_detector.onnx' if names else 'detector.onnx')
        with npm_package(args.package) as package:
            write_web(args.out_dir, PAGE, detector, names, class_embeddings, package, args.examples)
    size = sum(path.stat().st_size for path in args.out_dir.rglob('*'))
    print(
        f'{args.out_dir}: {size / 2**20:.1f} MiB; this shows it:\n'
        f'python -m http.server --bind 127.0.0.1 --directory {args.out_dir}'
    )


if __name__ == '__main__':
    main()
