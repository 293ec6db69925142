"""Sets the model's vocabulary from the data set at hand."""
from typing import Sequence, Union

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmyolo.registry import HOOKS

from kdeov_mm.models.clip import TextBank


@HOOKS.register_module()
class VocabularyHook(Hook):
    """Embeds the class names of the data set that is about to be trained on or evaluated.

    Args:
        text_encoder: Config of a text encoder.
        templates: Prompt templates, see ``TextBank.build``.
    """

    def __init__(self, text_encoder: dict, templates: Union[str, Sequence[str]] = 'single') -> None:
        self.text_encoder, self.templates = text_encoder, templates
        self.banks = {}

    def set_vocabulary(self, runner, dataset) -> None:
        """Give the model the names and embeddings of ``dataset.metainfo['classes']``."""
        names = tuple(dataset.metainfo['classes'])
        if names not in self.banks:
            self.banks[names] = TextBank.build(names, self.text_encoder, self.templates)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.set_vocabulary(self.banks[names])

    def before_train(self, runner) -> None:
        self.set_vocabulary(runner, runner.train_dataloader.dataset)

    def before_train_epoch(self, runner) -> None:
        self.set_vocabulary(runner, runner.train_dataloader.dataset)

    def before_val_epoch(self, runner) -> None:
        self.set_vocabulary(runner, runner.val_dataloader.dataset)

    def before_test_epoch(self, runner) -> None:
        self.set_vocabulary(runner, runner.test_loop.dataloader.dataset)
