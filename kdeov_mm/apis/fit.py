"""Training of a student on a dataloader of images and captions, without a config file."""

import re
import tempfile
import uuid
from collections.abc import Iterable, Sequence

import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from kdeov_mm.models import OpenCLIPTeacher
from .build import ImageTextModel, stage_1, to_unit


def fit_alignment(
    model: ImageTextModel, dataloader: Iterable[tuple[Tensor, Sequence[str]]], epochs: int, lr: float = 1e-3
) -> list[dict[str, float]]:
    """Train a student to embed images as its CLIP does, and near their captions.

    MMEngine's ``Runner`` trains, on a GPU if there is one, and moves the model back afterwards. Losses and optimizer
    are those of the demo's config, at a constant learning rate. The batch's captions take the place of the vocabulary.
    Nothing is written. For checkpoints, logs and a schedule use :func:`student_config` with ``tools/train.py``. Seed
    PyTorch for repeatable results.

    Args:
        model: Model from :func:`build_kdeov`; trained in place.
        dataloader: A PyTorch ``DataLoader`` with a length, or a list of batches. A batch is images, RGB
            ``[B, 3, H, W]`` with B > 1, uint8 or floating-point in [0, 1], and B captions.
        epochs: Number of passes over the data.
        lr: Learning rate of AdamW, > 0.

    Returns:
        list: For each epoch the means over its steps of each ``loss_*``, of their sum ``loss`` and of the cosine to the
        teacher, ``teacher_cosine``.

    Raises:
        ValueError: If an argument is out of range, the data are empty, or a batch has only one image or not
            one caption for each image.
    """
    if epochs < 1 or not lr > 0:
        raise ValueError(f'epochs and lr: must be at least 1 and greater than 0, got {epochs} and {lr}')
    if model.student.loss_image is None:
        raise ValueError('model: its student has no loss_image; give a model from build_kdeov')
    if isinstance(dataloader, DataLoader):
        loader = dataloader
    else:
        loader = DataLoader(list(dataloader), batch_size=None, collate_fn=lambda batch: batch)
    if not len(loader):
        raise ValueError('dataloader: it has no batches')
    wrapper = stage_1().optim_wrapper
    wrapper.optimizer.lr = lr
    device = model.device
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(
            AlignmentModel(model),
            work_dir=folder,
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=wrapper,
            default_hooks=dict(timer=None, logger=None, checkpoint=None, sampler_seed=None),
            default_scope='mmyolo',
            log_level='ERROR',
            experiment_name=uuid.uuid4().hex,  # runners with one name share their logs
            randomness=dict(seed=int(torch.randint(2**31, ()))),
        )
        runner.train()
    model.to(device).eval()
    scalars = {name.removeprefix('train/'): log.data[0] for name, log in runner.message_hub.log_scalars.items()}
    steps = {name: values for name, values in scalars.items() if re.search('loss|teacher|temperature', name)}
    means = {name: values.reshape(epochs, -1).mean(1) for name, values in steps.items()}
    return [{name: float(values[epoch]) for name, values in means.items()} for epoch in range(epochs)]


class AlignmentModel(BaseModel):
    """Computes the student's image losses for :func:`fit_alignment`, over the captions of each batch.

    Args:
        model: The student and its text encoder.
    """

    def __init__(self, model: ImageTextModel) -> None:
        super().__init__()
        self.model = model
        self.teacher = OpenCLIPTeacher(model.clip, model.pretrained)

    def forward(self, images: Tensor, captions: Sequence[str], mode: str = 'loss') -> dict[str, Tensor]:
        """Compute the losses of B images ``[B, 3, H, W]`` and their B captions; see :func:`fit_alignment`."""
        if len(images) != len(captions) or len(images) < 2:
            raise ValueError(
                f'dataloader: a batch needs at least two images and a caption for each, got {len(images)} '
                f'images and {len(captions)} captions; set drop_last=True?'
            )
        images = to_unit(images).to(self.model.device)
        distinct = list(dict.fromkeys(captions))
        text_features = self.model.encode_text(distinct)
        rows = [text_features[distinct.index(caption)] for caption in captions]
        targets = self.teacher.to(images.device).encode_image(images)
        loss = self.model.student.loss_image
        assert loss is not None  # fit_alignment has checked it
        return loss(self.model.encode_image(images), text_features, list(targets), rows)
