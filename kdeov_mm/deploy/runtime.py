"""Classify, search and detect with exported models: NumPy, Pillow and ONNX Runtime only."""

import base64
import binascii
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from kdeov_mm.text import Lexicon, Tokenizer, average_prompts, build_prompts, check_class_names, check_templates
from kdeov_mm.structures import (
    DEFAULT_THRESHOLD,
    ClassificationResult,
    Detections,
    ImageCompetitors,
    ScoreThreshold,
    resolve_thresholds,
    softmax,
)
from kdeov_mm.structures.classification import LOGIT_SCALE
from kdeov_mm.structures.retrieval import NO_PROBABILITY, rank
from kdeov_mm.utils.arrays import find_bad_row, row_defect
from kdeov_mm.utils.display import short_repr, short_text, printable
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.json_files import parse_json
from .kinds import FORMATS, KINDS
from .onnx_file import read_onnx

RESIZES = ('letterbox', 'stretch')
MAX_SIDE = 4096  # maximum input size in pixels
MAX_EMBED_DIMS, MAX_CONTEXT, MAX_TEMPLATES, MAX_LEXICON = 65536, 1000, 1000, 100_000


class Runtime:
    """Runs the files that "kdeov export" writes.

    Args:
        paths: One ONNX file or several, at most one of each kind, of one model.
        providers: ONNX Runtime's execution providers, best first; default: the CPU.
        threads: Threads of one operator on the CPU; default: ONNX Runtime's choice.

    Attributes:
        sessions: ONNX Runtime's session of each kind of file.
        metadata: The metadata of each kind of file.
        paths: The path of each kind of file.
        described: The parsed and checked metadata of each kind of file, see :func:`parse_metadata`.
        preprocessing: How images become the network's input, see :func:`kdeov_mm.deploy.export.preprocessing`; empty
            with a text encoder alone.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, was written by another program or in another format, two files are of one kind
            or belong to different models, or a provider is unknown.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        self.sessions: dict[str, onnxruntime.InferenceSession] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.paths: dict[str, str] = {}
        self.described: dict[str, dict[str, Any]] = {}
        paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
        if not paths:
            raise ValueError('paths: give at least one ONNX file')
        for path in paths:
            session = open_session(path, providers, threads)
            kind = check_metadata(path, session)
            if kind in self.sessions:
                raise ValueError(f'{path}: a second {kind}; give one file of each kind')
            self.sessions[kind], self.metadata[kind] = session, session.get_modelmeta().custom_metadata_map
            self.paths[kind] = str(path)
            self.described[kind] = parse_metadata(path, kind, self.metadata[kind])
        for key in ('text_space', 'embed_dims', 'checkpoint_sha256'):
            values = {
                kind: data[key]
                for kind, data in self.metadata.items()
                if key in data and (key, kind) != ('checkpoint_sha256', 'text_encoder')
            }  # one text encoder serves all students of a teacher
            if len(set(values.values())) > 1:
                raise ValueError(f'the files belong to different models: their {key} are {values}')
        self.preprocessing: dict[str, Any] = next(
            (data['preprocessing'] for data in self.described.values() if 'preprocessing' in data), {}
        )

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """The session of the first file."""
        return next(iter(self.sessions.values()))

    @property
    def names(self) -> list[str] | None:
        """The vocabulary that is folded into the detector, or None."""
        return list(self.described['detector']['names']) if 'detector' in self.described else None

    @property
    def threshold(self) -> float:
        """The default minimum score of a detection, in [0, 1]."""
        return next((data['threshold'] for data in self.described.values() if 'threshold' in data), DEFAULT_THRESHOLD)

    @property
    def thresholds(self) -> dict[str, float]:
        """The minimum scores of those folded class names that have their own."""
        return dict(self.described['detector']['thresholds']) if 'detector' in self.described else {}

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels of the network's input; any multiples of 32 up to ``MAX_SIDE`` may be set."""
        self.need('image_encoder', 'detector', 'open_detector')
        return tuple(self.preprocessing['size'])

    @input_size.setter
    def input_size(self, size: tuple[int, int]) -> None:
        if len(size) != 2 or any(side < 32 or side % 32 or side > MAX_SIDE for side in size):
            raise ValueError(
                f'input_size: expected height and width, positive multiples of 32 of at most {MAX_SIDE}, got {size}'
            )
        self.need('image_encoder', 'detector', 'open_detector')
        self.preprocessing['size'] = list(size)

    def need(self, *kinds: str) -> onnxruntime.InferenceSession:
        """Return the session of the first of these kinds of files that is loaded.

        Raises:
            ValueError: If no such kind is loaded.
        """
        session = next((self.sessions[kind] for kind in kinds if kind in self.sessions), None)
        if session is None:
            raise ValueError(
                f'this needs a file of kind {" or ".join(kinds)}, but there is only '
                f'{", ".join(self.sessions)}; write it with "kdeov export" and give it too'
            )
        return session

    def run(self, kind: str, feeds: dict[str, np.ndarray], outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """Compute the outputs of a kind of file.

        Args:
            kind: Kind of the file, of ``KINDS``.
            feeds: The graph's inputs by name; the first has the batch.
            outputs: Names of the outputs, in the order of the result; default: all.

        Raises:
            ValueError: If the file cannot be computed, or an output has NaN or infinity, or not the shape of this kind
                of file.
        """
        try:
            results = self.sessions[kind].run(outputs, feeds)
        except Exception as error:  # ONNX Runtime has exceptions of its own without a common class
            raise InputError(
                f'{self.paths[kind]}: the {kind} does not take what its metadata describe; export the model again '
                f'({printable(" ".join(str(error).split())[:200])})'
            ) from error
        batch = len(next(iter(feeds.values())))
        shapes = [(batch, None, 4), (batch, None), (batch, None)] if 'detector' in kind else [(batch, self.embed_dims)]
        for result, shape in zip(results, shapes):
            if result.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, result.shape)):
                raise InputError(
                    f'{self.paths[kind]}: an output of the {kind} has shape {list(result.shape)}; expected '
                    f'{[want or "M" for want in shape]}; export the model again'
                )
        for result in results:
            if not np.isfinite(result).all():
                raise ValueError(
                    f'{self.paths[kind]}: the {kind} computed NaN or infinity; expected finite numbers; '
                    'its weights are damaged, so export it again from a good checkpoint'
                )
        return results

    def preprocess(self, image: np.ndarray | Image.Image) -> np.ndarray:
        """Convert an image to the network's input, float32 in [0, 1], ``[3, *input_size]``.

        The image is uint8 RGB ``[H, W, 3]`` or Pillow's in RGB.
        """
        return self.place(image)[0]

    def place(self, image: np.ndarray | Image.Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Resize and pad an image to the network's input.

        Returns:
            tuple: The input, float32 in [0, 1], ``[3, *input_size]``; scale ``[2]`` and shift ``[2]``, x first. A point
            of the image is at ``point * scale + shift`` of the input.

        Raises:
            ValueError: If the image is neither uint8 ``[H, W, 3]`` nor Pillow's in RGB, or has no pixels.
        """
        picture = image if isinstance(image, Image.Image) and image.mode == 'RGB' else to_picture(image)
        (height, width), (columns, rows) = self.input_size, picture.size
        top = left = 0
        if self.preprocessing['resize'] == 'letterbox':
            ratio = min(height / rows, width / columns)
            size = max(int(rows * ratio), 1), max(int(columns * ratio), 1)
            resized = resize(picture, *size, Image.Resampling.HAMMING if ratio < 1 else None)
            top, left = (max(round((whole - part) // 2 - 0.1), 0) for whole, part in zip((height, width), size))
            canvas = np.full((height, width, 3), self.preprocessing['pad_value'], dtype=np.uint8)
            canvas[top : top + size[0], left : left + size[1]] = resized
        else:
            size, canvas = (height, width), resize(picture, height, width, None)
        scale = np.array([size[1] / columns, size[0] / rows], dtype=np.float32)
        ready = np.array(canvas.transpose(2, 0, 1), dtype=np.float32, order='C')
        ready /= np.float32(255)
        return ready, scale, np.array([left, top], dtype=np.float32)

    def encode_image(self, images: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
        """Embed images, each uint8 RGB ``[H, W, 3]``, ``batch_size`` at a time; float32, L2-normalised, ``[N, D]``."""
        self.need('image_encoder')
        parts = [
            self.run(
                'image_encoder', {'images': np.stack([self.preprocess(image) for image in images[i : i + batch_size]])}
            )
            for i in range(0, len(images), batch_size)
        ]
        return np.concatenate([part for (part,) in parts]) if parts else np.zeros((0, self.embed_dims), np.float32)

    def encode_text(self, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Embed texts without a template; float32, L2-normalised, ``[N, D]``."""
        self.need('text_encoder')
        parts = [
            self.run('text_encoder', {'tokens': self.tokenizer(texts[i : i + batch_size])})
            for i in range(0, len(texts), batch_size)
        ]
        return np.concatenate([part for (part,) in parts]) if parts else np.zeros((0, self.embed_dims), np.float32)

    @property
    def embed_dims(self) -> int:
        """The dimension D of image and text embeddings."""
        return next(data['embed_dims'] for data in self.described.values())

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the text encoder."""
        if not hasattr(self, '_tokenizer'):
            self.need('text_encoder')
            described = self.described['text_encoder']['tokenizer']
            self._tokenizer = Tokenizer(described['merges'].split('\n'), described['context_length'])
        return self._tokenizer

    def embed_names(self, names: Sequence[str]) -> np.ndarray:
        """Embed class names with the text encoder's templates, float32, L2-normalised, ``[K, D]``.

        Raises:
            ValueError: If there are no class names, or one is invalid.
        """
        check_class_names(names)
        self.need('text_encoder')
        self.lexicon.warn_unknown(names)
        templates = self.described['text_encoder']['templates']
        prompts = build_prompts(names, templates)
        return average_prompts(self.encode_text([prompt for each in prompts for prompt in each]), prompts)

    def classify(
        self,
        images: Sequence[np.ndarray],
        names: Sequence[str],
        class_embeddings: np.ndarray | None = None,
        top: int = 5,
        scale: float = LOGIT_SCALE,
    ) -> list[ClassificationResult]:
        """Classify whole images.

        Args:
            images: uint8 RGB ``[H, W, 3]`` each.
            names: The K class names to choose from.
            class_embeddings: Of the K class names, ``[K, D]``; default: from the text encoder's file.
            top: Number of class names to return for each image.
            scale: Logit scale, > 0; 100 as in CLIP.

        Returns:
            list: The results. If the image encoder has competitors, ``none`` is the probability that no name fits.

        Raises:
            ValueError: If there are no class names, or the embeddings do not fit.
        """
        class_embeddings, embeddings = self.check_class_embeddings(names, class_embeddings), self.encode_image(images)
        competitors = self.image_competitors
        if competitors is None:
            probabilities = softmax(embeddings @ class_embeddings.T, scale)
        else:
            probabilities = competitors.classify(embeddings, class_embeddings, names, scale)
        return ClassificationResult.top(probabilities, names, top, [None] * len(images), competitors is not None)

    @property
    def lexicon(self) -> Lexicon:
        """The names that compete silently, of the image encoder or the open detector; empty if there are none."""
        if self.image_competitors is not None:
            return self.image_competitors.lexicon
        return self.described.get('open_detector', {}).get('lexicon', Lexicon())

    @property
    def image_competitors(self) -> ImageCompetitors | None:
        """What competes with class names and queries for a whole image; None: nothing, or there is no image encoder."""
        return self.described.get('image_encoder', {}).get('competitors')

    def presence(self, query: str, embeddings: np.ndarray) -> np.ndarray:
        """Compute the probability that each image shows what a text says, which compares across queries.

        Args:
            query: A class name or a sentence.
            embeddings: Image embeddings from :meth:`encode_image`, ``[N, D]``.

        Returns:
            numpy.ndarray: float32 ``[N]`` in [0, 1].

        Raises:
            ValueError: If the image encoder has no competitors, there is no text encoder, or the text is empty.
        """
        if self.image_competitors is None:
            raise ValueError(f'presence: {NO_PROBABILITY}')
        check_class_names([query])
        return self.image_competitors.presence(embeddings, self.encode_text([query])[0], query)

    def search(self, query: str | np.ndarray, embeddings: np.ndarray, top: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Find the images that best match a text, an image or an embedding.

        Args:
            query: A text, an image uint8 RGB ``[H, W, 3]``, or an embedding ``[D]``.
            embeddings: Image embeddings from :meth:`encode_image`, ``[N, D]``.
            top: Number of images to return.

        Returns:
            tuple: Indices into ``embeddings``, best first, and cosine similarities in [-1, 1].

        Raises:
            ValueError: If there is no file for this query, or the text is empty.
        """
        if isinstance(query, str):
            check_class_names([query])
            self.lexicon.warn_unknown([query])
            (query,) = self.encode_text([query])
        elif query.ndim == 3:
            (query,) = self.encode_image([query])
        return rank(query, embeddings, top)

    def detect(
        self,
        images: Sequence[np.ndarray],
        names: Sequence[str] | None = None,
        class_embeddings: np.ndarray | None = None,
        score_threshold: ScoreThreshold = None,
        batch_size: int = 8,
        others: Sequence[str] | np.ndarray = (),
    ) -> list[Detections]:
        """Detect objects in images.

        Args:
            images: uint8 RGB ``[H, W, 3]`` each.
            names: The class names, for a file of kind ``open_detector``; default: those of the ``detector``.
            class_embeddings: Of the K class names, ``[K, D]``; default: from the text encoder's file.
            score_threshold: Minimum score, in [0, 1], of all class names or ``{name: minimum}``; default: those of the
                files; see :func:`~kdeov_mm.structures.resolve_thresholds`.
            batch_size: Images in one run of the network.
            others: Names that compete with the class names but are not detected, or their class embeddings ``[X, D]``;
                for a file of kind ``open_detector``.

        Raises:
            ValueError: If there is no file for this, there are no class names, or the embeddings do not fit.
        """
        feeds = {}
        if names is None:
            kind, names = 'detector', self.names or []
            self.need(kind)
            if len(others):
                raise InputError(
                    f'others: the class names of {self.paths[kind]} are fixed, and so are their competitors'
                )
        else:
            kind = 'open_detector'
            self.need(kind)
            class_embeddings = self.check_class_embeddings(names, class_embeddings)
            feeds = {'texts': class_embeddings, **self.competitors(names, others)}
        own = self.thresholds if kind == 'detector' else {}
        thresholds = resolve_thresholds(names, score_threshold, self.threshold, own)
        detections, names = [], list(names)
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            inputs, scales, shifts = zip(*map(self.place, batch))
            outputs = self.run(kind, {'images': np.stack(inputs), **feeds}, ['boxes', 'scores', 'labels'])
            for image, scale, shift, boxes, scores, labels in zip(batch, scales, shifts, *outputs):
                (height, width), valid = image.shape[:2], labels >= 0
                if labels.max(initial=-1) >= len(names):
                    raise InputError(
                        f'{self.paths[kind]}: label {labels.max()} for {len(names)} class names; export the model again'
                    )
                boxes = (boxes[valid] - np.tile(shift, 2)) / np.tile(scale, 2)
                boxes = boxes.clip(0, [width, height] * 2).astype(np.float32)
                result = Detections(boxes, scores[valid], labels[valid], names, height, width)
                detections.append(result.above(thresholds))
        return detections

    def competitors(self, names: Sequence[str], others: Sequence[str] | np.ndarray) -> dict[str, np.ndarray]:
        """Return the inputs of an open detector that say what competes with the class names; see :meth:`detect`.

        Raises:
            ValueError: If the classes of this model compete with each other, but ``others`` are given.
        """
        lexicon = self.described['open_detector'].get('lexicon')
        if lexicon is None:
            if len(others):
                raise InputError(
                    f'others: the class names of {self.paths["open_detector"]} compete with each other; add the others '
                    'to the class names'
                )
            return {}
        if not isinstance(others, np.ndarray):
            others = self.embed_names(others) if len(others) else np.zeros((0, self.embed_dims), np.float32)
        return competitor_inputs(lexicon.competes(names), others)

    def check_class_embeddings(self, names: Sequence[str], class_embeddings: np.ndarray | None) -> np.ndarray:
        """Return class embeddings, float32 ``[K, D]``: the given ones, checked, or those of the text encoder.

        Raises:
            ValueError: If the vocabulary is empty, or the embeddings do not fit it or the model.
        """
        check_class_names(names)
        if class_embeddings is None:
            return self.embed_names(names)
        expected = [len(names), self.embed_dims]
        with np.errstate(over='ignore'):  # infinity is refused below
            rows = np.asarray(class_embeddings, dtype=np.float32)
        if list(rows.shape) != expected or not np.isfinite(rows).all():
            raise ValueError(f'class_embeddings: expected finite embeddings {expected}, got {list(rows.shape)}')
        bad = find_bad_row(rows)
        if bad >= 0:
            raise InputError(
                f'class_embeddings: the embedding of {short_repr(names[bad])}, row {bad}, {row_defect(rows[bad])}; '
                'compute it again'
            )
        return rows


def competitor_inputs(competes: np.ndarray, others: np.ndarray) -> dict[str, np.ndarray]:
    """Return an open detector's inputs that say what competes with K class names; float32.

    Args:
        competes: Which of L entries of the lexicon compete with each class name, bool ``[K, L]``; the others
            are its hyponyms.
        others: Class embeddings of X further competitors of all class names, ``[X, D]``.

    Returns:
        dict: ``others`` ``[X + 1, D]`` and ``competes`` ``[K, L + X + 1]``: 1 if an entry competes with a class name,
        -1 if it is a hyponym. The last competitor is a row of zeros whose role is 0, so that no input is empty.
    """
    roles = np.where(competes, 1, -1).astype(np.float32)
    roles = np.pad(roles, ((0, 0), (0, len(others) + 1)), constant_values=1)
    roles[:, -1] = 0
    return dict(others=np.pad(others.astype(np.float32), ((0, 1), (0, 0))), competes=roles)


def open_session(
    path: str | Path, providers: Sequence[str] | None = None, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Open an ONNX file; see :class:`Runtime`."""
    content = read_onnx(path)
    unknown = set(providers or ()) - set(onnxruntime.get_available_providers())
    if unknown:
        raise ValueError(
            f'providers: {", ".join(sorted(unknown))} not in this ONNX Runtime, which has '
            f'{", ".join(onnxruntime.get_available_providers())}'
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry('session.load_model_format', 'ONNX')
    if threads:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(content, options, list(providers or ['CPUExecutionProvider']))
    except Exception as error:  # ONNX Runtime has exceptions of its own without a common class
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(
            f'{path}: not an ONNX file that can be read; it is truncated, damaged, or made for a newer '
            f'ONNX Runtime than {onnxruntime.__version__}; export it again ({reason})'
        ) from error


def check_metadata(path: str | Path, session: onnxruntime.InferenceSession) -> str:
    """Return the kind of a file of "kdeov export".

    Raises:
        ValueError: If another program wrote the file, or a version with another format.
    """
    data = session.get_modelmeta().custom_metadata_map
    if 'kdeov_format' not in data:
        raise ValueError(f'{path}: an ONNX file of another model; this runtime reads what "kdeov export" writes')
    kind = data.get('kdeov_kind')
    if kind not in KINDS or data['kdeov_format'] != FORMATS[kind]:
        made = parse_json(data.get('versions', '{}'), f'{path}: versions').get('kdeov_mm', 'unknown')
        raise ValueError(
            f'{path}: written by kdeov_mm {short_text(made)} in format {short_text(data["kdeov_format"])}, but this '
            f'runtime reads format {FORMATS.get(kind, max(FORMATS.values()))}; export it again with this version'
        )
    return kind


def parse_metadata(path: str | Path, kind: str, data: dict[str, str]) -> dict[str, Any]:
    """Parse and check the metadata of a file of one kind.

    Args:
        path: The file, for messages.
        kind: Kind of the file, of ``KINDS``.
        data: The file's metadata, JSON by field.

    Returns:
        dict: ``embed_dims``; ``preprocessing``, except for a text encoder; ``threshold`` of detectors; ``names`` and
        ``thresholds`` of a detector; ``lexicon`` of an open detector and ``competitors`` of an image encoder, if any;
        ``tokenizer`` and ``templates`` of a text encoder.

    Raises:
        InputError: If a field is missing, is not JSON, or has a wrong type or range; the message names file and field.
    """

    def refuse(field: str, value: Any, expected: str) -> None:
        raise InputError(f'{path}: {field} is {short_repr(value)}; expected {expected}; export it again')

    def parse(field: str, json_type: type) -> Any:
        if field not in data:
            refuse(field, None, f'a JSON {json_type.__name__}')
        return parse_json(data[field], f'{path}: {field}', json_type)

    def parse_lexicon(described: dict) -> Lexicon:
        entries: Any = described.get('entries')
        flags = [described.get('hierarchy'), described.get('complete', False)]  # earlier versions wrote no `complete`
        if not isinstance(entries, list) or len(entries) > MAX_LEXICON or not all(isinstance(f, bool) for f in flags):
            expected = f'entries, a list of at most {MAX_LEXICON} names, and the booleans hierarchy and complete'
            refuse('lexicon', described, expected)
        return Lexicon(tuple(check_names(path, entries) if entries else []), *flags)

    dims = data.get('embed_dims', '')
    if not re.fullmatch('[1-9][0-9]{0,5}', dims) or int(dims) > MAX_EMBED_DIMS:
        refuse('embed_dims', dims, f'a number from 1 to {MAX_EMBED_DIMS}')
    parsed: dict[str, Any] = dict(embed_dims=int(dims))
    if kind != 'text_encoder':
        how = parsed['preprocessing'] = parse('preprocessing', dict)
        size, pad = how.get('size'), how.get('pad_value', 0)
        if not isinstance(size, list) or len(size) != 2 or not all(is_side(side) for side in size):
            refuse('preprocessing.size', size, f'height and width, multiples of 32 of at most {MAX_SIDE}')
        if how.get('resize') not in RESIZES:
            refuse('preprocessing.resize', how.get('resize'), f'one of {", ".join(RESIZES)}')
        pads = pad if isinstance(pad, list) and len(pad) == 3 else [pad]
        if not all(type(value) in (int, float) and 0 <= value <= 255 for value in pads):
            refuse('preprocessing.pad_value', pad, 'a number from 0 to 255, or three')
        if how['resize'] == 'letterbox' and 'pad_value' not in how:
            refuse('preprocessing.pad_value', None, 'a number from 0 to 255, which a letterbox needs')
        for field, only in (('channels', 'RGB'), ('range', [0, 1])):
            if how.get(field, only) != only:
                refuse(f'preprocessing.{field}', how[field], repr(only))
    if kind == 'detector':
        parsed['names'] = check_names(path, parse('names', list))
        parsed['thresholds'] = parse('thresholds', dict) if 'thresholds' in data else {}
        for name, value in parsed['thresholds'].items():
            if name not in parsed['names'] or not is_score(value):
                refuse('thresholds', {name: value}, 'a class name and a number from 0 to 1')
    if 'detector' in kind:  # earlier versions did not write it
        parsed['threshold'] = parse_json(data.get('threshold', str(DEFAULT_THRESHOLD)), f'{path}: threshold', object)
        if not is_score(parsed['threshold']):
            refuse('threshold', parsed['threshold'], 'a number from 0 to 1')
    if kind == 'open_detector' and 'lexicon' in data:
        parsed['lexicon'] = parse_lexicon(parse('lexicon', dict))
    if kind == 'image_encoder' and 'competitors' in data:
        described = parse('competitors', dict)
        lexicon, background = parse_lexicon(described), described.get('background')
        if type(background) not in (int, float) or not -1 <= background <= 1:
            refuse('competitors.background', background, 'a number from -1 to 1')
        try:
            content = base64.b64decode(described.get('embeddings', ''), validate=True)
            embeddings = np.frombuffer(content, '<f4').reshape(len(lexicon), parsed['embed_dims'])
        except (TypeError, ValueError, binascii.Error):
            embeddings = np.zeros((1, 1), np.float32)
        if find_bad_row(embeddings) >= 0:
            refuse('competitors.embeddings', described.get('embeddings'), f'{len(lexicon)} embeddings in base 64')
        parsed['competitors'] = ImageCompetitors(lexicon, embeddings, background)
    if kind == 'text_encoder':
        described = parsed['tokenizer'] = parse('tokenizer', dict)
        length, merges = described.get('context_length'), described.get('merges')
        if type(length) is not int or not 3 <= length <= MAX_CONTEXT:
            refuse('tokenizer.context_length', length, f'a number from 3 to {MAX_CONTEXT}')
        if not isinstance(merges, str) or not all(len(merge.split()) == 2 for merge in merges.split('\n')):
            refuse('tokenizer.merges', merges, 'lines of two symbols each')
        parsed['templates'] = parse('templates', list)
        check_templates(parsed['templates'], f'{path}: templates')
        if len(parsed['templates']) > MAX_TEMPLATES:
            refuse('templates', parsed['templates'], f'at most {MAX_TEMPLATES} of them')
    return parsed


def check_names(path: str | Path, names: list) -> list[str]:
    """Return the names of a file, or raise an InputError that names the file."""
    try:
        check_class_names(names)
    except ValueError as error:
        raise InputError(f'{path}: {printable(str(error))}') from error
    return names


def is_score(value: Any) -> bool:
    """Return whether a value is a possible score."""
    return type(value) in (int, float) and 0 <= value <= 1


def is_side(value: Any) -> bool:
    """Return whether a value is a possible height or width of the network's input."""
    return type(value) is int and 32 <= value <= MAX_SIDE and value % 32 == 0


def to_picture(image: np.ndarray) -> Image.Image:
    """Convert an array to Pillow's image; see :meth:`Runtime.place`."""
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        got = f'{image.dtype} {list(image.shape)}' if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f'image: expected a uint8 array [H, W, 3] in RGB, got {got}; use read_image for files')
    return Image.fromarray(image)


def resize(picture: Image.Image, height: int, width: int, filter_: Image.Resampling | None) -> np.ndarray:
    """Resize with one of Pillow's filters; with None, bilinearly between neighbours as OpenCV's INTER_LINEAR does."""
    columns, rows = picture.size
    if (rows, columns) == (height, width):
        return np.asarray(picture)
    if filter_ is not None:
        return np.asarray(picture.resize((width, height), filter_))
    return np.asarray(
        picture.transform(
            (width, height),
            Image.Transform.AFFINE,
            (columns / width, 0, 0, 0, rows / height, 0),
            Image.Resampling.BILINEAR,
        )
    )
