"""The inferencer for all three tasks."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, overload

import numpy as np
from PIL import Image

from kdeov_mm.structures import (
    DEFAULT_THRESHOLD,
    ClassificationResult,
    Detections,
    EmbeddingResult,
    Match,
    Results,
    ScoreThreshold,
    SearchResult,
    resolve_thresholds,
    softmax,
)
from kdeov_mm.structures.classification import LOGIT_SCALE
from kdeov_mm.structures.retrieval import NO_PROBABILITY, Presence
from kdeov_mm.text import check_class_names, read_class_names, read_thresholds
from kdeov_mm.utils.image_files import BrokenImageError
from .backends import Backend, OnnxBackend
from .resolve import is_exported, resolve_model
from .sources import CHANNEL_ORDERS, ENDLESS, InputImage, open_images

MAX_CACHED = 8  # vocabularies whose class embeddings an inferencer keeps in memory
BUILDING = threading.Lock()  # MMEngine's default scope is one for the whole process
T = TypeVar('T')
Names = str | Path | Sequence[str]


@dataclass(frozen=True)
class Vocabulary:
    """Holds class names and how they are embedded; the key of the cache of class embeddings.

    Attributes:
        names: K class names.
        templates: Prompt templates; None: the model's own.
        embeddings: File of precomputed embeddings in place of the text encoder, or None.
        thresholds: Minimum scores of those names that have their own; they are no part of the key.
    """

    names: tuple[str, ...]
    templates: str | tuple[str, ...] | None = None
    embeddings: str | None = None
    thresholds: dict[str, float] = field(default_factory=dict, compare=False)

    @classmethod
    def read(
        cls, names: Names, templates: str | tuple[str, ...] | None = None, embeddings: str | None = None
    ) -> 'Vocabulary':
        """Read class names and their thresholds from a list or a file; for errors see ``read_vocabulary``."""
        thresholds = read_thresholds(str(names)) if isinstance(names, (str, Path)) else {}
        return cls(read_vocabulary(names), templates, embeddings, thresholds)


class KDEOVInferencer:
    """Classifies, searches and detects with class names and queries of your own.

    Images may be paths of files, folders (recursively), globs and videos, the index of a camera, Pillow images,
    NumPy arrays (uint8 ``[H, W, 3]`` in **RGB**, unless ``channel_order='bgr'``, as of ``cv2.imread``), tensors
    (``[3, H, W]`` in RGB), or any iterable of these; see :func:`~kdeov_mm.apis.sources.open_images`. Nothing is
    downloaded.

    Several inferencers may exist at once. Several threads may use one inferencer, whose network serves one at a time.

    Args:
        model: A name of the model index, such as ``kdeov_yolov8n``; a config file with ``checkpoint``; a work dir; or
            output of ``kdeov export``: an ONNX file, a list of them or their folder. A folder needs a separator, such
            as ``./mine``, or is a ``pathlib.Path``. A config is code, so give only configs you trust. Or a
            :class:`~kdeov_mm.apis.backends.Backend`.
        checkpoint: A ``.pth`` or ``.safetensors`` file, or a work dir; default: the model's own.
        device: Such as ``cpu`` or ``cuda:0``; default: a GPU if there is one. ONNX files run on the CPU.
        batch_size: Number of images in one run of the network.
        channel_order: Channel order of NumPy arrays, ``rgb`` or ``bgr``.
        on_error: What to do if an image cannot be read: ``raise``, ``skip``, or a function that is called with each
            error.
        show_progress: Whether to show a progress bar, on stderr.

    Raises:
        ValueError: If an argument is out of range, there is no such model, or the checkpoint belongs to another model.
        FileNotFoundError: If a file is missing.

    Examples:
        >>> inferencer = KDEOVInferencer('kdeov_yolov8n')  # doctest: +SKIP
        >>> inferencer.detect('photos/', ['red circle', 'star'])[0].names  # doctest: +SKIP
        ['star']
    """

    def __init__(
        self,
        model: str | Path | Sequence[str] | Backend,
        checkpoint: str | None = None,
        device: str | None = None,
        batch_size: int = 8,
        channel_order: str = 'rgb',
        on_error: str | Callable[[BrokenImageError], None] = 'raise',
        show_progress: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size: must be at least 1, got {batch_size}')
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(f"channel_order: must be 'rgb' or 'bgr', got {channel_order!r}")
        if on_error not in ('raise', 'skip') and not callable(on_error):
            raise ValueError(f"on_error: must be 'raise', 'skip' or a function, got {on_error!r}")
        with BUILDING:
            if isinstance(model, Backend):
                self.backend: Backend = model
            elif is_exported(model):
                if checkpoint is not None:
                    raise ValueError(f'checkpoint: {model} has its own weights; remove {checkpoint}')
                self.backend = OnnxBackend(model)
            else:
                from .torch_backend import TorchBackend

                self.backend = TorchBackend(*resolve_model(cast(str | Path, model), checkpoint), device)
        self.batch_size, self.channel_order = batch_size, channel_order
        self.on_error, self.show_progress = on_error, show_progress
        self._lock = threading.Lock()
        self._cache: dict[Vocabulary, Any] = {}
        own = getattr(self.backend, 'thresholds', {})
        self._vocabulary = Vocabulary(tuple(self.backend.folded), thresholds=own) if self.backend.folded else None

    @property
    def threshold(self) -> float:
        """The model's default minimum score of a detection, in [0, 1]."""
        return getattr(self.backend, 'threshold', DEFAULT_THRESHOLD)

    @property
    def names(self) -> list[str] | None:
        """The vocabulary that is used if no class names are given."""
        return list(self._vocabulary.names) if self._vocabulary else None

    def set_vocabulary(
        self, names: Names, templates: str | Sequence[str] | None = None, embeddings: str | None = None
    ) -> None:
        """Embed class names and use them if a call gives none.

        Args:
            names: Class names without duplicates, or a file of them (one a line, or ``.json``). The file's lines may
                have thresholds, such as ``red star = 0.4``.
            templates: Prompt templates, see ``ClassEmbeddings.build``; default: those of the model.
            embeddings: A ``.npy`` or ``.safetensors`` file of precomputed embeddings, one row for each class name.

        Raises:
            ValueError: If the names, templates or embeddings are invalid.
            FileNotFoundError: If a file is missing.
        """
        if templates is not None and not isinstance(templates, str):
            templates = tuple(templates)
        vocabulary = Vocabulary.read(names, templates, embeddings)
        self._class_embeddings(vocabulary)
        self._vocabulary = vocabulary

    @overload
    def classify(
        self,
        images: Any,
        names: Names | None = None,
        top: int = 5,
        scale: float = LOGIT_SCALE,
        stream: Literal[False] = False,
    ) -> Results[ClassificationResult]: ...

    @overload
    def classify(
        self,
        images: Any,
        names: Names | None = None,
        top: int = 5,
        scale: float = LOGIT_SCALE,
        *,
        stream: Literal[True],
    ) -> Iterator[ClassificationResult]: ...

    def classify(
        self, images: Any, names: Names | None = None, top: int = 5, scale: float = LOGIT_SCALE, stream: bool = False
    ) -> Results[ClassificationResult] | Iterator[ClassificationResult]:
        """Classify whole images.

        Args:
            images: See the class.
            names: Class names to choose from; default: the vocabulary.
            top: Number of class names to return for each image.
            scale: Logit scale, > 0; 100 as in CLIP.
            stream: Whether to return an iterator that holds one batch at a time, for long or endless inputs.

        Returns:
            Results: One :class:`ClassificationResult` for each image. If the model's config names competitors
            (``lexicon``, ``background``), its ``none`` is the probability that no class name fits.

        Raises:
            ValueError: If an argument is out of range, a class name is invalid, or an image cannot be read.
        """
        if top < 1 or not scale > 0:
            raise ValueError(f'top and scale: must be at least 1 and greater than 0, got {top} and {scale}')
        vocabulary = self._choose(names)
        class_embeddings = self.backend.as_array(self._class_embeddings(vocabulary))
        competitors = self.backend.image_competitors

        def step(batch: list[InputImage], pixels: list[np.ndarray]) -> list[ClassificationResult]:
            embeddings = self.backend.embed(pixels)
            if competitors is None:
                probabilities = softmax(embeddings @ class_embeddings.T, scale)
            else:
                probabilities = competitors.classify(embeddings, class_embeddings, vocabulary.names, scale)
            return ClassificationResult.top(probabilities, vocabulary.names, top, batch, competitors is not None)

        results = self._results(images, step, stream)
        return results if stream else Results(results)

    @overload
    def detect(
        self,
        images: Any,
        names: Names | None = None,
        score_threshold: ScoreThreshold = None,
        stream: Literal[False] = False,
        others: Names | None = None,
    ) -> Results[Detections]: ...

    @overload
    def detect(
        self,
        images: Any,
        names: Names | None = None,
        score_threshold: ScoreThreshold = None,
        *,
        stream: Literal[True],
        others: Names | None = None,
    ) -> Iterator[Detections]: ...

    def detect(
        self,
        images: Any,
        names: Names | None = None,
        score_threshold: ScoreThreshold = None,
        stream: bool = False,
        others: Names | None = None,
    ) -> Results[Detections] | Iterator[Detections]:
        """Detect the classes of a vocabulary in images.

        The score of a class name in a place does not depend on the other class names, unless the model's config has no
        ``background``. Each object gets the class name with the highest score.

        Args:
            images: See the class.
            names: Class names to detect; default: the vocabulary.
            score_threshold: Minimum score, in [0, 1], of all names or ``{name: minimum}``; default: the names' own
                thresholds, else the model's. See :func:`~kdeov_mm.structures.resolve_thresholds`.
            stream: See :meth:`classify`.
            others: Names of things that are taken for the classes by mistake, such as "toy car" for "car". They compete
                with all class names, but are not detected.

        Returns:
            Results: One :class:`Detections` for each image.

        Raises:
            ValueError: If the model has no head, an argument is out of range, a class name is invalid, or an image
                cannot be read.
        """
        vocabulary = self._choose(names)
        thresholds = resolve_thresholds(vocabulary.names, score_threshold, self.threshold, vocabulary.thresholds)
        folded = self.backend.folded == list(vocabulary.names) and vocabulary.embeddings is None
        class_embeddings = None if folded else self._class_embeddings(vocabulary)
        class_names = list(vocabulary.names)
        more = {} if others is None else dict(others=self._class_embeddings(Vocabulary(read_vocabulary(others))))

        def step(batch: list[InputImage], pixels: list[np.ndarray]) -> list[Detections]:
            detections = self.backend.detect(pixels, class_names, class_embeddings, thresholds, **more)
            return [replace(result, image=image) for result, image in zip(detections, batch)]

        results = self._results(images, step, stream)
        return results if stream else Results(results)

    @overload
    def embed(self, images: Any, stream: Literal[False] = False) -> EmbeddingResult: ...

    @overload
    def embed(self, images: Any, stream: Literal[True]) -> Iterator[EmbeddingResult]: ...

    def embed(self, images: Any, stream: bool = False) -> EmbeddingResult | Iterator[EmbeddingResult]:
        """Embed images, for :meth:`search` or a database of your own.

        Args:
            images: See the class.
            stream: Whether to return an iterator over the results of each batch in place of one result for all.
        """
        return self._embed_stream(images) if stream else self._embed_all(images)

    def search(
        self,
        query: str | Path | Image.Image | np.ndarray,
        images: Any,
        top: int = 10,
        threshold: float | None = None,
    ) -> SearchResult:
        """Find the images that best match a query.

        Matches are sorted by cosine similarity. With competitors in the model's config (``lexicon``, ``background``),
        matches of a text have a probability that compares across queries.

        Args:
            query: A text (a string), or an image: a ``pathlib.Path``, a Pillow image or an array.
            images: Result of :meth:`embed`; an index that ``kdeov index`` built with this model's exported encoder (its
                folder, or a ``kdeov_mm.search.ImageStore``); or images, which are then embedded.
            top: Number of images to return.
            threshold: Minimum probability, in [0, 1], of a text's matches; None: all matches. If no image shows what
                the text says, there is no match.

        Raises:
            ValueError: If the query is empty, ``top`` or ``threshold`` is out of range, or the embeddings do not fit;
                or if there is a ``threshold``, but the query is no text, or the model has no competitors.
        """
        if top < 1:
            raise ValueError(f'top: must be at least 1, got {top}')
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f'threshold: must be from 0 to 1, got {threshold}')
        competitors = self.backend.image_competitors if isinstance(query, str) else None
        if threshold is not None and competitors is None:
            raise ValueError(f'threshold: {NO_PROBABILITY}')
        description, vector = self._embed_query(query)
        presence = None if competitors is None else partial(competitors.presence, text=vector, query=description)
        result = self._nearest(description, vector, images, top, presence)
        return result if threshold is None else result.above(threshold)

    def _nearest(
        self, description: str, vector: np.ndarray, images: Any, top: int, presence: Presence | None
    ) -> SearchResult:
        """Find the images nearest to a vector ``[D]``; see :meth:`search`."""
        store = open_index(images)
        if store is not None:
            return index_result(description, store.search(vector, top), presence)
        embedded = images if isinstance(images, EmbeddingResult) else self._embed_all(images)
        if embedded.embeddings.shape[1:] != vector.shape:
            raise ValueError(
                f'images: embeddings of shape {list(embedded.embeddings.shape)} come from another model; '
                f'this model has dimension {len(vector)}'
            )
        return SearchResult.nearest(description, vector, embedded.embeddings, embedded.images, top, presence)

    def embed_names(self, names: Names) -> np.ndarray:
        """Embed class names with the model's templates; float32, L2-normalised, ``[K, D]``.

        Raises:
            ValueError: If the class names are invalid.
            FileNotFoundError: If their file is missing.
        """
        return self.backend.as_array(self._class_embeddings(Vocabulary(read_vocabulary(names))))

    def embed_text(self, text: str) -> np.ndarray:
        """Embed a text without a template; float32, L2-normalised, ``[D]``.

        Raises:
            ValueError: If the text is empty.
        """
        if not text.strip():
            raise ValueError('query: must be a non-empty text, got an empty string')
        return self.backend.embed_text(text)

    def _choose(self, names: Names | None) -> Vocabulary:
        """Return the vocabulary of a call."""
        if names is not None:
            return Vocabulary.read(names)
        if self._vocabulary is None:
            raise ValueError('names: there are none, and no vocabulary is set; give names, or call set_vocabulary')
        return self._vocabulary

    def _class_embeddings(self, vocabulary: Vocabulary) -> Any:
        """Return the class embeddings of a vocabulary as the backend holds them, cached for the last vocabularies."""
        with self._lock:
            if vocabulary not in self._cache:
                class_embeddings = self.backend.embed_names(
                    list(vocabulary.names), vocabulary.templates, vocabulary.embeddings
                )
                if len(self._cache) >= MAX_CACHED:
                    del self._cache[next(iter(self._cache))]
                self._cache[vocabulary] = class_embeddings
            return self._cache[vocabulary]

    def _embed_stream(self, images: Any, stream: bool = True) -> Iterator[EmbeddingResult]:
        """Yield a result for each batch."""

        def step(batch: list[InputImage], pixels: list[np.ndarray]) -> list[EmbeddingResult]:
            return [EmbeddingResult(batch, self.backend.embed(pixels))]

        return self._results(images, step, stream)

    def _embed_all(self, images: Any) -> EmbeddingResult:
        """Return one result for all images."""
        parts = list(self._embed_stream(images, stream=False))
        return EmbeddingResult(
            [image for part in parts for image in part.images],
            np.concatenate([np.zeros((0, self.backend.embed_dims), np.float32), *(part.embeddings for part in parts)]),
        )

    def _embed_query(self, query: Any) -> tuple[str, np.ndarray]:
        """Return a description of a query and its embedding ``[D]``."""
        if isinstance(query, str):
            return query, self.embed_text(query)
        images = list(open_images(query, self.channel_order)[0])
        if len(images) != 1:
            raise ValueError(f'query: expected a text or one image, got {len(images)} images')
        return images[0].name, self.backend.embed([images[0].read()])[0]

    def _results(
        self, images: Any, step: Callable[[list[InputImage], list[np.ndarray]], list[T]], stream: bool
    ) -> Iterator[T]:
        """Yield the results of a step batch by batch; the images are opened at once.

        Raises:
            ValueError: If the images never end and ``stream`` is False.
        """
        opened, count = open_images(images, self.channel_order)
        if count == ENDLESS and not stream:
            raise ValueError('images: a camera never ends; give stream=True and iterate over the results')
        return self._batches(opened, count, step)

    def _batches(
        self,
        images: Iterator[InputImage],
        count: float | None,
        step: Callable[[list[InputImage], list[np.ndarray]], list[T]],
    ) -> Iterator[T]:
        """See :meth:`_results`."""
        if self.show_progress:
            from rich.console import Console
            from rich.progress import track

            images = iter(track(images, 'Images', None if count == ENDLESS else count, console=Console(stderr=True)))
        while batch := list(islice(images, self.batch_size)):
            kept, pixels = [], []
            for image in batch:
                try:
                    pixels.append(image.read())
                    kept.append(image)
                except BrokenImageError as error:
                    if self.on_error == 'raise':
                        raise
                    if callable(self.on_error):
                        self.on_error(error)
            if kept:
                yield from step(kept, pixels)


