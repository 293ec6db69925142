"""Base classes of results, and lists of results."""

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, SupportsIndex, TypeVar, overload

import numpy as np
from PIL import Image

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.files import atomic_path

MAX_STEM = 200  # bytes of a picture's name; file systems take 255 with number and suffix


class ImageSource(Protocol):
    """Describes an image by its file or its pixels, such as ``kdeov_mm.apis.InputImage``.

    Attributes:
        name: Name of the image in results and messages.
        path: The file, or None.
    """

    name: str
    path: str | None

    def read(self) -> np.ndarray:
        """Return the pixels, uint8 RGB ``[H, W, 3]``."""


def need(package: str) -> Any:
    """Import an optional package.

    Raises:
        ImportError: If the package is not installed; the message says how to install it.
    """
    try:
        return __import__(package)
    except ImportError as error:
        raise ImportError(f'{package} is needed for this ({error}); run "pip install kdeov_mm[api]"') from error


class Result(ABC):
    """Converts a result to a picture, a table or JSON; the base class of results.

    Attributes:
        columns: The keys of :meth:`rows`, which name the columns of tables.
    """

    columns: ClassVar[tuple[str, ...]]

    @abstractmethod
    def draw(self) -> Image.Image:
        """Draw the result."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Return one dict for each answer."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON values."""

    def save(self, path: str | Path) -> Path:
        """Write a picture; the suffix, such as ``.png`` or ``.jpg``, chooses the format."""
        path = Path(path)
        Image.init()
        format_ = Image.EXTENSION.get(path.suffix.lower())
        if format_ is None:
            raise ValueError(f'picture: "{printable(str(path))}" does not end with a suffix of an image, such as .png')
        with atomic_path(path) as partial:
            self.draw().save(partial, format_)
        return path

    def show(self) -> None:
        """Open a picture in the system's viewer."""
        with tempfile.TemporaryDirectory() as folder:
            with Image.open(self.save(Path(folder, 'result.png'))) as image:
                image.load()
        image.show()

    def to_pandas(self):
        """Return a table with one row for each answer; needs pandas."""
        return need('pandas').DataFrame(self.rows(), columns=self.columns)


class ImageResult(Result):
    """Adds the image to a result of one image.

    Attributes:
        image: The image, or None if the caller keeps it.
    """

    image: ImageSource | None = None

    @property
    def image_name(self) -> str:
        """The image's name, or an empty string."""
        return self.image.name if self.image is not None else ''

    def pixels(self) -> np.ndarray:
        """Return the image's pixels, uint8 RGB ``[H, W, 3]``.

        Raises:
            ValueError: If the result was made without its image.
        """
        if self.image is None:
            raise ValueError(
                'image: this result has no image; set it with dataclasses.replace(result, image=InputImage(...))'
            )
        return self.image.read()


R = TypeVar('R', bound=ImageResult)


class Results(list[R], Generic[R]):
    """Holds a list of results, one for each image."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> 'Results[R]': ...

    def __getitem__(self, index: SupportsIndex | slice) -> 'R | Results[R]':
        if isinstance(index, slice):
            return Results(super().__getitem__(index))
        return super().__getitem__(index)

    def to_pandas(self):
        """Return a table with the rows of all results; needs pandas. Without results it has no columns."""
        rows = [row for result in self for row in result.rows()]
        return need('pandas').DataFrame(rows, columns=self[0].columns if self else None)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the results as JSON values."""
        return [result.to_dict() for result in self]

    def to_coco(self) -> dict[str, list]:
        """Return the content of a COCO annotation file, see :meth:`Detections.add_to_coco`.

        Raises:
            ValueError: If the results are not detections, or have different class names.
        """
        if not all(hasattr(result, 'add_to_coco') for result in self):
            raise ValueError('to_coco: only detections have boxes; use to_pandas or to_dicts')
        content: dict[str, list] = dict(images=[], categories=[], annotations=[])
        for result in self:
            result.add_to_coco(content)  # type: ignore[attr-defined]
        return content

    def save(self, folder: str | Path) -> list[Path]:
        """Write a picture of each result into a folder."""
        digits = len(str(max(len(self) - 1, 0)))
        return [result.save(picture_path(folder, i, digits, result.image_name)) for i, result in enumerate(self)]


def picture_path(folder: str | Path, index: int, digits: int, name: str) -> Path:
    """Return the file of an image's picture; the index makes the name unique, and all file systems allow it."""
    stem = printable(Path(name).stem).replace(' ', '_').replace('\\', '_')
    stem = stem.encode()[:MAX_STEM].decode(errors='ignore')
    return Path(folder, f'{index:0{digits}}_{stem}.png')
