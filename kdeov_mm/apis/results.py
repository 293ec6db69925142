"""What the inferencer returns: plain data, with ways into pandas, supervision, COCO's format and pictures."""

import io
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Generic, List, Tuple, TypeVar, Union

import numpy as np
from PIL import Image

from kdeov_mm.evaluation import pictures
from kdeov_mm.utils.display import printable
from .sources import InputImage

MAX_STEM = 200  # bytes of a picture's name; file systems take 255 with number and suffix


def need(package: str) -> Any:
    """Import an optional package.

    Raises:
        ImportError: It is not installed; the message says what to run.
    """
    try:
        return __import__(package)
    except ImportError as error:
        raise ImportError(f'{package} is needed for this ({error}); run "pip install kdeov_mm[api]"') from error


def drawable(image: InputImage) -> Union[str, io.BytesIO]:
    """What ``kdeov_mm.evaluation.pictures`` draw on: a file, or pixels as one."""
    if image.path is not None:
        return image.path
    file = io.BytesIO()
    Image.fromarray(image.pixels).save(file, 'PNG', compress_level=1)
    file.seek(0)
    return file


class Result(ABC):
    """What every result can do."""

    @abstractmethod
    def draw(self, path: Path) -> Path:
        """Write a picture."""

    @abstractmethod
    def rows(self) -> List[Dict[str, Any]]:
        """One line for each answer."""

    @abstractmethod
    def to_dict(self) -> Dict[str, Any]:
        """For JSON."""

    def save(self, path: Union[str, Path]) -> Path:
        """Write a picture; the suffix, such as ``.png`` or ``.jpg``, chooses its format."""
        return self.draw(Path(path))

    def show(self) -> None:
        """Open a picture in the system's viewer."""
        with tempfile.TemporaryDirectory() as folder:
            with Image.open(self.save(Path(folder, 'result.png'))) as image:
                image.load()
        image.show()

    def to_pandas(self):
        """A table with one line for each answer; needs pandas."""
        return need('pandas').DataFrame(self.rows())


class ImageResult(Result):
    """A result of one image."""

    image: InputImage


