"""A folder that detects in the browser: a page, an exported detector, the embeddings of names, ONNX Runtime Web."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence

import numpy as np

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES, read_json

from .runtime import Runtime

PAGE = ('index.html', 'style.css', 'app.js', 'preprocess.js')
PACKAGE, VERSION = 'onnxruntime-web', '1.30.0'  # what the page is tested with
# The page's own build of ONNX Runtime Web (MIT licence): on the processor, without WebGPU
ONNXRUNTIME = ('ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm')


def write_web(
    out_dir: Path,
    page: Path,
    detector: Path,
    names: Optional[Sequence[str]],
    texts: Optional[np.ndarray],
    onnxruntime: Path,
    examples: Sequence[str] = (),
) -> Path:
    """Put a folder together that any web server can serve as it is.

    Args:
        out_dir: The folder; files of an earlier one are replaced.
        page: Folder of the page's source, ``docs/web``.
        detector: ONNX file of kind ``open_detector``; or of kind ``detector``, whose names always compete all, and
            visitors choose which are shown.
        names: K names that visitors can ask for; None: those of the ``detector``.
        texts: Their embeddings, float32 ``[K, D]``; None for a ``detector``.
        onnxruntime: Unpacked npm package ``onnxruntime-web``.
        examples: Names that stand in the page when it opens; default: the first three.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The detector is of another kind, the embeddings do not fit, an example is not among the names, or
            the package has another version.
    """
    runtime = Runtime(detector)
    kind = 'detector' if names is None else 'open_detector'
    runtime.need(kind)
    if names is None:
        names = runtime.names or []
    else:
        texts = runtime.check_texts(names, texts)
    examples = list(examples or names[:3])
    strange = [name for name in examples if name not in names]
    if strange:
        raise ValueError(f'examples: {strange} are not among the {len(names)} names of the vocabulary')
    check_package(onnxruntime)
    sources = [page / name for name in PAGE]
    libraries = [onnxruntime / 'dist' / name for name in ONNXRUNTIME]
    for path in (*sources, *libraries):
        if not path.is_file():
            raise FileNotFoundError(f'no file {str(path)!r}')

    out_dir = Path(out_dir)
    for folder in (out_dir / 'model', out_dir / 'ort'):
        folder.mkdir(parents=True, exist_ok=True)
    for path in sources:
        shutil.copyfile(path, out_dir / path.name)
    for path in (*libraries, onnxruntime / 'package.json'):
        shutil.copyfile(path, out_dir / 'ort' / path.name)
    for earlier in ('detector.onnx', 'open_detector.onnx', 'texts.bin'):
        (out_dir / 'model' / earlier).unlink(missing_ok=True)
    shutil.copyfile(detector, out_dir / 'model' / f'{kind}.onnx')
    if texts is not None:
        texts.astype('<f4').tofile(out_dir / 'model' / 'texts.bin')
    about = dict(
        kind=kind,
        names=list(names),
        examples=examples,
        embed_dims=runtime.embed_dims,
        preprocessing=runtime.preprocessing,
        size_bytes=Path(detector).stat().st_size,
        licence=runtime.metadata[kind].get('licence'),
    )
    (out_dir / 'model' / 'model.json').write_text(json.dumps(about, indent=1), encoding='utf-8')
    return out_dir


def check_package(folder: Path) -> None:
    """Check that a folder holds the npm package in the version that the page is tested with.

    Raises:
        FileNotFoundError: It holds no package.
        ValueError: It is another package, or another version.
    """
    if not (folder / 'package.json').is_file():
        raise FileNotFoundError(
            f'{PACKAGE}: no file {str(folder / "package.json")!r}; run "npm install '
            f'{PACKAGE}@{VERSION}" and give node_modules/{PACKAGE}'
        )
    about = read_json(folder / 'package.json', max_bytes=MAX_METADATA_BYTES, what=f'{PACKAGE}:')
    found = printable(f'{about.get("name")} {about.get("version")}')
    if (about.get('name'), about.get('version')) != (PACKAGE, VERSION):
        raise ValueError(
            f'{PACKAGE}: {folder} holds {found[:100]}, but the page needs '
            f'version {VERSION}; run "npm install {PACKAGE}@{VERSION}"'
        )


@contextmanager
def npm_package(source: Optional[Path] = None) -> Iterator[Path]:
    """The unpacked npm package ``onnxruntime-web``.

    Args:
        source: Its folder, or the .tgz that ``npm pack`` wrote; default: npm gets it from its registry.

    Raises:
        FileNotFoundError: There is no such file, or no npm.
        ValueError: npm cannot get it, or the file is no such archive.
    """
    if source is not None and Path(source).is_dir():
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(source) if source is not None else download(Path(folder))
        if not archive.is_file():
            raise FileNotFoundError(f'{PACKAGE}: no file or folder {str(archive)!r}')
        try:
            with tarfile.open(archive) as file:
                file.extractall(folder, filter='data')
        except tarfile.TarError as error:
            raise ValueError(f'{PACKAGE}: {archive} is no archive of npm: {error}') from error
        yield Path(folder) / 'package'


def download(folder: Path) -> Path:
    """Have npm write the package's archive into a folder; for errors see :func:`npm_package`."""
    command = ['npm', 'pack', '--silent', f'{PACKAGE}@{VERSION}']
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{PACKAGE}: no npm here; get {PACKAGE} {VERSION} elsewhere and give its folder or .tgz'
        ) from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise ValueError(
            f'{PACKAGE}: "{" ".join(command)}" failed: {str(error.stderr or error)[-300:]}; get it '
            'elsewhere and give its folder or .tgz'
        ) from error
    return next(folder.glob('*.tgz'))
