"""Write the weights of a checkpoint as safetensors, in half precision.

    python tools/model_converters/export_weights.py work_dirs/kdeov_yolov8n kdeov_yolov8n.safetensors
    python tools/model_converters/export_weights.py work_dirs/shapes_teacher_stage3 \\
        kdeov-shapes-shapes.safetensors --prefix clip.

The first is read by every tool in the place of a checkpoint, the second by OpenCLIP.
"""

import argparse
from pathlib import Path

import kdeov_mm  # noqa: F401  allows the checkpoint's types to be loaded safely
from kdeov_mm.utils import export_weights, interruptible, resolve_checkpoint, user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='checkpoint file, or a work dir, whose last complete one is taken')
    parser.add_argument('output', help='the .safetensors file to write')
    parser.add_argument('--prefix', default='', help='take only the tensors whose names begin so, and cut it off')
    return parser.parse_args()


@interruptible()
def main() -> None:
    args = parse_args()
    with user_errors():
        number = export_weights(resolve_checkpoint(args.checkpoint), args.output, args.prefix)
    print(f'{number:,} numbers, {Path(args.output).stat().st_size / 1e6:.1f} MB: {args.output}')


if __name__ == '__main__':
    main()
