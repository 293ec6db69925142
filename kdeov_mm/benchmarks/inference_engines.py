"""The ways to run one network that a benchmark compares."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdeov_mm.deploy.runtime import open_session
from .cost import count_flops

Run = Callable[[Tensor], object]  # of a batch [B, 3, H, W] on the CPU


def eager(module: nn.Module, files: dict[str, Path], threads: int) -> Run:
    """PyTorch as it is, on the CPU."""
    return torch.inference_mode()(module)


def compiled(module: nn.Module, files: dict[str, Path], threads: int) -> Run:
    """``torch.compile``, on the CPU."""
    return torch.inference_mode()(torch.compile(module))


def ort(module: nn.Module, files: dict[str, Path], threads: int, kind: str = 'fp32') -> Run:
    """ONNX Runtime on the CPU."""
    session = open_session(files[kind], threads=threads)
    return lambda images: session.run(None, {'images': images.numpy()})


def openvino(module: nn.Module, files: dict[str, Path], threads: int, kind: str = 'fp32') -> Run:
    """OpenVINO on the CPU, from the ONNX file; what is not in eight bits is in float32."""
    import openvino as ov

    compiled_model = ov.compile_model(
        str(files[kind]),
        'CPU',
        dict(INFERENCE_PRECISION_HINT='f32', INFERENCE_NUM_THREADS=threads, PERFORMANCE_HINT='LATENCY'),
    )
    return lambda images: compiled_model(images.numpy())


def cuda(module: nn.Module, files: dict[str, Path], threads: int, dtype: torch.dtype = torch.float32) -> Run:
    """PyTorch as it is, on the GPU; the copy of the images there counts."""
    module = module.to('cuda', dtype)
    return torch.inference_mode()(lambda images: module(images.to('cuda', dtype)))


ENGINES: dict[str, Callable[..., Run]] = {
    'eager': eager,
    'compiled': compiled,
    'ort_fp32': ort,
    'ort_int8': functools.partial(ort, kind='ort_int8'),
    'openvino': openvino,
    'openvino_int8': functools.partial(openvino, kind='openvino_int8'),
    'cuda': cuda,
}

PEAK = """
import resource, sys
import numpy as np
import onnxruntime
if sys.argv[1] != "none":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = int(sys.argv[3]), 3
    session = onnxruntime.InferenceSession(sys.argv[1], options, ["CPUExecutionProvider"])
    side = int(sys.argv[2])
    for _ in range(3):
        session.run(None, {"images": np.zeros((1, 3, side, side), np.float32)})
try:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(int(status["VmHWM"].split()[0]) * 1024)
except FileNotFoundError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""  # On Linux, what getrusage says of a process begins with its parent's


def peak_memory(path: Path, size: int, threads: int) -> float:
    """MiB that a fresh process of ONNX Runtime needs at most for one image, beyond one that runs nothing."""
    command = [sys.executable, '-I', '-c', PEAK]  # isolated: modules in the current directory are not found
    used, base = (
        int(
            subprocess.run(
                [*command, which, str(size), str(threads)], check=True, capture_output=True, text=True
            ).stdout
        )
        for which in (str(path), 'none')
    )
    return (used - base) / 2**20


def complexity(module: nn.Module, size: int) -> tuple[int, int]:
    """Parameters (folded norms are none), and multiply-accumulates of one image, see :func:`count_flops`."""
    return (
        sum(parameter.numel() for parameter in module.parameters()),
        count_flops(module, torch.zeros(1, 3, size, size)),
    )


def random_images(batch: int, size: int) -> Tensor:
    """Seeded noise, ``[batch, 3, size, size]`` in [0, 1]."""
    return torch.from_numpy(np.random.default_rng(0).random((batch, 3, size, size), dtype=np.float32))
