"""Checkpoints that are complete or absent."""

import errno
import os
from contextlib import ExitStack
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmyolo.registry import HOOKS

from kdeov_mm.utils.files import atomic_path, write_atomically
from kdeov_mm.utils.launch import lock_run


DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@register_backend('atomic_local', force=True)
class AtomicLocalBackend(LocalBackend):
    """Writes each local file under a temporary name and renames it, so that it is complete or unchanged."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes.

        Raises:
            OSError: If the file cannot be written; names the file, its size and the reason.
        """
        try:
            with atomic_path(Path(filepath)) as partial:
                super().put(obj, partial)
        except OSError as error:
            fix = 'make the folder writable' if error.errno in DENIED else 'free disk space'
            raise type(error)(
                error.errno,
                f'{filepath} ({len(obj) / 1e6:.1f} MB) could not be written: {error.strerror}. Earlier checkpoints are '
                f'unchanged; {fix}, then resume with --resume',
            ) from error


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Saves checkpoints so that the last and the best one are always complete.

    Each file is written under a temporary name, then renamed. An outdated checkpoint is removed after the new one is
    saved, so the disk needs room for one more. The hook removes files only in its own folder. It locks the folder
    during training.

    Args:
        *args, **kwargs: Arguments of MMEngine's ``CheckpointHook``.

    Raises:
        InputError: If another training is writing to the same folder when training begins.
    """

    def before_train(self, runner) -> None:
        """Lock the folders, choose how to write, and remove the unfinished files of a killed run."""
        out_dir = str(self.out_dir or runner.work_dir)
        if self.backend_args is None and self.file_client_args is None and '://' not in out_dir:
            self.backend_args = dict(backend='atomic_local')
        super().before_train(runner)
        self.locks = ExitStack()
        for folder in dict.fromkeys((str(runner.work_dir), str(self.out_dir))):
            self.locks.enter_context(lock_run(folder, 'work dir', ('.*.pth', '.last_checkpoint.*')))

    def after_run(self, runner) -> None:
        """Release the locks."""
        if hasattr(self, 'locks'):
            self.locks.close()

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        """Save a checkpoint, then remove the outdated one and replace ``last_checkpoint``.

        MMEngine's method removes the outdated checkpoint first and truncates ``last_checkpoint``.
        """
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
        """Save the best checkpoint, then remove the previous best.

        MMEngine removes the previous best first, so its path is hidden during the call.
        """
        if not self.save_best:
            return
        if len(self.key_indicators) == 1:
            before, self.best_ckpt_path = self.best_ckpt_path, None
            super()._save_best_checkpoint(runner, metrics)
            self.best_ckpt_path = self.keep_best(before, self.best_ckpt_path)
        else:
            before, self.best_ckpt_path_dict = self.best_ckpt_path_dict, dict.fromkeys(self.best_ckpt_path_dict)
            super()._save_best_checkpoint(runner, metrics)
            for name, path in before.items():
                self.best_ckpt_path_dict[name] = self.keep_best(path, self.best_ckpt_path_dict[name])

    def keep_best(self, before: str | None, saved: str | None) -> str | None:
        """Return the path of the best checkpoint, and remove the previous best if a new one was saved.

        Args:
            before: Path of the previous best, or None.
            saved: Path of the new best; None if none was saved.
        """
        if saved is None:
            return before
        if before is not None and before != saved and is_main_process():
            self.remove(before)
        return saved

    def remove(self, path: str) -> None:
        """Remove a checkpoint of this training's folder; a resumed checkpoint may name files elsewhere."""
        folder, name = os.path.split(str(path))
        if folder != str(self.out_dir).rstrip('/') or name in ('', os.curdir, os.pardir):
            return
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # DeepSpeed's
            self.file_backend.rmtree(path)
