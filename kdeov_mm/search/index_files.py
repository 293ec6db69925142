"""The model files that an index names. Only checked ONNX files are opened: the index may come from somebody else."""

import hashlib
import os
from pathlib import Path

from kdeov_mm.deploy.onnx_file import read_onnx
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError
from .store import ImageStore


def image_encoder_file(store: ImageStore) -> str:
    """Return the path of the image encoder that an index names; see :func:`named_file`."""
    fix = 'give the file with "kdeov index query --model FILE" or "kdeov index add --model FILE"'
    return named_file(store, store.model.path, store.model.sha256, 'image encoder', fix)


def text_encoder_file(store: ImageStore) -> str:
    """Return the path of the text encoder that an index names; see :func:`named_file`."""
    fix = 'give the file with "kdeov index query --text FILE"'
    return named_file(store, store.model.text, store.model.text_sha256, 'text encoder', fix)


def named_file(store: ImageStore, path: str | None, sha256: str | None, what: str, fix: str) -> str:
    """Return the path of a file that an index names, if it is the ONNX file that the index was made with.

    A relative path means a file inside the index. Nothing that an index names is ever executed: a config is refused.
    The path is checked here and opened again by the caller, who needs a folder that strangers cannot write.

    Args:
        store: The index.
        path: The path that the index names.
        sha256: The checksum that the index stores.
        what: What the file is, for messages.
        fix: What the user can do, for messages.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the index names no file, or the file is not ONNX, has a relative path that leaves the index, does
            not match the stored SHA-256, or keeps tensors in other files.
    """
    index = printable(store.folder)
    if path is None:
        raise InputError(f'index "{index}" names no {what}; {fix}')
    about = f'index "{index}" names the {what} "{printable(path)}"'
    if not path.endswith('.onnx'):
        raise InputError(f'{about}, but from an index only ONNX files (.onnx) are opened; {fix}')
    if sha256 is None:
        raise InputError(f'{about} without its SHA-256, so it cannot be checked; {fix}, or rebuild the index')
    if not os.path.isabs(path) and '://' in store.folder:
        raise InputError(f'{about}, a relative path, but no files are opened in an object store; {fix}')
    file = path if os.path.isabs(path) else path_inside(store.folder, path)
    if file is None:
        raise InputError(f'{about}, a relative path that leaves the index; {fix}')
    if not os.path.lexists(file):
        raise FileNotFoundError(f'{about}, which does not exist; {fix}')
    try:
        digest = hashlib.sha256(read_onnx(file)).hexdigest()
    except (ValueError, OSError) as error:
        raise InputError(f'{about}, which cannot be used ({error}); {fix}') from error
    if digest != sha256:
        raise InputError(f'{about} with SHA-256 {sha256[:12]}, but that file has {digest[:12]}; {fix}')
    return file


def path_inside(folder: str, path: str) -> str | None:
    """Return the real path of a relative path in a local index, or None if it leaves the index."""
    if '\0' in path or '..' in Path(path).parts:
        return None
    base, target = os.path.realpath(folder), os.path.realpath(os.path.join(folder, path))
    return target if target.startswith(base + os.sep) else None
