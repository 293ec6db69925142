"""Checkpoints that are whole or not there."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmyolo.registry import HOOKS

from kdeov_mm.utils.files import atomic_path, write_atomically
from kdeov_mm.utils.launch import lock_run


@register_backend('atomic_local', force=True)
class AtomicLocalBackend(LocalBackend):
    """Local files that are written under another name and then renamed: whole, or as they were before."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes.

        Raises:
            OSError: It could not be written; names the file, its size and the reason.
        """
        try:
            with atomic_path(Path(filepath)) as partial:
                super().put(obj, partial)
        except OSError as error:
            raise type(error)(
                error.errno,
                f'{filepath} ({len(obj) / 1e6:.1f} MB) could not be written: {error.strerror}. What was '
                'saved before is as it was; make room, then go on with --resume',
            ) from error


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's hook, which whatever happens leaves the last checkpoint and the best one complete.

    A checkpoint in a local folder is written under another name and then renamed, and so is ``last_checkpoint``. The
    one that ``max_keep_ckpts`` or ``save_best`` takes away is removed after the new one is there, not before; so there
    must be room for one more. Only files in the folder of the checkpoints are removed, whatever a resumed checkpoint
    names. While it trains, no other training may write there.

    Args:
        *args, **kwargs: Of MMEngine's ``CheckpointHook``.

    Raises:
        InputError: When training begins, if another training is writing to the same folder.
    """

    def before_train(self, runner) -> None:
        """Lock the folders, choose how to write, and remove what an earlier run was writing when it was killed."""
        out_dir = str(self.out_dir or runner.work_dir)
        if self.backend_args is None and self.file_client_args is None and '://' not in out_dir:
            self.backend_args = dict(backend='atomic_local')
        super().before_train(runner)
        self.locks = ExitStack()
        for folder in dict.fromkeys((str(runner.work_dir), str(self.out_dir))):
            self.locks.enter_context(lock_run(folder, 'work dir'))
        if is_main_process() and isinstance(self.file_backend, AtomicLocalBackend):
            for partial in Path(self.out_dir).glob('.*.pth'):
                partial.unlink()

    def after_run(self, runner) -> None:
        """Let others write."""
        if hasattr(self, 'locks'):
            self.locks.close()

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        """Save a checkpoint; MMEngine's method removes the outdated one first and truncates ``last_checkpoint``."""
        outdated = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids[0]
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_atomically(Path(runner.work_dir, 'last_checkpoint'), str(self.last_ckpt))
            if outdated is not None:
                self.remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated)))

    def _save_best_checkpoint(self, runner, metrics) -> None:
        """Save the best checkpoint; MMEngine's method, which removes the one before first, is not told of it."""
        if not self.save_best:
            return
        if len(self.key_indicators) == 1:
            before, self.best_ckpt_path = self.best_ckpt_path, None
            super()._save_best_checkpoint(runner, metrics)
            self.best_ckpt_path = self.newer(before, self.best_ckpt_path)
        else:
            before, self.best_ckpt_path_dict = self.best_ckpt_path_dict, dict.fromkeys(self.best_ckpt_path_dict)
            super()._save_best_checkpoint(runner, metrics)
            for name, path in before.items():
                self.best_ckpt_path_dict[name] = self.newer(path, self.best_ckpt_path_dict[name])

    def newer(self, before: str | None, saved: str | None) -> str | None:
        """Return the best checkpoint, the one before if none was saved, and remove the other."""
        if saved is None:
            return before
        if before is not None and before != saved and is_main_process():
            self.remove(before)
        return saved

    def remove(self, path: str) -> None:
        """Remove a checkpoint, if it is one of this training's: a resumed one may come from elsewhere."""
        if os.path.dirname(str(path)) != str(self.out_dir).rstrip('/'):
            return
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # DeepSpeed's
            self.file_backend.rmtree(path)
