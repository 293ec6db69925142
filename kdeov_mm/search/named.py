"""The files that an index names: only checked ONNX files are opened, since somebody else may have made the index."""

import hashlib
import os
from pathlib import Path
from typing import Optional

from kdeov_mm.deploy.onnx_file import read_onnx
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError
from .store import ImageStore


def image_encoder_file(store: ImageStore) -> str:
    """Return the path of the image encoder that an index names; see :func:`named_file`."""
    return named_file(store, store.model.path, store.model.sha256, 'image encoder', '--model')


def text_encoder_file(store: ImageStore) -> str:
    """Return the path of the text encoder that an index names; see :func:`named_file`."""
    return named_file(store, store.model.text, store.model.text_sha256, 'text encoder', '--text')


def named_file(store: ImageStore, path: Optional[str], sha256: Optional[str], what: str, option: str) -> str:
    """Return the path of a file that an index names, if it is the ONNX file that the index was made with.

    A relative path means a file inside the index. Nothing that an index names is ever executed: a config is refused.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the index names none, or one that is no ONNX file, lies outside although its path is relative,
            has no SHA-256 in the index or another one, or keeps tensors in other files.
    """
    index, fix = printable(store.folder), f'name the file yourself with {option} of "kdeov index query"'
    if path is None:
        raise InputError(f'index "{index}" names no {what}; {fix}')
    about = f'index "{index}" names the {what} "{printable(path)}"'
    if not path.endswith('.onnx'):
        raise InputError(f'{about}, but only an ONNX file (.onnx) is opened because an index names it; {fix}')
    if sha256 is None:
        raise InputError(f'{about} without its SHA-256, so it cannot be checked; {fix}, or build the index anew')
    found = path if os.path.isabs(path) else path_inside(store.folder, path)
    if found is None:
        raise InputError(f'{about}, a relative path that leads out of the index; {fix}')
    if not os.path.lexists(found):
        raise FileNotFoundError(f'{about}, which does not exist; {fix}')
    try:
        digest = hashlib.sha256(read_onnx(found)).hexdigest()
    except (ValueError, OSError) as error:
        raise InputError(f'{about}, which cannot be used ({error}); {fix}') from error
    if digest != sha256:
        raise InputError(f'{about} with SHA-256 {sha256[:12]}, but that file has {digest[:12]}; {fix}')
    return found


def path_inside(folder: str, path: str) -> Optional[str]:
    """Return where a relative path leads, or None if that is outside of the index, or the index is in no folder."""
    if '://' in folder or '\0' in path or '..' in Path(path).parts:
        return None
    base, found = os.path.realpath(folder), os.path.realpath(os.path.join(folder, path))
    return found if found.startswith(base + os.sep) else None
