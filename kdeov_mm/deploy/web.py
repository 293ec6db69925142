"""Writing of a web page that detects in the browser with an exported detector and ONNX Runtime Web."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..utils.display import short_text
from ..utils.errors import InputError
from ..utils.files import read_file
from ..utils.json_files import parse_json
from .runtime import Runtime

PAGE = ('index.html', 'style.css', 'app.js', 'preprocess.js')
PACKAGE, VERSION = 'onnxruntime-web', '1.30.0'  # the tested version
# SHA-512 of the archive; "npm view onnxruntime-web@VERSION dist.integrity" prints it in base 64.
ARCHIVE_SHA512 = (
    'ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca'
    '590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61'
)
# The page's own build of ONNX Runtime Web (MIT licence), on the processor, without WebGPU: files and their SHA-256.
ONNXRUNTIME = {
    'ort.wasm.min.mjs': '219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b',
    'ort-wasm-simd-threaded.mjs': 'e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b',
    'ort-wasm-simd-threaded.wasm': '3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2',
}
MAX_ARCHIVE_BYTES = 128 * 2**20  # the archive of 1.30.0 has 32 MiB
RESIZES = ('letterbox', 'stretch')


def write_web(
    out_dir: Path,
    page: Path,
    detector: Path,
    names: Sequence[str] | None,
    class_embeddings: np.ndarray | None,
    onnxruntime: Path,
    examples: Sequence[str] = (),
) -> Path:
    """Write a folder that any web server can serve.

    Args:
        out_dir: Output folder; existing files are replaced.
        page: Folder of the page's source, ``docs/web``.
        detector: ONNX file of kind ``open_detector``, or of kind ``detector``, whose classes all compete while visitors
            choose which ones are shown.
        names: K class names that visitors can choose; None: those of the ``detector``.
        class_embeddings: Float32 ``[K, D]``; None for a ``detector``.
        onnxruntime: Unpacked npm package ``onnxruntime-web``, whose files must have the SHA-256 in ``ONNXRUNTIME``.
        examples: Class names that the page shows at first; default: the first three.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the detector is of another kind, the embeddings do not fit, an example is no class name, or the
            package has another version or content.
    """
    runtime = Runtime(detector)
    kind = 'detector' if names is None else 'open_detector'
    runtime.need(kind)
    if names is None:
        names = runtime.names or []
    else:
        class_embeddings = runtime.check_class_embeddings(names, class_embeddings)
    competes = runtime.competitors(names, ()).get('competes') if kind == 'open_detector' else None
    examples = list(examples or names[:3])
    unknown = [name for name in examples if name not in names]
    if unknown:
        raise ValueError(f'examples: {unknown} are not among the {len(names)} class names of the vocabulary')
    if runtime.preprocessing['resize'] not in RESIZES:
        raise ValueError(f'{detector}: the page cannot resize by {runtime.preprocessing["resize"]!r}')
    libraries = read_package(onnxruntime)
    sources = [page / name for name in PAGE]
    for path in sources:
        if not path.is_file():
            raise FileNotFoundError(f'no file {str(path)!r}')

    out_dir = Path(out_dir)
    for folder in (out_dir / 'model', out_dir / 'ort'):
        folder.mkdir(parents=True, exist_ok=True)
    for path in sources:
        shutil.copyfile(path, out_dir / path.name)
    for name, content in libraries.items():
        (out_dir / 'ort' / name).write_bytes(content)
    for earlier in ('detector.onnx', 'open_detector.onnx', 'texts.bin', 'competes.bin'):
        (out_dir / 'model' / earlier).unlink(missing_ok=True)
    shutil.copyfile(detector, out_dir / 'model' / f'{kind}.onnx')
    if class_embeddings is not None:
        class_embeddings.astype('<f4').tofile(out_dir / 'model' / 'texts.bin')
    if competes is not None:
        competes.astype(np.int8).tofile(out_dir / 'model' / 'competes.bin')
    about = dict(
        kind=kind,
        names=list(names),
        examples=examples,
        embed_dims=runtime.embed_dims,
        competitors=None if competes is None else competes.shape[1],
        preprocessing=runtime.preprocessing,
        threshold=runtime.threshold,
        size_bytes=Path(detector).stat().st_size,
        licence=runtime.metadata[kind].get('licence'),
    )
    (out_dir / 'model' / 'model.json').write_text(json.dumps(about, indent=1), encoding='utf-8')
    return out_dir


def read_package(folder: Path) -> dict[str, bytes]:
    """Read the files that the page needs from an unpacked npm package, and check their checksums.

    Args:
        folder: The package, with ``package.json`` and ``dist/``.

    Raises:
        FileNotFoundError: If the package or a file of it is missing.
        InputError: If the package or version is another, or a file differs from the published one.
    """
    folder = Path(folder)
    if not (folder / 'package.json').is_file():
        raise FileNotFoundError(
            f'{PACKAGE}: no file {str(folder / "package.json")!r}; run "npm install --ignore-scripts '
            f'{PACKAGE}@{VERSION}" and give node_modules/{PACKAGE}'
        )
    package = read_file(folder / 'package.json', 2**20, f'{PACKAGE}:')
    about = parse_json(package, f'{PACKAGE}: {folder / "package.json"}')
    if (about.get('name'), about.get('version')) != (PACKAGE, VERSION):
        raise InputError(
            f'{PACKAGE}: {folder} holds {short_text(about.get("name"))} {short_text(about.get("version"))}, but the '
            f'page needs version {VERSION}; run "npm install --ignore-scripts {PACKAGE}@{VERSION}"'
        )
    files = {'package.json': package}
    for name, expected in ONNXRUNTIME.items():
        path = folder / 'dist' / name
        files[name] = read_file(path, MAX_ARCHIVE_BYTES, f'{PACKAGE}:')
        check_digest(hashlib.sha256(files[name]), expected, path)
    return files


def check_digest(digest: 'hashlib._Hash', expected: str, path: Path) -> None:
    """Raise InputError unless a file's checksum is the expected one."""
    if digest.hexdigest() != expected:
        raise InputError(
            f'{PACKAGE}: {path} has the {digest.name.upper()} {digest.hexdigest()}, expected {expected}, that of '
            f'version {VERSION} in the npm registry; get it again with "npm pack {PACKAGE}@{VERSION}"'
        )


@contextmanager
def npm_package(source: Path | None = None) -> Iterator[Path]:
    """Provide the unpacked npm package ``onnxruntime-web``; an archive is only unpacked if its SHA-512 is known.

    Args:
        source: Folder of the package, or the .tgz of ``npm pack``; default: npm downloads it.

    Raises:
        FileNotFoundError: If there is no such file, or no npm.
        ValueError: If npm cannot download it, or the file is not the archive of this version.
    """
    if source is not None and Path(source).is_dir():
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(source) if source is not None else download(Path(folder))
        if not archive.exists():
            raise FileNotFoundError(f'{PACKAGE}: no file or folder {str(archive)!r}')
        content = read_file(archive, MAX_ARCHIVE_BYTES, f'{PACKAGE}:')
        check_digest(hashlib.sha512(content), ARCHIVE_SHA512, archive)
        with tarfile.open(fileobj=io.BytesIO(content)) as file:
            file.extractall(folder, filter='data')
        yield Path(folder) / 'package'


def download(folder: Path) -> Path:
    """Download the package's archive into a folder with npm, unchecked; for errors see :func:`npm_package`."""
    command = ['npm', 'pack', '--ignore-scripts', '--silent', f'{PACKAGE}@{VERSION}']
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
