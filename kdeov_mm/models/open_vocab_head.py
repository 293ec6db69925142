"""The open-vocabulary head: class-agnostic boxes and objectness, and an embedding for each region."""

import math
from typing import Callable, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmengine.dist import get_world_size
from mmengine.structures import InstanceData
from mmyolo.models.dense_heads import YOLOv8Head
from mmyolo.registry import MODELS
from torch import Tensor, nn
from torchvision.ops import box_area, clip_boxes_to_image, nms

from .bags import bag_embeddings, enclosing_boxes, pair_neighbours
from .boxes import nms_by_class, to_original
from .losses import weighted_mean
from .text_sampling import SampledTexts


@MODELS.register_module()
class OpenVocabHead(YOLOv8Head):
    """Detects with any vocabulary: objectness decides where, the similarity of region and text decides what.

    Boxes and objectness are class-agnostic and trained as YOLOv8 trains one class. Names are learnt by cross-entropy
    on the boxes that have one. With a region teacher, regions are distilled too: the labelled boxes and the student's
    own best proposals elsewhere. A proposal in which the teacher sees an object also counts as an object, without a
    name, so that unlabelled objects are not learnt as background.

    Args:
        loss_text: Weight of the cross-entropy over the vocabulary.
        loss_region: Config of the loss between region embeddings and the teacher's (DistillationLoss); None: no
            region distillation.
        loss_similarity: Config of a SimilarityDistillationLoss over the training vocabulary, or None.
        loss_bag: Config of the contrastive loss between bags of regions and the teacher's view of them
            (CrossModalAlignmentLoss), or None; needs a region teacher at hand, a region store holds no bags.
        init_scale: Start of the learnt factor from cosine similarity to logit.
        proposals: Most unlabelled proposals an image that are shown to the teacher.
        proposal_score: Least objectness of a proposal, in [0, 1].
        proposal_object: Least probability, in [0, 1], with which the teacher sees an object rather than background.
    """

    def __init__(
        self,
        *args,
        loss_text: float = 1.0,
        loss_region: Optional[dict] = None,
        loss_similarity: Optional[dict] = None,
        loss_bag: Optional[dict] = None,
        init_scale: float = 20.0,
        proposals: int = 2,
        proposal_score: float = 0.1,
        proposal_object: float = 0.95,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.log_scale = nn.Parameter(torch.tensor(math.log(init_scale)))
        self.text_weight = loss_text
        self.loss_region = MODELS.build(loss_region) if loss_region else None
        self.loss_similarity = MODELS.build(loss_similarity) if loss_similarity else None
        self.loss_bag = MODELS.build(loss_bag) if loss_bag else None
        self.proposals, self.proposal_score, self.proposal_object = proposals, proposal_score, proposal_object
        self.show_proposals = True  # CLIPDistillationHook waits until boxes are good enough to be shown

    @property
    def scale(self) -> Tensor:
        """The factor from cosine similarity to logit; at most 100, as in CLIP."""
        return self.log_scale.exp().clamp(max=100.0)

    def loss(
        self,
        x: Sequence[Tensor],
        batch_data_samples: SampleList,
        texts: Tensor,
        region_teacher: Optional[Callable] = None,
        sampled: Optional[SampledTexts] = None,
    ) -> dict:
        """Losses of a batch.

        Args:
            x: The neck's features.
            batch_data_samples: With ``gt_instances`` whose labels index ``texts``; -1 is an object without a name. They
                may bring their own ``teacher`` embeddings ``[n, D]`` from a region store.
            texts: The training vocabulary's embeddings ``[K, D]``.
            region_teacher: Maps one ``[n_i, 4]`` tensor of boxes for each image to ``[sum n_i, D]`` embeddings and
                ``[sum n_i]`` probabilities that there is an object.
            sampled: The names that compete for each image's regions; None: all.
        """
        objectness, bbox_preds, features, dists = self.head_module(x)
        gt_instances, _, img_metas = unpack_gt_instances(batch_data_samples)
        instances = [InstanceData(bboxes=torch.as_tensor(gt.bboxes), labels=gt.labels) for gt in gt_instances]
        bags = None
        if region_teacher is not None:
            instances = self.add_regions(instances, objectness, bbox_preds, img_metas, region_teacher)
            bags = self.make_bags(instances, region_teacher)
        elif 'teacher' in gt_instances[0]:
            for instance, gt in zip(instances, gt_instances):
                instance.teacher = gt.teacher
        agnostic = [InstanceData(bboxes=i.bboxes, labels=torch.zeros_like(i.labels)) for i in instances]
        losses = super().loss_by_feat(objectness, bbox_preds, dists, agnostic, img_metas)
        # YOLOv8 sums over the global batch; a mean keeps the balance with the other losses at any batch size.
        losses = {name: loss / (len(instances) * get_world_size()) for name, loss in losses.items()}
        losses['loss_obj'] = losses.pop('loss_cls')
        if 'teacher' in instances[0]:
            found = sum(int((instance.labels < 0).sum()) for instance in instances) / len(instances)
            losses['found_objects'] = objectness[0].new_tensor(found)
        losses.update(self.embedding_losses(features, instances, texts, bags, sampled))
        return losses

    @torch.no_grad()
    def add_regions(
        self, instances: List[InstanceData], objectness, bbox_preds, img_metas, region_teacher: Callable
    ) -> List[InstanceData]:
        """Add unlabelled objects (label -1) and every instance's ``teacher`` embedding ``[n, D]``."""
        scores, boxes = self.flatten_predictions(objectness, bbox_preds)
        proposals = [self.propose(s, b, i.bboxes, meta) for s, b, i, meta in zip(scores, boxes, instances, img_metas)]
        counts = [(len(i), len(p)) for i, p in zip(instances, proposals)]
        embeddings, objects = region_teacher([torch.cat([i.bboxes, p]) for i, p in zip(instances, proposals)])
        result = []
        for instance, found, (n, m), embedding, is_object in zip(
            instances,
            proposals,
            counts,
            embeddings.split([n + m for n, m in counts]),
            objects.split([n + m for n, m in counts]),
        ):
            keep = torch.cat([is_object.new_ones(n, dtype=torch.bool), is_object[n:] > self.proposal_object])
            labels = torch.cat([instance.labels, instance.labels.new_full((m,), -1)])
            result.append(
                InstanceData(
                    bboxes=torch.cat([instance.bboxes, found])[keep], labels=labels[keep], teacher=embedding[keep]
                )
            )
        return result

    def make_bags(self, instances: List[InstanceData], region_teacher: Callable) -> Optional[tuple]:
        """Pairs of neighbouring instances ``[m_i, 2]`` of each image and the teacher's embeddings ``[sum m_i, D]``."""
        if self.loss_bag is None:
            return None
        pairs = [pair_neighbours(instance.bboxes) for instance in instances]
        boxes = [enclosing_boxes(instance.bboxes, pair) for instance, pair in zip(instances, pairs)]
        return pairs, region_teacher(boxes)[0]

    def propose(self, scores: Tensor, boxes: Tensor, labelled: Tensor, img_meta: dict) -> Tensor:
        """The best class-agnostic boxes ``[m, 4]`` away from the labelled ones ``[n, 4]``."""
        if not self.show_proposals:
            return boxes[:0]
        boxes = clip_boxes_to_image(boxes, tuple(img_meta['img_shape'][:2]))
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
        instances: List[InstanceData],
        texts: Tensor,
        bags: Optional[tuple] = None,
        sampled: Optional[SampledTexts] = None,
    ) -> dict:
        """Text and distillation losses on the priors that ``loss_by_feat`` has just assigned."""
        flat = torch.cat([f.flatten(2).transpose(1, 2) for f in features], dim=1)
        foreground = self.assigner.foreground
        embeddings = self.head_module.region_embeddings(flat[foreground])
        taught = 'teacher' in instances[0]
        losses = dict(loss_text=embeddings.sum() * 0)
        if taught and self.loss_region is not None:
            losses['loss_region'] = embeddings.sum() * 0
        if taught and self.loss_similarity is not None:
            losses['loss_region_similarity'] = embeddings.sum() * 0
        if bags is not None:
            losses['loss_bag'] = embeddings.sum() * 0
        if not len(embeddings):
            return losses
        weight = self.assigner.scores[foreground]
        image = torch.arange(len(flat), device=flat.device)[:, None].expand_as(foreground)[foreground]
        index = self.assigner.gt_indices[foreground]
        offsets = torch.tensor([0] + [len(i) for i in instances[:-1]], device=flat.device).cumsum(0)
        index = index + offsets[image]
        labels = torch.cat([i.labels for i in instances])[index]
        named = labels >= 0
        if named.any():
            logits = self.scale * embeddings[named] @ texts.T
            if sampled is not None:
                logits = logits.masked_fill(~sampled.compete(len(texts))[image[named]], -torch.inf)
            loss = F.cross_entropy(logits, labels[named], reduction='none')
            losses['loss_text'] = self.text_weight * weighted_mean(loss, weight[named])
        if taught:
            teacher = torch.cat([i.teacher for i in instances])[index]
            if self.loss_region is not None:
                losses['loss_region'] = self.loss_region(embeddings, teacher, weight)
            if self.loss_similarity is not None:
                losses['loss_region_similarity'] = self.loss_similarity(embeddings, teacher, texts, weight)
        if bags is not None:
            pairs, teacher = bags
            regions, valid = bag_embeddings(embeddings, index, weight, instances, pairs)
            if len(regions):
                losses['loss_bag'] = self.loss_bag(regions, teacher[valid])
        return losses

    def priors(self, maps: Sequence[Tensor]) -> Tensor:
        """Centre x, y and stride w, h, in pixels, of all positions of the levels' maps ``[B, C, H, W]``: ``[N, 4]``."""
        return torch.cat(
            self.prior_generator.grid_priors(
                [m.shape[2:] for m in maps], dtype=maps[0].dtype, device=maps[0].device, with_stride=True
            )
        )

    def flatten_predictions(self, objectness: Sequence[Tensor], bbox_preds: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Of every prior, objectness in [0, 1] ``[B, N]`` and the decoded box ``[B, N, 4]``."""
        priors = self.priors(bbox_preds)
        boxes = torch.cat([b.flatten(2).transpose(1, 2) for b in bbox_preds], dim=1)
        boxes = self.bbox_coder.decode(priors[None, :, :2], boxes, priors[:, 2])
        return torch.cat([o.flatten(1) for o in objectness], dim=1).sigmoid(), boxes

    def predict(
        self, x: Sequence[Tensor], batch_data_samples: SampleList, texts: Tensor, rescale: bool = True
    ) -> List[InstanceData]:
        """Detect with the vocabulary ``texts`` ``[K, D]``; boxes in pixels of the original image if ``rescale``."""
        found = self.candidates(*self.head_module.towers(x), texts)
        return [self.post_process(*image, sample.metainfo, rescale) for image, sample in zip(found, batch_data_samples)]

    def candidates(
        self, objectness: Sequence[Tensor], dists: Sequence[Tensor], features: Sequence[Tensor], texts: Tensor
    ) -> List[Tuple[Tensor, ...]]:
        """Name the most object-like priors of each image; only they are decoded, embedded and compared with texts.

        The score is ``objectness^a * probability^(1-a)`` with ``a = test_cfg.objectness_power``, as OLN and F-VLM
        combine localisation and similarity. ``test_cfg.nms_pre`` priors and ``test_cfg.classes_per_box`` names of each
        are kept; with as many as there are priors and names, the scoring is exhaustive.

        Args:
            objectness, dists, features: See ``OpenVocabHeadModule.towers``.
            texts: The vocabulary's embeddings ``[K, D]``.

        Returns:
            list: For each image boxes ``[M, 4]`` in pixels of the network's input, scores ``[M]`` in [0, 1] and labels
            ``[M]``.
        """
        cfg, priors = self.test_cfg, self.priors(objectness)
        objectness = torch.cat([o.flatten(1) for o in objectness], dim=1)
        objectness, order = objectness.topk(min(cfg.nms_pre, len(priors)))
        dists, features = gather(dists, order), gather(features, order)
        found = []
        for logit, prior, dist, feature in zip(objectness, priors[order], dists, features):
            distances = self.head_module.distances(dist.unflatten(1, (4, -1)))
            boxes = self.bbox_coder.decode(prior[:, :2], distances, prior[:, 2])[0]
            probability = self.head_module.similarity(feature, self.scale * texts).softmax(1)
            probability, labels = probability.topk(min(cfg.classes_per_box, len(texts)))
            power = cfg.objectness_power
            scores = logit.sigmoid()[:, None] ** power * probability ** (1 - power)
            keep = scores > cfg.score_thr
            found.append((boxes[keep.nonzero()[:, 0]], scores[keep], labels[keep]))
        return found

    def post_process(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, img_meta: dict, rescale: bool
    ) -> InstanceData:
        """Boxes in the image, without duplicates, the ``test_cfg.max_per_img`` best first."""
        if rescale:
            boxes = to_original(boxes, img_meta)
            height, width = img_meta['ori_shape'][:2]
        else:
            height, width = img_meta['img_shape'][:2]
        boxes = clip_boxes_to_image(boxes, (height, width))
        keep = nms_by_class(boxes, scores, labels, self.test_cfg.nms.iou_threshold, self.test_cfg.max_per_img)
        return InstanceData(bboxes=boxes[keep], scores=scores[keep], labels=labels[keep])


def gather(maps: Sequence[Tensor], index: Tensor) -> Tensor:
    """Vectors ``[B, M, C]`` of the levels' maps ``[B, C, H, W]`` at positions ``[B, M]`` of all levels in a row."""
    flat = torch.cat([m.flatten(2) for m in maps], dim=2)
    return flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)
