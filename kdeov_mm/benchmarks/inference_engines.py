"""The inference engines that a benchmark compares, and the memory and operations of a network."""

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
    """Run a network in eager PyTorch on the CPU."""
    return torch.inference_mode()(module)


def compiled(module: nn.Module, files: dict[str, Path], threads: int) -> Run:
    """Run a network with ``torch.compile`` on the CPU."""
    return torch.inference_mode()(torch.compile(module))


def ort(module: nn.Module, files: dict[str, Path], threads: int, kind: str = 'fp32') -> Run:
    """Run the ONNX file of a kind in ONNX Runtime on the CPU."""
    session = open_session(files[kind], threads=threads)
    return lambda images: session.run(None, {'images': images.numpy()})


def openvino(module: nn.Module, files: dict[str, Path], threads: int, kind: str = 'fp32') -> Run:
    """Run the ONNX file of a kind in OpenVINO on the CPU; layers that are not INT8 compute in float32."""
    import openvino as ov

    compiled_model = ov.compile_model(
        str(files[kind]),
        'CPU',
        dict(INFERENCE_PRECISION_HINT='f32', INFERENCE_NUM_THREADS=threads, PERFORMANCE_HINT='LATENCY'),
    )
    return lambda images: compiled_model(images.numpy())


def cuda(module: nn.Module, files: dict[str, Path], threads: int, dtype: torch.dtype = torch.float32) -> Run:
    """Run a network in eager PyTorch on the GPU; the time includes copying the images to the GPU."""
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
    """Return the peak memory in MiB of an ONNX Runtime process for one image, beyond that of a process without one."""
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
    """Return the number of parameters, without folded norms, and of multiply-accumulates of one image."""
    return (
        sum(parameter.numel() for parameter in module.parameters()),
        count_flops(module, torch.zeros(1, 3, size, size)),
    )


def random_images(batch: int, size: int) -> Tensor:
    """Return seeded noise, ``[batch, 3, size, size]`` in [0, 1]."""
    return torch.from_numpy(np.random.default_rng(0).random((batch, 3, size, size), dtype=np.float32))
