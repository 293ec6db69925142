"""Checkpoints that are whole or not there."""

from pathlib import Path
from typing import Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmyolo.registry import HOOKS

from kdeov_mm.utils.files import atomic_path


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
    """MMEngine's hook, which whatever happens leaves the last checkpoint complete.

    A checkpoint in a local folder is written under another name and then renamed. The one that ``max_keep_ckpts`` takes
    away is removed after the new one is there, not before; so there must be room for one more. (Of ``save_best``'s, the
    old one goes first.)

    Args:
        *args, **kwargs: Of MMEngine's ``CheckpointHook``.
    """

    def before_train(self, runner) -> None:
        """Choose how to write, and remove what an earlier run was writing when it was killed."""
        out_dir = str(self.out_dir or runner.work_dir)
        if self.backend_args is None and self.file_client_args is None and '://' not in out_dir:
            self.backend_args = dict(backend='atomic_local')
        super().before_train(runner)
        if is_main_process() and isinstance(self.file_backend, AtomicLocalBackend):
            for partial in Path(self.out_dir).glob('.*.pth'):
                partial.unlink()

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids[0]
            self.keep_ckpt_ids.append(step)  # found at the end, it makes MMEngine remove nothing
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        super()._save_checkpoint_with_step(runner, step, meta)
        if outdated is not None and is_main_process():
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
