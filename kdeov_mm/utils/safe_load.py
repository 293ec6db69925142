"""Reading of weights that others made: tensors and plain data come out, and nothing in a file is executed."""

import _compat_pickle
import codecs
import inspect
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

from kdeov_mm.compat import overlay

from .pickle_check import check_archive, check_content, without_configs

TORCH_LOAD, LOADING = torch.load, threading.RLock()


def checkpoint_globals() -> dict[str, Any]:
    """Return what a checkpoint of MMEngine's runner may name besides tensors: NumPy arrays and ``HistoryBuffer``.

    ``HistoryBuffer`` pickles its statistics as ``getattr(HistoryBuffer, 'mean')``; the ``getattr`` given here
    returns this class's public methods and nothing else.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    def history_method(target: type, name: str) -> Callable:
        method = vars(HistoryBuffer).get(name) if target is HistoryBuffer else None
        if name.startswith('_') or not inspect.isfunction(method):
            raise pickle.UnpicklingError(f'a checkpoint may not ask for attribute {name!r} of {target!r}')
        return method

    reconstruct, scalar = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
    allowed = {
        'builtins.getattr': history_method,
        '_codecs.encode': codecs.encode,  # encode: bytes in protocol 2
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    }
    for core in ('numpy.core', 'numpy._core'):  # the module's name before and after NumPy 2
        allowed[f'{core}.multiarray._reconstruct'] = reconstruct
        allowed[f'{core}.multiarray.scalar'] = scalar
    for name in ('bool', 'int32', 'int64', 'float32', 'float64'):
        dtype = type(np.dtype(name))
        allowed[f'{dtype.__module__}.{dtype.__qualname__}'] = dtype
    return allowed


def make_safe_pickle(allowed: dict[str, Any]) -> Any:
    """Build a ``pickle_module`` for ``torch.load`` that finds only ``allowed`` (full name: object)."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            try:
                return allowed[f'{module}.{name}']
            except KeyError:
                raise pickle.UnpicklingError(f'a checkpoint may not use {module}.{name}') from None

    return overlay(pickle, Unpickler=Unpickler, load=lambda file, **kwargs: Unpickler(file, **kwargs).load())


def load_arguments() -> dict[str, Any]:
    """Return arguments with which ``torch.load`` executes nothing, whatever the environment says.

    torch >= 2.6 has a loader for weights only. This function adds :func:`checkpoint_globals` to its allow-list. The
    allow-list of an older torch takes no names, so :func:`make_safe_pickle` replaces its pickle module.
    """
    allowed = checkpoint_globals()
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) >= (2, 6):
        torch.serialization.add_safe_globals([(value, name) for name, value in allowed.items()])
        return dict(weights_only=True)
    allowed.update(torch._weights_only_unpickler._get_allowed_globals())
    return dict(weights_only=False, pickle_module=make_safe_pickle(allowed))


def load(file: Any, map_location: Any = None, *, mmap: bool | None = None, **_: Any) -> Any:
    """Read what ``torch.save`` wrote, as ``torch.load`` does, but ignore arguments for unpickling.

    Raises:
        UnpicklingError, RuntimeError: If the file is damaged, or holds anything but tensors and plain data.
    """
    check_archive(file)
    with safe_load_patched():  # an older torch.load hands TorchScript archives to torch.jit.load
        content = TORCH_LOAD(file, map_location=map_location, **(dict(mmap=True) if mmap else {}), **load_arguments())
    check_content(content)
    return without_configs(content)


def refuse_script(file: Any, *_: Any, **__: Any) -> None:
    """Take the place of ``torch.jit.load``: a TorchScript archive is a program, which may run when it is loaded."""
    raise pickle.UnpicklingError(f'{file} is a TorchScript program; save its state_dict as .safetensors and give that')


@contextmanager
def safe_load_patched() -> Iterator[None]:
    """Replace ``torch.load`` by :func:`load` while libraries such as OpenCLIP and timm read weights.

    The versions of these libraries differ in how they call ``torch.load``. The replacement is process-wide: during the
    call another thread may be refused a file, but no thread loses a restriction.
    """
    with LOADING:
        before = torch.load, torch.jit.load
        torch.load, torch.jit.load = load, refuse_script
        try:
            yield
        finally:
            torch.load, torch.jit.load = before


def with_safe_load(function: Callable) -> Callable:
    """Wrap a function in :func:`safe_load_patched`."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with safe_load_patched():
            return function(*args, **kwargs)

    return wrapper


def secure_mmengine() -> None:
    """Make MMEngine load all checkpoints, files and downloads, through :func:`load`; ``import kdeov_mm`` calls this.

    The fork's loader, which falls back to ``weights_only=False``, is replaced.
    """
    from mmengine.runner import checkpoint

    load_arguments()  # a user's own torch.load(..., weights_only=True) reads our checkpoints, too
    checkpoint.torch = overlay(torch, load=load)
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = load
    checkpoint.load_url = with_safe_load(checkpoint.load_url)


def find_not_finite(tensors: dict[str, Any]) -> str | None:
    """Return the name of the first floating-point tensor with NaN or infinity, or None."""
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            return name
    return None
