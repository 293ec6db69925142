"""The open-vocabulary head: class-agnostic boxes and objectness, and an embedding for each region."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from mmyolo.models.dense_heads import YOLOv8Head
from mmyolo.registry import MODELS
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_area, clip_boxes_to_image, nms

from .assigner import Assignment
from .clip import Competitors
from .logit_scale import LogitScaleMixin
from .losses import weighted_mean
from .post_processing import (
    combine,
    decode_boxes,
    independent_probability,
    nms_by_class,
    score_classes,
    to_original,
    top_candidates,
)
from .targets import DistillationTargets
from .text_sampling import SampledClasses


@MODELS.register_module()
class OpenVocabHead(LogitScaleMixin, YOLOv8Head):
    """Detects the classes of any vocabulary from objectness and the similarity of region and class embeddings.

    Boxes and objectness are class-agnostic and trained as YOLOv8 trains one class. Classes are learnt by cross-entropy
    on the labelled boxes. With a region teacher, regions are distilled too: the labelled boxes and the student's best
    proposals elsewhere. A proposal in which the teacher sees an object becomes a pseudo-labelled object without a
    class, so unlabelled objects are not learnt as background.

    Args:
        loss_region: Config of the loss between region embeddings and the teacher's (DistillationLoss); None: no
            region distillation.
        loss_similarity: Config of a SimilarityDistillationLoss over the training vocabulary, or None.
        init_scale: Initial logit scale; > 0, bounded by 100 in training.
        proposals: Maximum number of unlabelled proposals an image that the teacher embeds.
        proposal_score: Minimum objectness of a proposal, in [0, 1].
        proposal_object: Minimum probability, in [0, 1], that the teacher gives to an object rather than background.
    """

    def __init__(
        self,
        *args,
        loss_region: dict | None = None,
        loss_similarity: dict | None = None,
        init_scale: float = 20.0,
        proposals: int = 2,
        proposal_score: float = 0.1,
        proposal_object: float = 0.95,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.init_logit_scale(init_scale)
        self.loss_region = MODELS.build(loss_region) if loss_region else None
        self.loss_similarity = MODELS.build(loss_similarity) if loss_similarity else None
        self.proposals, self.proposal_score, self.proposal_object = proposals, proposal_score, proposal_object

    def loss(
        self,
        x: Sequence[Tensor],
        batch_data_samples: SampleList,
        class_embeddings: Tensor,
        images: Tensor | None = None,
        targets: DistillationTargets | None = None,
        sampled: SampledClasses | None = None,
    ) -> dict:
        """Compute the losses of a batch.

        Args:
            x: The neck's features.
            batch_data_samples: With ``gt_instances`` whose labels index ``class_embeddings``; -1 is an object without a
                class.
            class_embeddings: The training vocabulary's class embeddings ``[K, D]``.
            images: RGB in [0, 1], ``[B, 3, H, W]``; needed if ``targets`` embeds regions online.
            targets: Source of the regions' distillation targets; None: labels only.
            sampled: The classes that compete for each image's regions; None: all.
        """
        self.clamp_logit_scale()
        objectness, distances, features, dists = self.head_module(x)
        scores, boxes = self.flatten_predictions(objectness, distances)
        regions = [
            InstanceData(bboxes=torch.as_tensor(sample.gt_instances.bboxes), labels=sample.gt_instances.labels)
            for sample in batch_data_samples
        ]
        if targets is not None:
            ask = partial(targets.region_targets, images, batch_data_samples, class_embeddings=class_embeddings)
            proposals = self.propose_all(scores, boxes, regions, batch_data_samples) if targets.proposals else None
            regions = self.teach(regions, proposals, ask)
        assigned = self.assigner(
            boxes.detach().to(regions[0].bboxes.dtype),
            scores.detach(),
            self.priors(objectness),
            pad_sequence([region.bboxes for region in regions], batch_first=True),
        )
        losses = self.box_losses(objectness, boxes, dists, assigned)
        if any('teacher' in region for region in regions):
            count = sum(int((region.labels < 0).sum()) for region in regions) / len(regions)
            losses['found_objects'] = objectness[0].new_tensor(count)
        losses.update(self.embedding_losses(features, regions, class_embeddings, assigned, sampled))
        return losses

    def box_losses(
        self, objectness: Sequence[Tensor], boxes: Tensor, dists: Sequence[Tensor], assigned: Assignment
    ) -> dict:
        """Compute YOLOv8's losses of class-agnostic boxes: overlap, distribution and objectness.

        Args:
            objectness: Logits of each level, ``[B, 1, H, W]``.
            boxes: Decoded, xyxy in pixels, ``[B, N, 4]``.
            dists: Logits of the box distributions of each level, ``[B, H*W, 4, reg_max]``.
            assigned: What the priors learn.
        """
        logits = torch.cat([o.flatten(2).transpose(1, 2) for o in objectness], dim=1)
        norm = assigned.scores.sum().clamp(min=1)
        loss_obj = self.loss_cls(logits, assigned.scores[..., None]).sum() / norm
        if assigned.foreground.any():
            priors = self.priors(objectness)
            stride, centres = priors[:, 2:3], priors[:, :2] / priors[:, 2:3]
            goal, weight = assigned.boxes / stride, assigned.scores[assigned.foreground]
            loss_bbox = (
                self.loss_bbox((boxes / stride)[assigned.foreground], goal[assigned.foreground], weight=weight[:, None])
                / norm
            )
            sides = self.bbox_coder.encode(centres, goal, max_dis=self.head_module.reg_max - 1, eps=0.01)
            loss_dfl = self.loss_dfl(
                torch.cat([dist.flatten(2) for dist in dists], dim=1)[assigned.foreground].view(
                    -1, self.head_module.reg_max
                ),
                sides[assigned.foreground].view(-1),
                weight=weight[:, None].expand(-1, 4).reshape(-1),
                avg_factor=norm,
            )
        else:
            loss_bbox = loss_dfl = boxes.sum() * 0
        return dict(loss_bbox=loss_bbox, loss_dfl=loss_dfl, loss_obj=loss_obj)

    @torch.no_grad()
    def teach(self, regions: list[InstanceData], proposals: list[Tensor] | None, ask: Callable) -> list[InstanceData]:
        """Add pseudo-labelled objects (label -1) and ``teacher`` embeddings ``[n, D]`` to images that have targets.

        Args:
            regions: Labelled objects of each image.
            proposals: Boxes ``[m_i, 4]`` of each image that may show an unlabelled object; None: there are none.
            ask: Returns the targets of boxes of each image.
        """
        if proposals is None:
            proposals = [region.bboxes[:0] for region in regions]
        boxes = [torch.cat([region.bboxes, proposed]) for region, proposed in zip(regions, proposals)]
        result = []
        for region, box, targets in zip(regions, boxes, ask(boxes=boxes)):
            if targets is not None:
                labels = torch.cat([region.labels, region.labels.new_full((len(box) - len(region),), -1)])
                keep = self.keep_objects(targets.objectness, len(region))
                region = InstanceData(bboxes=box[keep], labels=labels[keep], teacher=targets.embeddings[keep])
            result.append(region)
        return result

    def keep_objects(self, objectness: Tensor, labelled: int) -> Tensor:
        """Return which regions count as objects, bool ``[n]``: the first ``labelled``, and those the teacher sees."""
        keep = objectness > self.proposal_object
        keep[:labelled] = True
        return keep

    @torch.no_grad()
    def propose_all(
        self, scores: Tensor, boxes: Tensor, regions: list[InstanceData], samples: SampleList
    ) -> list[Tensor]:
        """Call :meth:`propose` for each image."""
        return [
            self.propose(score, box, region.bboxes, sample.img_shape)
            for score, box, region, sample in zip(scores, boxes, regions, samples)
        ]

    def propose(self, scores: Tensor, boxes: Tensor, labelled: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the best class-agnostic boxes ``[m, 4]`` away from the labelled boxes ``[n, 4]`` of an image."""
        boxes = clip_boxes_to_image(boxes, tuple(shape[:2]))
        good = (scores > self.proposal_score) & ((boxes[:, 2:] - boxes[:, :2]).amin(1) > 4)
        if len(labelled):
            top_left = torch.maximum(boxes[:, None, :2], labelled[None, :, :2])
            bottom_right = torch.minimum(boxes[:, None, 2:], labelled[None, :, 2:])
            shared = (bottom_right - top_left).clamp(min=0).prod(-1)
            smaller = torch.minimum(box_area(boxes)[:, None], box_area(labelled)[None]).clamp(min=1)
            good &= (shared / smaller).amax(1) < 0.3
        boxes, scores = boxes[good], scores[good]
        return boxes[nms(boxes, scores, 0.3)[: self.proposals]]

    def embedding_losses(
        self,
        features: Sequence[Tensor],
        regions: list[InstanceData],
        class_embeddings: Tensor,
        assigned: Assignment,
        sampled: SampledClasses | None = None,
    ) -> dict:
        """Compute text and distillation losses on the assigned priors, for the targets that exist."""
        flat = torch.cat([f.flatten(2).transpose(1, 2) for f in features], dim=1)
        foreground = assigned.foreground
        embeddings = self.head_module.region_embeddings(flat[foreground])
        has_teacher = ['teacher' in region for region in regions]
        losses = dict(loss_text=embeddings.sum() * 0)
        if any(has_teacher) and self.loss_region is not None:
            losses['loss_region'] = embeddings.sum() * 0
        if any(has_teacher) and self.loss_similarity is not None:
            losses['loss_region_similarity'] = embeddings.sum() * 0
        if not len(embeddings):
            return losses
        weight = assigned.scores[foreground]
        image = torch.arange(len(flat), device=flat.device)[:, None].expand_as(foreground)[foreground]
        offsets = torch.tensor([0] + [len(region) for region in regions[:-1]], device=flat.device).cumsum(0)
        index = assigned.gt_indices[foreground] + offsets[image]
        labels = torch.cat([region.labels for region in regions])[index]
        labelled = labels >= 0
        if labelled.any():
            logits = self.scale * embeddings[labelled] @ class_embeddings.T
            if sampled is not None:
                logits = logits.masked_fill(~sampled.compete(len(class_embeddings))[image[labelled]], -torch.inf)
            loss = F.cross_entropy(logits, labels[labelled], reduction='none')
            losses['loss_text'] = weighted_mean(loss, weight[labelled])
        if any(has_teacher):
            losses.update(self.region_losses(embeddings, regions, class_embeddings, weight, image, index))
        return losses

    def region_losses(
        self,
        embeddings: Tensor,
        regions: list[InstanceData],
        class_embeddings: Tensor,
        weight: Tensor,
        image: Tensor,
        index: Tensor,
    ) -> dict:
        """Compute the losses against the teacher's region embeddings, on the images that have them.

        Args:
            embeddings: Region embeddings of the P assigned priors, ``[P, D]``.
            regions: Objects of each image; some have ``teacher``.
            class_embeddings: The training vocabulary's class embeddings ``[K, D]``.
            weight: Weight of each prior, ``[P]``.
            image: Image index of each prior, ``[P]``.
            index: Region index of each prior, counted over the batch, ``[P]``.
        """
        none = embeddings.new_zeros(0, embeddings.shape[1])
        teacher = torch.cat(
            [
                region.teacher if 'teacher' in region else none.new_zeros(len(region), none.shape[1])
                for region in regions
            ]
        )[index]
        if not all('teacher' in region for region in regions):
            taught = torch.tensor(['teacher' in region for region in regions], device=image.device)[image]
            embeddings, teacher, weight = embeddings[taught], teacher[taught], weight[taught]
        losses = {}
        if self.loss_region is not None:
            losses['loss_region'] = self.loss_region(embeddings, teacher, weight)
        if self.loss_similarity is not None:
            losses['loss_region_similarity'] = self.loss_similarity(embeddings, teacher, class_embeddings, weight)
        return losses

    def priors(self, maps: Sequence[Tensor]) -> Tensor:
        """Return centre x, y and stride w, h in pixels of all positions of the maps ``[B, C, H, W]``: ``[N, 4]``."""
        return torch.cat(
            self.prior_generator.grid_priors(
                [m.shape[2:] for m in maps], dtype=maps[0].dtype, device=maps[0].device, with_stride=True
            )
        )

    def flatten_predictions(self, objectness: Sequence[Tensor], bbox_preds: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return objectness in [0, 1] ``[B, N]`` and the decoded box ``[B, N, 4]`` of every prior."""
        priors = self.priors(bbox_preds)
        boxes = torch.cat([b.flatten(2).transpose(1, 2) for b in bbox_preds], dim=1)
        boxes = self.bbox_coder.decode(priors[None, :, :2], boxes, priors[:, 2])
        return torch.cat([o.flatten(1) for o in objectness], dim=1).sigmoid(), boxes

    def predict(
        self,
        x: Sequence[Tensor],
        batch_data_samples: SampleList,
        class_embeddings: Tensor,
        rescale: bool = True,
        competitors: Competitors | None = None,
    ) -> list[InstanceData]:
        """Detect the classes of ``class_embeddings`` ``[K, D]``; ``rescale`` gives boxes in the original image.

        With ``competitors``, see :meth:`candidates`, each data sample gets ``presence``: the best score of each class
        anywhere in the image, ``[K]`` in [0, 1].
        """
        candidates = self.candidates(*self.head_module.towers(x), class_embeddings, competitors)
        results = []
        for (*image, presence), sample in zip(candidates, batch_data_samples):
            if presence is not None:
                sample.presence = presence
            results.append(self.post_process(*image, sample.metainfo, rescale))
        return results

    def candidates(
        self,
        objectness: Sequence[Tensor],
        dists: Sequence[Tensor],
        features: Sequence[Tensor],
        class_embeddings: Tensor,
        competitors: Competitors | None = None,
    ) -> list[tuple[Tensor, ...]]:
        """Classify the priors with the highest objectness of each image; the others are neither decoded nor embedded.

        For the scores see :func:`~kdeov_mm.models.post_processing.score_classes`. ``test_cfg.nms_pre`` priors and
        ``test_cfg.classes_per_box`` classes of each are kept. If these are the numbers of priors and classes, the
        scoring is exhaustive.

        Args:
            objectness, dists, features: See ``OpenVocabHeadModule.towers``.
            class_embeddings: The vocabulary's class embeddings ``[K, D]``.
            competitors: What competes with the classes; None: they compete with each other.

        Returns:
            list: For each image boxes ``[M, 4]`` in pixels of the network's input, scores ``[M]`` in [0, 1], labels
            ``[M]``, and the best score of each class ``[K]``; None in its place without ``competitors``.
        """
        objectness, priors, (dists, features) = top_candidates(
            objectness, (dists, features), self.priors(objectness), self.test_cfg.nms_pre
        )
        boxes = decode_boxes(priors, self.head_module.distances(dists.unflatten(2, (4, -1))))
        results = []
        for box, objectness_, feature in zip(boxes, objectness, features):  # [M, K] at a time: K may be large
            probability = self.probability(feature, class_embeddings, competitors)
            scores, labels = score_classes(objectness_, probability, self.test_cfg)
            keep = scores > 0
            presence = None
            if competitors is not None:
                presence = combine(objectness_, probability, self.test_cfg.objectness_power).amax(0)
            results.append((box[keep.nonzero()[:, 0]], scores[keep], labels[keep], presence))
        return results

    def probability(self, features: Tensor, class_embeddings: Tensor, competitors: Competitors | None) -> Tensor:
        """Compute the class probabilities ``[M, K]`` of tower features ``[M, C]``; see :meth:`candidates`."""
        if competitors is None:
            return self.head_module.similarity(features, self.scale * class_embeddings).softmax(1)
        rows = torch.cat([class_embeddings, competitors.embeddings])
        logits = self.head_module.similarity(features, self.scale * rows)
        count = len(class_embeddings)
        return independent_probability(
            logits[:, :count],
            logits[:, count:],
            competitors.competes,
            competitors.hyponyms,
            float(self.scale.detach()) * competitors.background,
        )

    def post_process(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, img_meta: dict, rescale: bool
    ) -> InstanceData:
        """Clip boxes, apply non-maximum suppression, and return the ``test_cfg.max_per_img`` best, best first.

        With ``test_cfg.nms.class_agnostic`` boxes of all classes suppress each other, otherwise those of one class.
        """
        if rescale:
            boxes = to_original(boxes, img_meta)
            height, width = img_meta['ori_shape'][:2]
        else:
            height, width = img_meta['img_shape'][:2]
        boxes = clip_boxes_to_image(boxes, (height, width))
        cfg = self.test_cfg
        groups = labels * 0 if cfg.nms.get('class_agnostic', False) else labels
        keep = nms_by_class(boxes, scores, groups, cfg.nms.iou_threshold, cfg.max_per_img)
        return InstanceData(bboxes=boxes[keep], scores=scores[keep], labels=labels[keep])