@dataclass
class DetectionResult(ImageResult):
    """What was found in an image, best first.

    Attributes:
        image: The image.
        height, width: Of the image in pixels.
        boxes: x1, y1, x2, y2 in pixels of the image, float32 ``[M, 4]``.
        scores: float32 ``[M]`` in [0, 1].
        labels: Indices into ``vocabulary``, int64 ``[M]``.
        vocabulary: The K names that were looked for.
    """

    image: InputImage
    height: int
    width: int
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    vocabulary: List[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> List[str]:
        """The M names."""
        return [self.vocabulary[label] for label in self.labels]

    def found(self) -> List[Dict[str, Any]]:
        """``dict(bbox, name, label, score)`` each; boxes are xywh in pixels, with two digits."""
        return [
            dict(
                bbox=[round(float(value), 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                name=name,
                label=int(label),
                score=float(score),
            )
            for (x1, y1, x2, y2), name, label, score in zip(self.boxes, self.names, self.labels, self.scores)
        ]

    def to_supervision(self):
        """``supervision.Detections``, with the names in ``data['class_name']``; needs supervision."""
        return need('supervision').Detections(
            xyxy=self.boxes.reshape(-1, 4),
            confidence=self.scores,
            class_id=self.labels,
            data=dict(class_name=np.array(self.names, dtype=object)),
        )

    def to_coco(self) -> Dict[str, list]:
        """A COCO annotation file's content, see :meth:`Results.to_coco`."""
        return Results([self]).to_coco()

    def rows(self) -> List[Dict[str, Any]]:
        """One line a box: image, name, score and corners in pixels."""
        return [
            dict(image=self.image.name, name=name, score=float(score), **dict(zip(('x1', 'y1', 'x2', 'y2'), box)))
            for name, score, box in zip(self.names, self.scores, self.boxes.tolist())
        ]

    def to_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return dict(
            image=self.image.name,
            height=self.height,
            width=self.width,
            detections=[{name: value for name, value in row.items() if name != 'image'} for row in self.rows()],
        )

    def draw(self, path: Path) -> Path:
        """Write the image with boxes and names."""
        return pictures.named_boxes(drawable(self.image), self.found(), self.vocabulary, path)


@dataclass
class ClassificationResult(ImageResult):
    """The names that fit a whole image best, best first.

    Attributes:
        image: The image.
        names: M names.
        probabilities: float32 ``[M]`` in [0, 1]; over the whole vocabulary they sum to 1.
    """

    image: InputImage
    names: List[str]
    probabilities: np.ndarray

    @property
    def name(self) -> str:
        """The best name."""
        return self.names[0]

    def rows(self) -> List[Dict[str, Any]]:
        """One line a name."""
        return [
            dict(image=self.image.name, name=name, probability=float(value))
            for name, value in zip(self.names, self.probabilities)
        ]

    def to_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return dict(image=self.image.name, names=dict(zip(self.names, map(float, self.probabilities))))

    def draw(self, path: Path) -> Path:
        """Write the image beside bars of the names' probabilities."""
        return pictures.named_image(drawable(self.image), self.names, self.probabilities.tolist(), path)


@dataclass
class Match:
    """One image that a search found.

    Attributes:
        image: The image.
        score: Cosine similarity to the query, in [-1, 1].
    """

    image: InputImage
    score: float


@dataclass
class SearchResult(Result):
    """The images that fit a query best, best first.

    Attributes:
        query: The words, or the name of the image that was given in their place.
        matches: The images with their scores.
    """

    query: str
    matches: List[Match]

    @classmethod
    def from_index(cls, query: str, rows: List[Dict[str, Any]]) -> 'SearchResult':
        """Of what ``kdeov_mm.search.ImageStore.search`` found."""
        return cls(query, [Match(InputImage(row['path'], row['path']), row['score']) for row in rows])

    def __len__(self) -> int:
        return len(self.matches)

    def rows(self) -> List[Dict[str, Any]]:
        """One line an image."""
        return [
            dict(query=self.query, rank=rank, image=match.image.name, score=float(match.score))
            for rank, match in enumerate(self.matches, 1)
        ]

    def to_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return dict(
            query=self.query,
            matches=[{name: value for name, value in row.items() if name != 'query'} for row in self.rows()],
        )

    def draw(self, path: Path) -> Path:
        """Write the query beside the images."""
        answers = [dict(img_path=drawable(match.image), score=match.score, hit=False) for match in self.matches]
        example = dict(query=self.query, answers=answers)
        return pictures.retrieval_grid([example], path, 'The images nearest to the query')


@dataclass
class EmbeddingResult:
    """The embeddings of images.

    Attributes:
        images: N images.
        embeddings: float32, L2-normalised, ``[N, D]``.
    """

    images: List[InputImage]
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> List[str]:
        """The N images' names."""
        return [image.name for image in self.images]

    def save(self, path: Union[str, Path]) -> Path:
        """Write ``names`` and ``embeddings`` as an ``.npz`` file."""
        path = Path(path).with_suffix('.npz')
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, names=np.array(self.names), embeddings=self.embeddings)
        return path


R = TypeVar('R', bound=ImageResult)


class Results(List[R], Generic[R]):
    """A list of results, one an image, that can be handed on as a whole."""

    def to_pandas(self):
        """A table with the lines of all; needs pandas."""
        return need('pandas').DataFrame([row for result in self for row in result.rows()])

    def to_dicts(self) -> List[Dict[str, Any]]:
        """For JSON."""
        return [result.to_dict() for result in self]

    def to_coco(self) -> Dict[str, list]:
        """Detections as a COCO annotation file's content: ``images``, ``categories``, and ``annotations`` with a
        ``score`` each; ids of images and categories count from 0, those of annotations from 1.

        Raises:
            ValueError: They are no detections, or of different vocabularies.
        """
        detections = [result for result in self if isinstance(result, DetectionResult)]
        if len(detections) < len(self):
            raise ValueError('to_coco: only detections have boxes; use to_pandas or to_dicts')
        vocabularies = {tuple(result.vocabulary) for result in detections}
        if len(vocabularies) > 1:
            raise ValueError(
                f'to_coco: the results are of {len(vocabularies)} different vocabularies; write one file each'
            )
        names: Tuple[str, ...] = next(iter(vocabularies), ())
        categories = [dict(id=i, name=name) for i, name in enumerate(names)]
        content: Dict[str, list] = dict(images=[], categories=categories, annotations=[])
        for result in detections:
            add_to_coco(content, result)
        return content

    def save(self, folder: Union[str, Path]) -> List[Path]:
        """Write a picture of each into a folder."""
        digits = len(str(max(len(self) - 1, 0)))
        return [result.save(picture_path(folder, i, digits, result.image.name)) for i, result in enumerate(self)]


def picture_path(folder: Union[str, Path], number: int, digits: int, name: str) -> Path:
    """Where the picture of an image goes: its number makes it unique, and every file system takes it."""
    stem = printable(Path(name).stem).replace(' ', '_').replace('\\', '_')
    stem = stem.encode()[:MAX_STEM].decode(errors='ignore')
    return Path(folder, f'{number:0{digits}}_{stem}.png')


def add_to_coco(content: Dict[str, list], result: DetectionResult) -> None:
    """Add one image to a COCO annotation file's content; see :meth:`Results.to_coco`."""
    image_id = len(content['images'])
    content['images'].append(dict(id=image_id, file_name=result.image.name, width=result.width, height=result.height))
    for item in result.found():
        content['annotations'].append(
            dict(
                id=len(content['annotations']) + 1,
                image_id=image_id,
                category_id=item['label'],
                bbox=item['bbox'],
                area=round(item['bbox'][2] * item['bbox'][3], 2),
                iscrowd=0,
                score=round(item['score'], 4),
            )
        )
