"""Stops, or skips the step, when a loss or a gradient is no number or the loss explodes."""

import json
import logging
import math
from pathlib import Path
from typing import List, Optional

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmyolo.registry import HOOKS

from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class LossGuardHook(Hook):
    """Guards the weights against a bad batch, and names the batch's files.

    It looks at the loss before the backward pass and at the gradients before the optimizer's step, so that the weights
    are still good when it stops. All ranks stop or skip together. With gradient accumulation one bad batch costs the
    whole update. Gradients that overflow in half precision are the loss scaler's business and no reason.

    Each case is logged and added as one line of JSON (``epoch``, ``iter``, ``reason``, ``files``) to
    ``bad_batches.jsonl`` in the work dir.

    Args:
        action: ``stop`` raises an error; ``skip`` leaves weights, optimizer state and running statistics as they were
            before the batch and goes on.
        max_loss: The largest total loss that is not an explosion.
        max_skips: With ``skip``, stop after so many bad batches in a row.

    Raises:
        ValueError: Unknown action.
        FloatingPointError: In training, when it stops.
    """

    priority = 'HIGH'  # the running statistics are restored before anything averages or saves them

    def __init__(self, action: str = 'stop', max_loss: float = math.inf, max_skips: int = 10) -> None:
        if action not in ('stop', 'skip'):
            raise ValueError(f'action: {action!r} is unknown; choose stop or skip')
        self.action, self.max_loss, self.max_skips = action, max_loss, max_skips
        self.row = 0  # bad batches since the last good one

    def before_train(self, runner) -> None:
        """Watch the model and its optimizer."""
        self.runner = runner
        self.model = unwrap(runner.model)
        self.bad = self.drop = False  # this batch; the update that it is a part of
        self.handles = [
            self.model.register_forward_pre_hook(self.remember),
            self.model.register_forward_hook(self.check_losses, with_kwargs=True),
            runner.optim_wrapper.optimizer.register_step_pre_hook(self.check_gradients),
        ]

    def after_train(self, runner) -> None:
        """Let go of them."""
        for handle in self.handles:
            handle.remove()

    def before_train_iter(self, runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        """Note the batch's files."""
        self.bad = False
        self.files = [str(sample.get('img_path', sample.get('img_id'))) for sample in data_batch['data_samples']]

    def remember(self, model, args) -> None:
        """Before the forward pass: keep the running statistics."""
        if self.action == 'skip' and model.training:
            self.buffers = [buffer.clone() for buffer in model.buffers()]

    @torch.no_grad()
    def check_losses(self, model, args, kwargs, losses) -> None:
        """After the forward pass: look at the losses."""
        if kwargs.get('mode') != 'loss':
            return
        total, parts = model.parse_losses(losses)
        reason = None
        if not total.isfinite():
            names = [
                name for name, value in parts.items() if 'loss' in name and name != 'loss' and not torch.isfinite(value)
            ]
            reason = f'loss is {total.item()} ({", ".join(names)})'
        elif total > self.max_loss:
            reason = f'loss is {total.item():.6g}, above max_loss={self.max_loss:g}'
        anywhere = torch.tensor(float(reason is not None), device=total.device)
        all_reduce(anywhere, 'max')
        if anywhere:
            self.report(reason)

    def check_gradients(self, optimizer, args, kwargs) -> None:
        """Before the optimizer's step: look at the gradients; without gradients the step changes nothing."""
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if parameters and not self.drop and not torch.stack([p.grad.sum() for p in parameters]).sum().isfinite():
            self.report('gradient is not finite')
        if self.drop:
            for parameter in parameters:
                parameter.grad = None

    def report(self, reason: Optional[str]) -> None:
        """Stop or skip; called on all ranks, with a reason on at least one."""
        self.bad = self.drop = True
        cases = [case for case in all_gather_object((reason, self.files)) if case[0]]
        where = dict(epoch=self.runner.epoch + 1, iter=self.runner.iter + 1)
        reasons, files = '; '.join(dict.fromkeys(reason for reason, _ in cases)), sum((names for _, names in cases), [])
        record = Path(self.runner.work_dir, 'bad_batches.jsonl')
        if is_main_process():
            with record.open('a') as file:
                file.write(json.dumps(dict(**where, reason=reasons, files=files)) + '\n')
        message = (
            f'epoch {where["epoch"]}, iteration {where["iter"]}: {reasons}; files: {first_of(files)}, see {record}'
        )
        self.row += 1
        if self.action == 'stop':
            raise FloatingPointError(
                f"{message}. Look at these files, lower the learning rate, or set LossGuardHook's action='skip'"
            )
        if self.row > self.max_skips:
            raise FloatingPointError(
                f'{message}. More than max_skips={self.max_skips} batches in a row are bad: it is '
                'not the files; lower the learning rate or go on from an earlier checkpoint'
            )
        print_log(f'{message}; the step is skipped', 'current', logging.WARNING)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Optional[dict] = None, outputs: Optional[dict] = None
    ) -> None:
        """Restore the running statistics that a bad batch has touched."""
        if self.bad:
            for buffer, value in zip(self.model.buffers(), self.buffers):
                buffer.copy_(value)
        else:
            self.row = 0
        if runner.optim_wrapper.should_update():
            self.drop = False


def first_of(files: List[str], number: int = 8) -> str:
    """The first files of a list, and how many more there are."""
    more = f' and {len(files) - number} more' if len(files) > number else ''
    return ', '.join(files[:number]) + more
