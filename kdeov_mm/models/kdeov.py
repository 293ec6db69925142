"""The student: one YOLO that classifies, retrieves and detects in CLIP's embedding space."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.structures import OptSampleList, SampleList
from mmyolo.models.detectors import YOLODetector
from mmyolo.registry import MODELS
from torch import Tensor

from kdeov_mm.structures import ImageCompetitors
from kdeov_mm.text import Lexicon
from .calibration import ScoreCalibration
from .clip import ClassEmbeddings, Competitors
from .embedding_space import EmbeddingSpaceMixin, with_dims
from .targets import DistillationTargets, StoredTargets
from .text_sampling import SampledClasses, sample_classes


@MODELS.register_module()
class KDEOV(EmbeddingSpaceMixin, YOLODetector):
    """Knowledge-distilled efficient open-vocabulary YOLO.

    ::

        image -> backbone -> fusion -> neck -+-> projector -> image embedding    classify, retrieve
                               ^             +-> bbox_head -> boxes, region embeddings    detect
        vocabulary [K, D] -----+

    The text encoder is frozen and in no checkpoint, optimizer or DDP graph. The teacher is no part of the model:
    ``distill_from`` sets the source of the targets of images, captions and regions. By default this is the data
    samples.

    Args:
        backbone, neck: Configs of MMYOLO's backbone and neck.
        projector: Config of the projector.
        embed_dims: Dimension D of image, region and class embeddings, that of the CLIP; all parts get it from here.
        text_encoder: Config of the text encoder of the same embedding space, with its prompt templates; None for a
            model that only gets precomputed class embeddings.
        lexicon: Names of everything that may be seen, which compete silently with the classes that are detected; see
            :meth:`kdeov_mm.text.Lexicon.read`. None: none.
        background: Cosine similarity, in [-1, 1], of a constant that competes with every class: what is less similar to
            a class name is none of its objects. That of a calibration replaces it. None, which needs ``lexicon=None``:
            the classes of the vocabulary compete with each other, and every object is one of them.
        image_background: The same for a whole image, in classification and search, see :class:`ImageCompetitors`. None:
            ``background``, without which it is not used.
        calibrated: Whether the scores use the calibration of the weights, if they have one; see
            :class:`~kdeov_mm.models.calibration.ScoreCalibration`.
        fusion: Config of a text-conditioned fusion between backbone and neck, or None.
        bbox_head: Config of the open-vocabulary head; None: the model is an image encoder only (stage 1).
        loss_image: Config of the losses of the image embedding (FeatureAlignmentLoss), or None.
        text_dropout: Ratio of unconditional training steps, in [0, 1].
        num_negatives: In training, the number of classes, at least 1, that are drawn for each image from those it is
            not labelled with. Together with the labels' classes they condition the fusion and compete in the text loss.
            None: the whole vocabulary. Distillation always uses the whole vocabulary.
        train_cfg: ``assigner``, the config of the head's assigner.
        test_cfg: How the head detects: ``nms_pre`` candidates with the highest objectness, ``classes_per_box`` classes
            of each, the exponent ``objectness_power`` in [0, 1] (see
            :func:`~kdeov_mm.models.post_processing.score_classes`), the minimum score ``score_thr``,
            ``nms.iou_threshold``, and at most ``max_per_img`` detections. ``embed_images=False`` leaves the image
            embedding out.
        data_preprocessor: Config of MMDetection's data preprocessor; the network needs RGB in [0, 1].
        init_cfg: Initialisation of MMEngine.

    Raises:
        ValueError: If ``text_dropout`` or ``num_negatives`` is out of range, or a part has another dimension D.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        projector: dict,
        embed_dims: int,
        text_encoder: dict | None = None,
        lexicon: str | Sequence[str] | None = None,
        background: float | None = None,
        calibrated: bool = True,
        image_background: float | None = None,
        fusion: dict | None = None,
        bbox_head: dict | None = None,
        loss_image: dict | None = None,
        text_dropout: float = 0.5,
        num_negatives: int | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if not 0 <= text_dropout <= 1:
            raise ValueError(f'text_dropout: must be in [0, 1], got {text_dropout}')
        if num_negatives is not None and num_negatives < 1:
            raise ValueError(
                f'num_negatives: must be at least 1, or None for the whole vocabulary, got {num_negatives}'
            )
        if background is None and lexicon is not None:
            raise ValueError('background: must be a number from -1 to 1 if there is a lexicon, got None')
        for name, value in dict(background=background, image_background=image_background).items():
            if value is not None and not -1 <= value <= 1:
                raise ValueError(f'{name}: must be a cosine similarity from -1 to 1, got {value}')
        # SingleStageDetector's __init__ needs a head, which stage 1 does not have.
        super(SingleStageDetector, self).__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone, self.neck = MODELS.build(backbone), MODELS.build(neck)
        self.train_cfg, self.test_cfg = train_cfg, test_cfg
        settings = dict(train_cfg=train_cfg, test_cfg=test_cfg)
        if bbox_head:
            head_module = with_dims(bbox_head['head_module'], embed_dims, 'model.bbox_head.head_module')
            bbox_head = {**bbox_head, 'head_module': head_module, **settings}
        self.bbox_head = MODELS.build(bbox_head) if bbox_head else None
        self.fusion = MODELS.build(with_dims(fusion, embed_dims, 'model.fusion')) if fusion else None
        self.projector = MODELS.build(with_dims(projector, embed_dims, 'model.projector'))
        self.embed_dims = embed_dims
        self.text_encoder_cfg = text_encoder
        self.loss_image = MODELS.build(loss_image) if loss_image else None
        self.text_dropout, self.num_negatives = text_dropout, num_negatives
        self.lexicon, self.calibration = Lexicon.read(lexicon), ScoreCalibration(background, calibrated)
        self.image_background = background if image_background is None else image_background
        self.vocabulary: list[str] | None = None
        self.closed = background is None
        self.class_embeddings = torch.zeros(0, self.embed_dims)
        self.others = ClassEmbeddings([], torch.zeros(0, self.embed_dims))
        self._competitors: Competitors | None = None
        self.targets: DistillationTargets = StoredTargets()

    @property
    def background(self) -> float | None:
        """Cosine similarity of the background: the calibration's, else the config's."""
        return self.calibration.background

    @property
    def texts(self) -> Tensor:
        """The old name of ``class_embeddings``, for one release."""
        return self.class_embeddings

    def _apply(self, fn: Callable, recurse: bool = True) -> 'KDEOV':
        """Move the class embeddings with the parameters.

        They are no buffer: their size changes, which averaging of weights (EMAHook) and the broadcast of buffers do not
        support.
        """
        super()._apply(fn, recurse)
        self.class_embeddings, self._competitors = fn(self.class_embeddings), None
        return self

    def set_vocabulary(
        self, vocabulary: ClassEmbeddings, others: ClassEmbeddings | None = None, closed: bool = False
    ) -> None:
        """Set the classes to detect or, in training, to learn.

        Args:
            vocabulary: The K classes.
            others: Classes that are not looked for; they compete with the vocabulary besides the lexicon.
            closed: Whether the classes compete with each other alone, as in published protocols of detection. Without
                ``background`` they always do.

        Raises:
            ValueError: If the embeddings are not ``[K, D]`` with the model's D, or not finite; or there are ``others``
                although the classes compete with each other.
        """
        vocabulary.check(self.embed_dims)
        closed = closed or self.background is None
        if others is not None:
            if closed:
                raise ValueError(
                    'others: the classes of this model compete with each other; add the others to the vocabulary, or '
                    'set model.background and closed=False'
                )
            others.check(self.embed_dims)
        self.vocabulary = list(vocabulary.class_names)
        self.class_embeddings = vocabulary.embeddings.to(self.class_embeddings)
        self.others = others or ClassEmbeddings([], torch.zeros(0, self.embed_dims))
        self.closed, self._competitors = closed, None

    @cached_property
    def lexicon_embeddings(self) -> ClassEmbeddings:
        """The class embeddings of the lexicon, computed on first use.

        Raises:
            ValueError: If there is a lexicon, but the model has no text encoder to embed it.
        """
        if not self.lexicon:
            return ClassEmbeddings([], torch.zeros(0, self.embed_dims))
        return ClassEmbeddings.build(self.lexicon.entries, self.text_encoder)

    @property
    def competitors(self) -> Competitors | None:
        """What competes with the classes of the vocabulary; None: the classes themselves."""
        if self.closed:
            return None
        if self._competitors is None or self._competitors.background != self.background:
            self._competitors = Competitors.build(
                self.lexicon.competes(self.vocabulary or []), self.lexicon_embeddings, self.others, self.background
            ).to(self.class_embeddings)
        return self._competitors

    @cached_property
    def image_competitors(self) -> ImageCompetitors | None:
        """What competes with class names for a whole image, computed on first use; None: the class names themselves.

        Raises:
            ValueError: See :attr:`lexicon_embeddings`.
        """
        if self.background is None:
            return None
        return ImageCompetitors(self.lexicon, self.lexicon_embeddings.embeddings.numpy(), self.image_background)

    @property
    def context(self) -> Tensor | None:
        """The class embeddings ``[K, D]`` that condition detection; None: it is unconditional.

        With competitors it is the lexicon, so that features do not depend on the vocabulary.
        """
        if self.closed:
            return self.class_embeddings if len(self.class_embeddings) else None
        return self.lexicon_embeddings.embeddings.to(self.class_embeddings) if self.lexicon else None

    def distill_from(self, targets: DistillationTargets) -> None:
        """Set the source of the targets of the following training steps."""
        self.targets = targets

    def extract_feat(
        self, batch_inputs: Tensor, class_embeddings: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the neck's features of preprocessed images ``[B, 3, H, W]``, conditioned on class embeddings if given.

        For ``class_embeddings`` and ``mask`` see :class:`TextGuidedFusion`.
        """
        return self.fuse_and_neck(self.backbone(batch_inputs), class_embeddings, mask)

    def fuse_and_neck(
        self, feats: Sequence[Tensor], class_embeddings: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Run fusion and neck on the backbone's features, ``[B, C_l, H_l, W_l]`` for each level."""
        if self.fusion is not None:
            feats = self.fusion(feats, class_embeddings, mask)
        return self.neck(feats)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed preprocessed images (RGB in [0, 1]) ``[B, 3, H, W]``; float32, L2-normalised, ``[B, D]``.

        It never depends on a query: a database is embedded once and searched with any text.
        """
        return self.projector(self.extract_feat(images))

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict:
        """Compute the distillation, alignment and detection losses for which there are targets.

        A step is unconditional with the probability ``text_dropout``, as image embeddings are.

        Args:
            batch_inputs: Preprocessed images, RGB in [0, 1], ``[B, 3, H, W]``.
            batch_data_samples: Data samples of the same images; with ``gt_instances`` if there is a head.

        Returns:
            dict: Scalars. MMEngine adds up those whose names contain ``loss`` and logs the others. See
            ``FeatureAlignmentLoss.forward`` and ``OpenVocabHead.loss``.
        """
        self.calibration.reset()  # the trained weights need one of their own
        conditioned = (
            self.fusion is not None and len(self.class_embeddings) and float(torch.rand(())) >= self.text_dropout
        )
        sampled = self.sample_classes(batch_data_samples)
        condition = (self.class_embeddings, None) if sampled is None else (sampled.embeddings, sampled.mask)
        feats = self.extract_feat(batch_inputs, *condition if conditioned else ())
        losses = self.image_losses(feats, batch_inputs, batch_data_samples)
        if self.with_bbox:
            losses.update(
                self.bbox_head.loss(
                    feats, batch_data_samples, self.class_embeddings, batch_inputs, self.targets, sampled
                )
            )
        return losses

    def sample_classes(self, batch_data_samples: SampleList) -> SampledClasses | None:
        """Draw each image's classes; None if ``num_negatives`` or the vocabulary is not set."""
        if self.num_negatives is None or not len(self.class_embeddings):
            return None
        none = torch.zeros(0, dtype=torch.long)
        labels = [sample.gt_instances.labels if 'gt_instances' in sample else none for sample in batch_data_samples]
        return sample_classes(self.class_embeddings, labels, self.num_negatives)

    def image_losses(self, feats: Sequence[Tensor], batch_inputs: Tensor, batch_data_samples: SampleList) -> dict:
        """Compute the losses of the image embedding, see FeatureAlignmentLoss."""
        if self.loss_image is None:
            return {}
        return self.loss_image(
            self.projector(feats),
            self.class_embeddings,
            teacher=self.targets.image_targets(batch_inputs, batch_data_samples),
            captions=self.targets.caption_targets(batch_data_samples),
        )

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Fill ``image_embedding``, and ``pred_instances`` and ``score_threshold`` where a vocabulary is set.

        Scores are calibrated, and ``score_threshold`` is the minimum one of a detection for users.

        With ``test_cfg.embed_images=False`` there is no ``image_embedding``, which saves the second, unconditional pass
        of the neck.
        """
        feats = self.backbone(batch_inputs)
        context = self.context if self.with_bbox and len(self.class_embeddings) else None
        conditioned = self.fuse_and_neck(feats, context)
        if (self.test_cfg or {}).get('embed_images', True):
            unconditional = conditioned if self.fusion is None or context is None else self.fuse_and_neck(feats, None)
            for sample, embedding in zip(batch_data_samples, self.projector(unconditional)):
                sample.image_embedding = embedding
        if self.with_bbox and len(self.class_embeddings):
            results = self.bbox_head.predict(
                conditioned, batch_data_samples, self.class_embeddings, rescale, self.competitors
            )
            for sample, result in zip(batch_data_samples, results):  # after suppression, which keeps its order
                result.scores = self.calibration(result.scores)
                sample.score_threshold = self.calibration.threshold
                if 'presence' in sample:
                    sample.presence = self.calibration(sample.presence)
            batch_data_samples = self.add_pred_to_datasample(batch_data_samples, results)
        return batch_data_samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None) -> Tensor:
        return self.encode_image(batch_inputs)
