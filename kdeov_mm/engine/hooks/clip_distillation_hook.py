"""The hook that distils a frozen CLIP teacher into the student."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmyolo.registry import HOOKS, MODELS
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from kdeov_mm.models.clip import OnlineTargets, ClassEmbeddings, complete_teacher, describe_teacher, teacher_view
from kdeov_mm.models.clip.region_teacher import BACKGROUND_PROMPTS
from kdeov_mm.utils import unwrap
from kdeov_mm.utils.seeds import choose_caption


@HOOKS.register_module()
class CLIPDistillationHook(Hook):
    """Hands the model a source of distillation targets, and fills ``teacher_embedding`` of test samples for metrics.

    If the model's class names do not compete with each other, test samples get ``teacher_presence``, too: how likely
    the teacher finds each class in the whole image, ``[K]``.

    The teacher sees the same augmented images as the student, without padding and with its own preprocessing. The hook
    holds the teacher, so it is in no checkpoint, no optimizer and no distributed graph.

    Args:
        teacher: Config of an image teacher such as ``OpenCLIPTeacher``. Missing fields come from the model's text
            encoder, so None means the image tower of the same CLIP.
        regions: Whether the teacher embeds regions for the head. Set False if a store has their embeddings.
        proposals_from_epoch: First epoch (from 0) in which the teacher embeds unlabelled proposals.
        caption_choice: How an epoch chooses one of an image's captions: ``turn`` takes them one after the other,
            ``random`` draws one from seed, epoch and image.
        train: Whether the hook gives targets in training. Set False with a ``CachedTeacherDataset``; the teacher is
            then loaded only for tests.

    Raises:
        ValueError: If ``caption_choice`` is unknown.
    """

    priority = 'BELOW_NORMAL'  # after IterTimerHook, so its data_time does not include the teacher

    def __init__(
        self,
        teacher: dict | None = None,
        regions: bool = True,
        proposals_from_epoch: int = 1,
        caption_choice: str = 'turn',
        train: bool = True,
    ) -> None:
        if caption_choice not in ('turn', 'random'):
            raise ValueError(f"caption_choice: must be 'turn' or 'random', got {caption_choice!r}")
        self.caption_choice = caption_choice
        self.teacher_cfg = teacher
        self.regions, self.proposals_from_epoch = regions, proposals_from_epoch
        self.train = train
        self.teacher = None

    def build(self, runner):
        """Build the teacher once, check that its embeddings fit the student, and return the student.

        Raises:
            ValueError: If the teacher's dimension differs from the student's.
        """
        model = unwrap(runner.model)
        if self.teacher is None:
            self.teacher = MODELS.build(self.find_teacher(model)).to(next(model.parameters()).device)
            dims = self.teacher.embed_dims
            if dims != model.embed_dims:
                raise ValueError(
                    f'teacher: {self.teacher.name} gives {dims}-dimensional embeddings, but the '
                    f'student has model.embed_dims={model.embed_dims}; '
                    f'set model.embed_dims={dims} in the config'
                )
        return model

    def find_teacher(self, model) -> dict:
        """Return the teacher's config, completed from the model's text encoder."""
        return complete_teacher(self.teacher_cfg, model)

    def before_train(self, runner) -> None:
        """Load the teacher, and embed captions and background prompts."""
        if not self.train:
            return
        model = self.build(runner)
        self.described = False
        self.embed_captions = self.background = None
        if model.loss_image is not None and 'captions' in model.loss_image.inputs:
            self.embed_captions = caption_embedder(model, runner.train_dataloader.dataset)
        if self.regions and model.with_bbox:
            self.background = ClassEmbeddings.build(BACKGROUND_PROMPTS, model.text_encoder, templates='none')

    def before_train_epoch(self, runner) -> None:
        """Hand the model this epoch's source of targets."""
        if self.train:
            unwrap(runner.model).distill_from(
                OnlineTargets(
                    self.teacher,
                    self.embed_captions,
                    partial(self.choose, runner.seed, runner.epoch),
                    self.background,
                    proposals=self.background is not None and runner.epoch >= self.proposals_from_epoch,
                )
            )

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict = None) -> None:
        """Log the teacher's cost once."""
        if self.train and not self.described:
            print_log(describe_teacher(self.teacher, len(data_batch['inputs'])), 'current')
            self.described = True

    def choose(self, seed: int, epoch: int, sample: DetDataSample) -> str:
        """Choose the image's caption for an epoch."""
        if self.caption_choice == 'random':
            return choose_caption(sample.captions, seed, epoch, sample.img_path)
        return sample.captions[epoch % len(sample.captions)]

    def before_test_epoch(self, runner) -> None:
        """Load the teacher."""
        self.build(runner)

    def before_test_iter(self, runner, batch_idx: int, data_batch: dict = None) -> None:
        """Embed the batch's images for metrics."""
        self.fill(data_batch)
        self.fill_presence(unwrap(runner.model), data_batch['data_samples'])

    def fill(self, data_batch: dict) -> None:
        """Fill ``teacher_embedding`` of a batch's images (uint8 BGR, ``[3, H, W]`` each) for metrics."""
        samples = data_batch['data_samples']
        views = teacher_view(data_batch['inputs'], samples, self.teacher.device)
        for sample, embedding in zip(samples, self.teacher.encode_image(views)):
            sample.teacher_embedding = embedding

    def fill_presence(self, model, samples: Sequence[DetDataSample]) -> None:
        """Fill ``teacher_presence`` if the model detects class names that do not compete with each other."""
        if not model.with_bbox or not len(model.class_embeddings) or model.competitors is None:
            return
        embeddings = torch.stack([sample.teacher_embedding for sample in samples])
        presence = model.competitors.image_presence(embeddings, model.class_embeddings, self.teacher.logit_scale)
        for sample, scores in zip(samples, presence):
            sample.teacher_presence = scores


def caption_embedder(model, dataset: Dataset) -> Callable[[Sequence[str]], Sequence[Tensor]] | None:
    """Return a function that embeds captions: in advance for a data set with an index, else during training.

    Return None if a data set has no captions.
    """
    if isinstance(dataset, IterableDataset):
        return model.text_encoder.encode_text
    infos = map(dataset.get_data_info, range(len(dataset)))
    texts = sorted({caption for info in infos for caption in info.get('captions') or []})
    if not texts:
        return None
    embedded = ClassEmbeddings.build(texts, model.text_encoder, templates='none')
    features = dict(zip(embedded.class_names, embedded.embeddings))
    return lambda captions: [features[caption] for caption in captions]
