"""Inputs that count as images: files, folders, globs, videos, cameras, and pixels of Pillow, NumPy or PyTorch."""

import glob
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from PIL import Image

from kdeov_mm.utils.display import is_surrogate, printable
from kdeov_mm.utils.errors import InputError, one_line
from kdeov_mm.utils.files import check_regular, open_regular, walk_files
from kdeov_mm.utils.image_files import (
    SUFFIXES,
    BrokenImageError,
    check_depth,
    find_image_files,
    image_defect,
    read_image_file,
)
from kdeov_mm.utils.images import to_rgb

if TYPE_CHECKING:  # OpenCV and PyTorch are imported on first use
    import cv2
    import torch

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
CHANNEL_ORDERS = ('rgb', 'bgr')
ENDLESS = math.inf  # the length of a camera's stream


@dataclass(eq=False)
class InputImage:
    r"""Holds one image by its file or its pixels.

    Attributes:
        name: The file's path, ``clip.mp4#12`` for frame 12 (from 0) of a video, ``image 3`` for pixels. Bytes that are
            not UTF-8 become escapes such as ``\udcff``, as JSON needs.
        path: The file, or None.
        pixels: uint8 RGB ``[H, W, 3]``, or None for a file, which is read on demand.
    """

    name: str
    path: str | None = None
    pixels: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.name = self.name.encode(errors='backslashreplace').decode()

    def read(self) -> np.ndarray:
        """Return the pixels, rotated according to the file's EXIF data; uint8 RGB ``[H, W, 3]``.

        Raises:
            BrokenImageError: If the file is damaged, too large, special or no image. It is a ValueError and names
                the file.
        """
        if self.pixels is not None:
            return self.pixels
        name = printable(str(self.path))
        try:
            content = read_image_file(str(self.path))
        except (OSError, InputError) as error:
            raise BrokenImageError(f'image {name}: {one_line(error)}') from error
        defect = image_defect(content)
        if defect:
            raise BrokenImageError(f'image {name}: {defect}')
        from kdeov_mm.utils.decode import decode_image

        try:
            return np.ascontiguousarray(decode_image(content)[0][..., ::-1])
        except BrokenImageError as error:
            raise BrokenImageError(f'image {name}: {error}') from error


Opened = tuple[Iterator[InputImage], float | None]


def is_image_file(path: str) -> bool:
    """Return whether a file has the suffix of an image."""
    return path.lower().endswith(SUFFIXES)


def no_image_in(folder: str) -> InputError:
    """Return the error of a folder without images."""
    return InputError(f'images: no file below "{printable(folder)}" ends with {", ".join(SUFFIXES)}')


def find_images(paths: Sequence[str]) -> list[str]:
    """List the image files among files and in folders (recursively), in order.

    Raises:
        FileNotFoundError: If a path does not exist.
        InputError: If a path is a special file, such as a FIFO or a device, or a folder has no file with the suffix of
            an image.
    """
    files: list[str] = []
    for path in map(str, map(Path, paths)):
        name = printable(path)
        if os.path.isdir(path):
            inside = find_image_files(path)
            if not inside:
                raise no_image_in(path)
            files += inside
        elif os.path.exists(path):
            check_regular(os.stat(path), name, sys.maxsize, 'image')
            files.append(path)
        else:
            raise FileNotFoundError(f'images: no file or folder "{name}"')
    return list(dict.fromkeys(files))


def check_paths(paths: Sequence[str | int]) -> None:
    """Check that paths exist, without opening them; indices of cameras are not checked.

    Raises:
        FileNotFoundError: If a file or folder does not exist, or a glob matches nothing.
        ValueError: If a path is a URL or a folder without images.
    """
    for path in paths:
        if isinstance(path, int) or os.path.exists(path):
            if isinstance(path, str) and os.path.isdir(path) and not any(map(is_image_file, walk_files(path))):
                raise no_image_in(path)
            continue
        check_address(path)
        if not glob.has_magic(path):
            raise FileNotFoundError(f'images: no file or folder "{printable(path)}"')
        if next(glob.iglob(path, recursive=True), None) is None:
            raise FileNotFoundError(f'images: no file matches {path!r}')


def check_address(path: str) -> None:
    """Raise ValueError if a path is a URL."""
    if '://' in path:
        raise ValueError(
            f'images: {printable(path)} is a URL, and nothing is downloaded; download the file and give its path'
        )