def read_vocabulary(names: Names) -> tuple[str, ...]:
    """Read class names from a list or a file, and check them.

    Raises:
        ValueError: If there is no class name or an invalid one; see ``check_class_names``.
        FileNotFoundError: If there is no such file.
    """
    if isinstance(names, (str, Path)):
        return tuple(read_class_names(str(names)))
    names = list(names)
    check_class_names(names)
    return tuple(names)


def index_result(query: str, rows: Sequence[dict], presence: Presence | None = None) -> SearchResult:
    """Convert the rows of ``kdeov_mm.search.ImageStore.search`` to a result."""
    images = [InputImage(row['path'], row['path']) for row in rows]
    return SearchResult(query, matches(rows, images, presence))


def matches(rows: Sequence[dict], images: Sequence[InputImage], presence: Presence | None) -> list[Match]:
    """Join rows of an index and their images to matches; ``presence`` computes probabilities from embeddings."""
    probabilities = [None] * len(rows)
    if presence is not None:
        probabilities = presence(np.stack([row['embedding'] for row in rows])).tolist()
    return [Match(image, row['score'], p) for image, row, p in zip(images, rows, probabilities)]


def open_index(images: Any) -> Any:
    """Return the index that is given in place of images, or None."""
    if hasattr(images, 'search') and hasattr(images, 'model'):
        return images
    if isinstance(images, (str, Path)) and ('://' in str(images) or Path(images, 'images.lance').is_dir()):
        from kdeov_mm.search import ImageStore

        return ImageStore.open(str(images))
    return None
