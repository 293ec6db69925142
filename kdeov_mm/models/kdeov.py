"""The student: one YOLO that classifies, retrieves and detects in CLIP's embedding space."""

from typing import Callable, List, Optional, Sequence, Tuple

import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.structures import OptSampleList, SampleList
from mmyolo.models.detectors import YOLODetector
from mmyolo.registry import MODELS
from torch import Tensor

from .clip import TextBank
from .embedding_space import EmbeddingSpaceMixin, with_dims
from .targets import DistillationTargets, StoredTargets
from .text_sampling import SampledTexts, sample_texts


@MODELS.register_module()
class KDEOV(EmbeddingSpaceMixin, YOLODetector):
    """Knowledge-distilled efficient open-vocabulary YOLO.

    ::

        image -> backbone -> fusion -> neck -+-> projector -> image embedding    classify, retrieve
                               ^             +-> bbox_head -> boxes, region embeddings    detect
        vocabulary [K, D] -----+

    The text encoder is frozen and in no checkpoint, optimizer or DDP graph. The teacher is no part of the model:
    ``distill_from`` says where the targets of images, captions and regions come from, by default the data samples.

    Args:
        backbone, neck: MMYOLO's own.
        projector: Config of the projector.
        embed_dims: Dimension D of image, region and text embeddings; the CLIP's. All parts get it from here.
        text_encoder: Config of the text encoder whose space the model has learnt, with its prompt templates; None for
            a model that is given ready class embeddings only.
        fusion: Config of a text-guided fusion between backbone and neck, or None.
        bbox_head: Config of the open-vocabulary head; None makes an image encoder only (stage 1).
        loss_image: Config of the losses of the image embedding (FeatureAlignmentLoss), or None.
        text_dropout: Share of the training steps without text guidance, in [0, 1].
        num_negatives: In training, how many of the names that an image is not labelled with guide the fusion and
            compete in the text loss, beside those that it is; at least 1. None: the whole vocabulary, which
            distillation always keeps.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        projector: dict,
        embed_dims: int,
        text_encoder: Optional[dict] = None,
        fusion: Optional[dict] = None,
        bbox_head: Optional[dict] = None,
        loss_image: Optional[dict] = None,
        text_dropout: float = 0.5,
        num_negatives: Optional[int] = None,
        train_cfg: Optional[dict] = None,
        test_cfg: Optional[dict] = None,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        if not 0 <= text_dropout <= 1:
            raise ValueError(f'text_dropout: must be in [0, 1], got {text_dropout}')
        if num_negatives is not None and num_negatives < 1:
            raise ValueError(
                f'num_negatives: must be at least 1, or None for the whole vocabulary, got {num_negatives}'
            )
        # Not SingleStageDetector's own: it cannot do without a head, as stage 1 must.
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
        self.vocabulary: Optional[List[str]] = None
        self.texts = torch.zeros(0, self.embed_dims)
        self.targets: DistillationTargets = StoredTargets()

    def _apply(self, fn: Callable, recurse: bool = True) -> 'KDEOV':
        """Move the vocabulary with the parameters. It is no buffer: its size changes, which averaging of weights
        (EMAHook) and the broadcast of buffers do not expect."""
        super()._apply(fn, recurse)
        self.texts = fn(self.texts)
        return self

    def set_vocabulary(self, bank: TextBank) -> None:
        """Choose the names to detect (or, in training, to learn).

        Raises:
            ValueError: The embeddings are not ``[K, D]`` with the model's D, or not finite.
        """
        bank.check(self.embed_dims)
        self.vocabulary = list(bank.names)
        self.texts = bank.embeddings.to(self.texts)

    def distill_from(self, targets: DistillationTargets) -> None:
        """Choose where the targets of the following training steps come from."""
        self.targets = targets

    def extract_feat(
        self, batch_inputs: Tensor, texts: Optional[Tensor] = None, mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, ...]:
        """The neck's features of preprocessed images ``[B, 3, H, W]``, guided by ``texts`` if given.

        Texts ``[K, D]`` or ``[B, K, D]`` and their mask ``[B, K]`` are those of :class:`TextGuidedFusion`.
        """
        return self.fuse(self.backbone(batch_inputs), texts, mask)

    def fuse(
        self, feats: Sequence[Tensor], texts: Optional[Tensor], mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, ...]:
        """Fusion and neck."""
        if self.fusion is not None:
            feats = self.fusion(feats, texts, mask)
        return self.neck(feats)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed preprocessed images (RGB in [0, 1]) ``[B, 3, H, W]``; float32, L2-normalised, ``[B, D]``.

        It never depends on a query: a database is embedded once and searched with any text.
        """
        return self.projector(self.extract_feat(images))

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict:
        """Distillation, alignment and detection losses, each where the data samples carry what it needs."""
        guided = self.fusion is not None and len(self.texts) and float(torch.rand(())) >= self.text_dropout
        sampled = self.sample_texts(batch_data_samples)
        guidance = (self.texts, None) if sampled is None else (sampled.embeddings, sampled.mask)
        feats = self.extract_feat(batch_inputs, *guidance if guided else ())
        losses = self.image_losses(feats, batch_inputs, batch_data_samples)
        if self.with_bbox:
            losses.update(
                self.bbox_head.loss(feats, batch_data_samples, self.texts, batch_inputs, self.targets, sampled)
            )
        return losses

    def sample_texts(self, batch_data_samples: SampleList) -> Optional[SampledTexts]:
        """Each image's texts, where ``num_negatives`` asks for it."""
        if self.num_negatives is None or not len(self.texts):
            return None
        none = torch.zeros(0, dtype=torch.long)
        labels = [sample.gt_instances.labels if 'gt_instances' in sample else none for sample in batch_data_samples]
        return sample_texts(self.texts, labels, self.num_negatives)

    def image_losses(self, feats: Sequence[Tensor], batch_inputs: Tensor, batch_data_samples: SampleList) -> dict:
        """Losses of the image embedding, see FeatureAlignmentLoss."""
        if self.loss_image is None:
            return {}
        return self.loss_image(
            self.projector(feats),
            self.texts,
            teacher=self.targets.image_targets(batch_inputs, batch_data_samples),
            captions=self.targets.caption_targets(batch_data_samples),
        )

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Fill ``image_embedding``, and ``pred_instances`` where a vocabulary is set.

        With ``test_cfg.embed_images=False`` there is no ``image_embedding``, which saves the second, unguided pass of
        the neck.
        """
        feats = self.backbone(batch_inputs)
        guided = self.fuse(feats, self.texts if len(self.texts) else None)
        if (self.test_cfg or {}).get('embed_images', True):
            unguided = self.fuse(feats, None) if self.fusion is not None and len(self.texts) else guided
            for sample, embedding in zip(batch_data_samples, self.projector(unguided)):
                sample.image_embedding = embedding
        if self.with_bbox and len(self.texts):
            results = self.bbox_head.predict(guided, batch_data_samples, self.texts, rescale)
            batch_data_samples = self.add_pred_to_datasample(batch_data_samples, results)
        return batch_data_samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None) -> Tensor:
        return self.encode_image(batch_inputs)
