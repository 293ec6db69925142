"""Sets the model's vocabulary from the data set at hand."""

from typing import Mapping, Optional, Sequence, Union

from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.models.clip import TextBank, read_names
from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class VocabularyHook(Hook):
    """Embeds the class names of the data set that is about to be trained on or evaluated.

    Args:
        text_encoder: Config of a text encoder.
        templates: Prompt templates, see ``TextBank.build``.
        synonyms: Of any of the names, see ``TextBank.build``.
        vocabulary: Names, or a file for ``read_names``, that take the place of the class names in validation and
            testing: for data sets that have none, or to detect other words with them. Training keeps the class names.

    Raises:
        ValueError: The vocabulary and the data set's classes differ in number: a metric would take one for another.
    """

    def __init__(
        self,
        text_encoder: dict,
        templates: Union[str, Sequence[str]] = 'single',
        synonyms: Union[str, Mapping[str, Sequence[str]], None] = None,
        vocabulary: Union[str, Sequence[str], None] = None,
    ) -> None:
        self.text_encoder, self.templates, self.synonyms = text_encoder, templates, synonyms
        self.vocabulary: Optional[Sequence[str]] = read_names(vocabulary) if isinstance(vocabulary, str) else vocabulary
        self.banks = {}

    def set_vocabulary(self, runner, names: Sequence[str]) -> None:
        """Give the model names and their embeddings."""
        names = tuple(names)
        if names not in self.banks:
            self.banks[names] = TextBank.build(names, self.text_encoder, self.templates, self.synonyms)
        unwrap(runner.model).set_vocabulary(self.banks[names])

    def test_names(self, dataset) -> Sequence[str]:
        """The names to evaluate a data set with."""
        classes = dataset.metainfo.get('classes') or ()
        if self.vocabulary is None:
            return classes
        if classes and len(classes) != len(self.vocabulary):
            raise ValueError(
                f'vocabulary: {len(self.vocabulary)} names, but the data set has {len(classes)} classes; '
                'give one name for each class in their order, or a data set without classes'
            )
        return self.vocabulary

    def before_train(self, runner) -> None:
        self.set_vocabulary(runner, runner.train_dataloader.dataset.metainfo['classes'])

    def before_train_epoch(self, runner) -> None:
        self.set_vocabulary(runner, runner.train_dataloader.dataset.metainfo['classes'])

    def before_val_epoch(self, runner) -> None:
        self.set_vocabulary(runner, self.test_names(runner.val_dataloader.dataset))

    def before_test_epoch(self, runner) -> None:
        self.set_vocabulary(runner, self.test_names(runner.test_loop.dataloader.dataset))
