"""The one place that knows about versions of other packages; one function a problem.

Works on torch 2.1 or newer with mmcv-lite or a real mmcv 2.0.1 to 2.1.0 and OpenMMLab's official releases,
and on their maintained fork (``onedl-mmengine``, ``onedl-mmcv``, ``onedl-mmdetection``).
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from functools import partial
from importlib import metadata
from typing import Any

REQUIRED = dict(  # import name: what to install
    torch='torch',
    torchvision='torchvision',
    cv2='opencv-python',
    mmengine='mmengine',
    mmcv='mmcv-lite==2.1.0',
    mmdet='mmdet',
    mmyolo='mmyolo',
    open_clip='open_clip_torch',
    safetensors='safetensors',
    lvis='lvis',
)
MMCV_DISTRIBUTIONS = ('mmcv', 'mmcv-lite', 'mmcv-full', 'onedl-mmcv')


class StackError(ImportError):
    """The installed packages cannot work together; the message names them and what to install."""


def check_packages() -> None:
    """Raise :class:`StackError` if a required package is missing."""
    missing = [package for name, package in REQUIRED.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise StackError(f'missing packages: {", ".join(missing)}; run "pip install {" ".join(missing)}"')


def check_torch() -> None:
    """Raise :class:`StackError` if torch is older than 2.1 or torchvision was built for another torch."""
    import torch

    version = torch.__version__
    if tuple(int(part) for part in version.split('.')[:2]) < (2, 1):
        raise StackError(
            f'torch {version} is too old: kdeov_mm needs 2.1 or newer; run "pip install -U torch torchvision"'
        )
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError) as error:
        raise StackError(
            f'torch {version} and torchvision {metadata.version("torchvision")} are different builds '
            f'({error}); reinstall both from one index: "pip install --force-reinstall torch torchvision"'
        ) from None


def check_opencv() -> None:
    """Raise :class:`StackError` if OpenCV's desktop build lacks a system library, as on a bare server."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise StackError(
            f'OpenCV does not load ({error}); run "pip install --force-reinstall --no-deps opencv-python-headless"'
        ) from None


def check_mmcv() -> None:
    """Raise :class:`StackError` if mmcv's version is not supported, or two of its distributions are mixed."""
    installed = {}
    for name in MMCV_DISTRIBUTIONS:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    if len(set(installed.values())) > 1:
        listed = ' and '.join(f'{name} {version}' for name, version in installed.items())
        raise StackError(f'{listed} overwrite each other; uninstall all of them, then "pip install mmcv-lite==2.1.0"')
    import mmcv
    from mmengine.utils import digit_version

    fork = 'onedl-mmcv' in installed
    if not fork and not digit_version('2.0.1') <= digit_version(mmcv.__version__) <= digit_version('2.1.0'):
        raise StackError(
            f'mmcv {mmcv.__version__} is not supported: kdeov_mm needs mmcv or mmcv-lite 2.0.1 to 2.1.0, or '
            'onedl-mmcv; run "pip install mmcv-lite==2.1.0" after removing it'
        )


def provide_mmcv_ops() -> None:
    """Stand in for ``mmcv._ext``, which mmcv-lite lacks, with torchvision's ``nms``.

    The stand-in's spec has no loader, so MMEngine's ``mmcv_full_available()`` stays False (the fork's says
    True, at no harm: ``mmcv.ops`` imports). A real mmcv wins.
    """
    import mmcv

    if 'mmcv._ext' in sys.modules:
        return
    if importlib.util.find_spec('mmcv._ext') is not None:
        try:
            importlib.import_module('mmcv._ext')
        except ImportError as error:
            raise StackError(
                f'mmcv {mmcv.__version__} was compiled for another torch ({error}); '
                'run "pip uninstall mmcv", then "pip install mmcv-lite==2.1.0"'
            ) from None
        return
    from torchvision.ops import nms as torchvision_nms

    def nms(boxes, scores, iou_threshold, offset=0):
        if offset:
            raise NotImplementedError(f'nms(offset={offset}) needs a full mmcv; use offset=0')
        return torchvision_nms(boxes, scores, iou_threshold)

    def missing(name):
        if name.startswith('__'):
            raise AttributeError(name)

        def op(*args, **kwargs):
            raise NotImplementedError(f'mmcv op "{name}" is not in mmcv-lite; install a full mmcv to use it')

        return op

    ext = types.ModuleType('mmcv._ext')
    ext.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', loader=None)
    ext.__getattr__ = missing
    ext.nms = nms
    sys.modules['mmcv._ext'] = ext
    mmcv._ext = ext


def import_mmyolo() -> None:
    """Import MMDetection and MMYOLO, whose version asserts know no mmcv after 2.0; it works up to 2.1.0."""
    import mmcv

    version = mmcv.__version__
    mmcv.__version__ = '2.0.1'
    try:
        for name in ('mmdet', 'mmyolo', 'mmyolo.models', 'mmyolo.datasets', 'mmyolo.engine'):
            importlib.import_module(name)
    except AssertionError as error:
        raise StackError(f'versions of OpenMMLab packages do not match: {error}') from None
    finally:
        mmcv.__version__ = version


def overlay(module: types.ModuleType, **names: Any) -> types.ModuleType:
    """Return a view of ``module`` with ``names`` replaced; the module itself is unchanged."""
    view = types.ModuleType(module.__name__, module.__doc__)
    view.__getattr__ = partial(getattr, module)
    vars(view).update(names)
    return view


def restore_lvis_float() -> None:
    """Give lvis 0.5.3 the ``np.float`` that NumPy 1.24 removed, in its own module only."""
    import lvis.eval  # noqa: F401

    module = sys.modules['lvis.eval']
    module.np = overlay(module.np, float=float)


def skip_albu() -> None:
    """Let MMYOLO's base configs build without albumentations: ``mmdet.Albu`` warns and changes nothing."""
    if importlib.util.find_spec('albumentations') is not None:
        return
    from mmcv.transforms import BaseTransform
    from mmdet.registry import TRANSFORMS

    class Albu(BaseTransform):
        """Stand-in for ``mmdet.Albu`` that returns its input."""

        def __init__(self, transforms: list, **kwargs) -> None:
            names = ', '.join(transform['type'] for transform in transforms)
            warnings.warn(
                f'mmdet.Albu is skipped ({names}): albumentations is not installed; '
                'run "pip install albumentations" to have it'
            )

        def transform(self, results: dict) -> dict:
            return results

    TRANSFORMS.register_module(name='Albu', module=Albu, force=True)


def quiet_meshgrid() -> None:
    """Leave out torch's warning that ``indexing`` will be required; MMDetection's anchors mean today's default."""
    warnings.filterwarnings('ignore', message=r'torch\.meshgrid: in an upcoming release', category=UserWarning)


def apply() -> None:
    """Make the installed stack work; called once by ``import kdeov_mm``.

    Raises:
        StackError: In one line, what cannot work and how to repair it.
    """
    check_packages()
    check_torch()
    check_opencv()
    check_mmcv()
    provide_mmcv_ops()
    import_mmyolo()
    restore_lvis_float()
    skip_albu()
    quiet_meshgrid()
