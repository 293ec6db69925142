"""Turn a checkpoint of OpenCLIPDualEncoder into weights that OpenCLIP loads, in half precision.

    python tools/export_teacher.py work_dirs/shapes_teacher/epoch_24.pth kdeov-shapes-shapes.safetensors
"""
import argparse
import os

import torch
from safetensors.torch import save_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='a checkpoint that tools/train.py wrote')
    parser.add_argument('output', help='the .safetensors file to write')
    args = parser.parse_args()
    import kdeov_mm  # noqa: F401  (allows the checkpoint's types to be loaded safely)
    state = torch.load(args.checkpoint, map_location='cpu', weights_only=True)['state_dict']
    weights = {key[len('clip.'):]: value.half() if value.is_floating_point() else value
               for key, value in state.items() if key.startswith('clip.')}
    if not weights:
        raise SystemExit(
            f'checkpoint: {args.checkpoint!r} holds no "clip." weights; it must come from OpenCLIPDualEncoder')
    save_file({key: value.contiguous() for key, value in weights.items()}, args.output)
    os.chmod(args.output, 0o644)


if __name__ == '__main__':
    main()
