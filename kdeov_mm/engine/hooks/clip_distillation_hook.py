"""Brings the frozen teacher to the student's batches."""

from typing import List, Optional, Sequence, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmyolo.registry import HOOKS, MODELS
from torch import Tensor
from torch.utils.data import IterableDataset

from kdeov_mm.models.clip import RegionTeacher, TextBank, complete_teacher, describe_teacher, teacher_view
from kdeov_mm.models.clip.region_teacher import BACKGROUND_PROMPTS
from kdeov_mm.utils import unwrap
from kdeov_mm.utils.seeds import choose_caption


@HOOKS.register_module()
class CLIPDistillationHook(Hook):
    """Fills ``teacher_embedding`` (and ``caption_embedding``) in the data samples before each step.

    The teacher sees the very images that the student sees, after augmentation, without padding and in its own
    preprocessing. It lives in this hook, so it is in no checkpoint, no optimizer and no distributed graph.

    Args:
        teacher: Config of an image teacher (``OpenCLIPTeacher``, ``EnsembleTeacher``). What it leaves out is that of
            the model's text encoder, so that None is the image tower of the same CLIP.
        regions: Whether the head may ask the teacher about regions.
        proposals_from_epoch: First epoch (from 0) in which unlabelled proposals are shown to the teacher.
        background_prompts: Texts that describe a region without an object.
        caption_choice: Which of an image's captions an epoch takes: ``turn``, one after the other, or ``random``, a
            function of seed, epoch and image, so that images take theirs independently.
        train: Whether the hook does all this in training; False where a ``CachedTeacherDataset`` does, and the teacher
            is then loaded for tests alone.
        test: Whether test batches get ``teacher_embedding`` too, so that metrics report the teacher beside
            the student.

    Raises:
        ValueError: If ``caption_choice`` is unknown.
    """

    priority = 'BELOW_NORMAL'  # after IterTimerHook, whose data_time is that of loading, not the teacher's

    def __init__(
        self,
        teacher: Optional[dict] = None,
        regions: bool = True,
        proposals_from_epoch: int = 1,
        background_prompts: Sequence[str] = BACKGROUND_PROMPTS,
        caption_choice: str = 'turn',
        train: bool = True,
        test: bool = True,
    ) -> None:
        if caption_choice not in ('turn', 'random'):
            raise ValueError(f"caption_choice must be 'turn' or 'random', got {caption_choice!r}")
        self.caption_choice = caption_choice
        self.teacher_cfg = teacher
        self.regions, self.proposals_from_epoch = regions, proposals_from_epoch
        self.background_prompts = list(background_prompts)
        self.train, self.test = train, test
        self.teacher = None
        self.captions = {}
        self.caption_encoder = None

    def build(self, runner):
        """Build the teacher, once, and check that its embeddings fit the student.

        Raises:
            ValueError: The teacher's dimension is not the student's.
        """
        model = self.student = unwrap(runner.model)
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
        """The teacher's config, completed by the model's text encoder."""
        return complete_teacher(self.teacher_cfg, model)

    def before_train(self, runner) -> None:
        if not self.train:
            return
        model = self.build(runner)
        self.described = False
        if model.loss_image is not None and 'captions' in model.loss_image.inputs:
            self.read_captions(runner.train_dataloader.dataset)
        if self.regions and model.with_bbox:
            self.background = TextBank.build(self.background_prompts, model.text_encoder, templates='none')
            model.region_teacher = self.embed_regions

    def read_captions(self, dataset) -> None:
        """Embed all captions of a data set beforehand; those of a stream only as they come."""
        if isinstance(dataset, IterableDataset):
            self.caption_encoder = self.student.text_encoder
            return
        infos = map(dataset.get_data_info, range(len(dataset)))
        texts = sorted({caption for info in infos for caption in info.get('captions') or []})
        if texts:
            bank = TextBank.build(texts, self.student.text_encoder, templates='none')
            self.captions = dict(zip(bank.names, bank.embeddings))

    def before_train_epoch(self, runner) -> None:
        if self.train and self.student.with_bbox:
            self.student.bbox_head.show_proposals = runner.epoch >= self.proposals_from_epoch

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict = None) -> None:
        if not self.train:
            return
        if not self.described:
            print_log(describe_teacher(self.teacher, len(data_batch['inputs'])), 'current')
            self.described = True
        self.fill(data_batch)
        if self.captions or self.caption_encoder:
            captioned = [sample for sample in data_batch['data_samples'] if sample.get('captions')]
            texts = [self.choose(runner, sample) for sample in captioned]
            for sample, embedding in zip(captioned, self.embed_captions(texts)):
                sample.caption_embedding = embedding

    def choose(self, runner, sample) -> str:
        """The image's caption for this epoch."""
        if self.caption_choice == 'random':
            return choose_caption(sample.captions, runner.seed, runner.epoch, sample.img_path)
        return sample.captions[runner.epoch % len(sample.captions)]

    def embed_captions(self, texts: Sequence[str]) -> Sequence[Tensor]:
        """One embedding ``[D]`` for each text."""
        if self.captions or not texts:
            return [self.captions[text] for text in texts]
        return self.caption_encoder.encode_text(texts)

    def before_test_epoch(self, runner) -> None:
        if self.test:
            self.build(runner)

    def before_test_iter(self, runner, batch_idx: int, data_batch: dict = None) -> None:
        if self.test:
            self.fill(data_batch)

    def fill(self, data_batch: dict) -> None:
        """Embed the batch's images (uint8 BGR, ``[3, H, W]`` each) into ``teacher_embedding``."""
        inputs, samples = data_batch['inputs'], data_batch['data_samples']
        if self.regions:
            images = [image.to(self.teacher.device).flip(0).float() / 255 for image in inputs]
            height, width = (max(image.shape[i] for image in images) for i in (1, 2))
            self.images = torch.stack(
                [  # regions are cut from one batch, padded as the student's
                    torch.nn.functional.pad(image, (0, width - image.shape[2], 0, height - image.shape[1]))
                    for image in images
                ]
            )
        views = teacher_view(inputs, samples, self.teacher.device)
        for sample, embedding in zip(samples, self.teacher.encode_image(views)):
            sample.teacher_embedding = embedding

    def embed_regions(self, boxes: List[Tensor]) -> Tuple[Tensor, Tensor]:
        """What the teacher says of regions of the current batch, see ``RegionTeacher``.

        Args:
            boxes: For each image ``[n_i, 4]``, xyxy in pixels of the student's input.
        """
        return RegionTeacher(self.teacher, self.student.texts, self.background)(self.images, boxes)
