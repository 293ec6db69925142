"""How ``import kdeov_mm`` makes this package a plugin of MMYOLO, without importing PyTorch or OpenMMLab itself.

Whatever needs this package's registered classes imports PyTorch or OpenMMLab first, or has imported them already. At
that moment the installed stack is made to work (``compat``), and MMYOLO's registries learn where the classes are;
MMEngine imports them when it looks a class up.
"""

import importlib
import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmyolo')  # each is imported whole by prepare()
REGISTERED = 'kdeov_mm.registered'


class FirstImport(Loader):
    """Calls :func:`prepare` before the first of ``PACKAGES`` is imported; a finder and loader.

    ``docs/design.md`` weighs the alternatives, under "What import kdeov_mm does".
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find one of the packages as the other finders do, and name this object as its loader."""
        if name not in PACKAGES:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec is not None:
            spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Prepare everything, which imports the package, and return the package."""
        sys.meta_path.remove(self)
        try:
            prepare()
        except BaseException:
            sys.meta_path.insert(0, self)  # the next import says the same
            raise
        module = importlib.import_module(spec.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute nothing: the package is imported already. Give it back its own spec."""
        module.__spec__ = self.spec


def prepare() -> None:
    """Make the installed stack work, secure its loading of checkpoints, and tell MMYOLO's registries of our classes.

    Raises:
        StackError: If the installed packages cannot work together.
    """
    from . import compat

    compat.apply()

    from .utils.safe_load import secure_mmengine

    secure_mmengine()
    from mmengine.registry import Registry
    from mmyolo import registry

    from .utils import checkpoint  # noqa: F401  teaches MMEngine to load safetensors

    for each in vars(registry).values():
        if isinstance(each, Registry) and each.scope == 'mmyolo':
            each._locations = [*each._locations, REGISTERED]
            each._imported = False  # MMEngine looks at all locations again, which imports only this one


def prepare_when_needed() -> None:
    """Call :func:`prepare` now if PyTorch or OpenMMLab has been imported, else when it first is."""
    if any(name in sys.modules for name in PACKAGES):
        prepare()
    elif not any(isinstance(finder, FirstImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, FirstImport())
