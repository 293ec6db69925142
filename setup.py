"""Installation: ``pip install -e .`` or ``mim install --no-deps .``."""

import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Each is requirements/{name}.txt.
EXTRAS = ('tests', 'webdataset', 'huggingface', 'deploy', 'search', 'distributed', 'api', 'demo', 'heif')
MIM_FILES = ('configs', 'tools', 'model-index.yml', 'docs/web')  # for OpenMIM and for tools/, in kdeov_mm/.mim


def requirements(name: str) -> list:
    """The requirements in ``requirements/{name}.txt`` and in the files that it names with ``-r``, without comments."""
    found = []
    for line in map(str.strip, (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()):
        if line.startswith('-r '):
            found += requirements(Path(line[3:]).stem)
        elif line and not line.startswith('#'):
            found.append(line)
    return found


def version() -> str:
    scope = {}
    exec((ROOT / 'kdeov_mm' / 'version.py').read_text(), scope)
    return scope['__version__']


class BuildWithMim(build_py):
    """Carry configs and tools as ``kdeov_mm/.mim``: copied into a wheel, linked if editable."""

    def run(self) -> None:
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib).resolve()
        mim = package / 'kdeov_mm' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        for name in MIM_FILES:
            source, target = ROOT / name, mim / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.editable_mode:
                target.symlink_to(os.path.relpath(source, target.parent))
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(source, target)


readme = ROOT / 'README.md'
setup(
    name='kdeov_mm',
    version=version(),
    description='CLIP distillation for zero-shot classification, retrieval and open-vocabulary detection on MMYOLO',
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    license='GPL-3.0-only',
    classifiers=[
        'Programming Language :: Python :: 3',
        'Operating System :: POSIX',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    keywords='computer vision, open-vocabulary detection, knowledge distillation, CLIP, YOLO',
    packages=find_packages(include=('kdeov_mm', 'kdeov_mm.*')),
    package_data={'kdeov_mm': ['py.typed', '**/*.json', '**/*.safetensors', '**/*.txt']},
    entry_points=dict(console_scripts=['kdeov = kdeov_mm.cli:main']),
    python_requires='>=3.10',
    install_requires=requirements('mminstall') + requirements('runtime'),
    extras_require=dict({name: requirements(name) for name in EXTRAS}, faster=['faster-coco-eval']),
    cmdclass=dict(build_py=BuildWithMim),
    zip_safe=False,
)