def open_images(images: Any, channel_order: str = 'rgb') -> Opened:
    """Open all kinds of images; files are listed now and read later.

    Args:
        images: A path of an image, a folder (recursively), a glob or a video; the index of a camera; a
            Pillow image; a NumPy array uint8 ``[H, W, 3]``, grey ``[H, W]`` or ``[N, H, W, 3]``; a tensor
            ``[3, H, W]`` or ``[N, 3, H, W]`` in RGB, uint8 or floating-point in [0, 1]; or any iterable of these.
        channel_order: Channel order of NumPy arrays, ``rgb`` or ``bgr``.

    Returns:
        tuple: An iterator over :class:`InputImage`, and their count: None if unknown, as for a generator, and
        infinity for a camera.

    Raises:
        FileNotFoundError: If a file or folder does not exist, or a glob matches nothing.
        ValueError: If a path is a URL or a folder without images, a video or camera does not open, or pixels have a
            wrong shape, type or range.
        TypeError: If the input is of another type.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f"channel_order: must be 'rgb' or 'bgr', got {channel_order!r}")
    opened, count = open_part(images, channel_order)
    return with_names(opened), count


def with_names(images: Iterator[InputImage]) -> Iterator[InputImage]:
    """Give images without a name their index as name."""
    for index, image in enumerate(images):
        image.name = image.name or f'image {index}'
        yield image


def open_part(images: Any, channel_order: str) -> Opened:
    """Open one input of :func:`open_images`; images in memory have no name yet."""
    if isinstance(images, (str, Path)):
        return open_path(str(images))
    if isinstance(images, int) and not isinstance(images, bool):
        return read_video(images, f'camera {images}'), ENDLESS
    if isinstance(images, InputImage):
        return iter([images]), 1
    if isinstance(images, (Image.Image, np.ndarray)) or is_tensor(images):
        pixels = to_pixels(images, channel_order)
        return (InputImage('', pixels=each) for each in pixels), len(pixels)
    if isinstance(images, (list, tuple)):
        parts = [open_part(item, channel_order) for item in images]
        known = [count for _, count in parts if count is not None]
        return chain.from_iterable(part for part, _ in parts), sum(known) if len(known) == len(parts) else None
    if isinstance(images, Iterable) and not isinstance(images, (bytes, dict)):
        return chain.from_iterable(open_part(item, channel_order)[0] for item in images), None
    raise TypeError(
        "images: expected a path, a camera's index, a Pillow image, an array, a tensor, or an iterable "
        f'of these, got {type(images).__name__}'
    )


def open_path(path: str) -> Opened:
    """Open a file, a folder, a glob or a video; for the errors see :func:`open_images`."""
    check_address(path)
    if Path(path).suffix.lower() in VIDEO_SUFFIXES and Path(path).is_file():
        import cv2

        video = open_video(path)
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        video.release()
        return read_video(path, path), count if count > 0 else None
    paths = [path]
    if glob.has_magic(path) and not Path(path).exists():
        paths = sorted(glob.glob(path, recursive=True))
        if not paths:
            raise FileNotFoundError(f'images: no file matches {path!r}')
        if any(Path(each).suffix.lower() in VIDEO_SUFFIXES for each in paths):
            parts = [open_path(each) for each in paths]
            return chain.from_iterable(part for part, _ in parts), None
    files = find_images(paths)
    return (InputImage(file, path=file) for file in files), len(files)


def read_video(source: str | int, name: str) -> Iterator[InputImage]:
    """Read the frames of a video or a camera, which is opened at once and closed at the end.

    Raises:
        ValueError: If the video or camera does not open.
    """
    capture = open_video(source)
    if not capture.isOpened():
        raise ValueError(
            f'images: {printable(name)} cannot be opened as a video; check its format, or whether the camera is in use'
        )
    return frames(capture, name)


def open_video(source: str | int) -> 'cv2.VideoCapture':
    """Open a video or a camera with OpenCV, which crashes at a name that is not UTF-8."""
    import cv2

    if isinstance(source, int) or not any(map(is_surrogate, source)):
        return cv2.VideoCapture(source)
    with open_regular(source, sys.maxsize, 'video') as file:
        return cv2.VideoCapture(f'/dev/fd/{file.fileno()}')


def frames(capture: 'cv2.VideoCapture', name: str) -> Iterator[InputImage]:
    """Yield the frames of an opened video."""
    index = 0
    try:
        while True:
            success, frame = capture.read()
            if not success:
                return
            yield InputImage(f'{name}#{index}', pixels=np.ascontiguousarray(frame[..., ::-1]))
            index += 1
    finally:
        capture.release()


def is_tensor(value: Any) -> bool:
    """Return whether a value is a PyTorch tensor, without importing PyTorch."""
    torch = sys.modules.get('torch')
    return torch is not None and isinstance(value, torch.Tensor)


def to_pixels(image: Union[Image.Image, np.ndarray, 'torch.Tensor'], channel_order: str) -> list[np.ndarray]:
    """Convert pixels in memory to arrays uint8 RGB ``[H, W, 3]``.

    Raises:
        ValueError: If the shape, type or range is wrong.
    """
    if isinstance(image, Image.Image):
        check_depth(image)
        return [np.asarray(to_rgb(image))]
    shape = list(image.shape)
    if is_tensor(image):
        import torch

        if len(shape) not in (3, 4) or shape[-3] != 3 or not image.numel():
            raise ValueError(f'images: a tensor must be [3, H, W] or [N, 3, H, W] in RGB, got {shape}')
        image = image.detach().cpu()
        if image.is_floating_point():
            if not bool(((image >= 0) & (image <= 1)).all()):  # also NaN
                raise ValueError(
                    'images: a floating-point tensor must be in [0, 1], got values from '
                    f'{float(image.min()):.3g} to {float(image.max()):.3g}; divide by 255?'
                )
            image = (image * 255).round().to(torch.uint8)
        elif image.dtype != torch.uint8:
            raise ValueError(f'images: a tensor must be uint8, or floating-point in [0, 1], got {image.dtype}')
        arrays = image.reshape(-1, *shape[-3:]).permute(0, 2, 3, 1).contiguous().numpy()
        return list(arrays)
    if image.dtype != np.uint8 or not image.size or not (len(shape) == 2 or len(shape) in (3, 4) and shape[-1] == 3):
        raise ValueError(f'images: an array must be uint8 [H, W, 3], [H, W] or [N, H, W, 3], got {image.dtype} {shape}')
    if len(shape) == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    elif channel_order == 'bgr':
        image = image[..., ::-1]
    return [np.ascontiguousarray(each) for each in (image if image.ndim == 4 else [image])]
