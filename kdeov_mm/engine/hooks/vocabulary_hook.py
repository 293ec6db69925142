"""Sets the model's vocabulary from the data set at hand."""

from typing import Optional, Sequence, Union

from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.models.clip import TextBank
from kdeov_mm.text import read_class_names
from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class VocabularyHook(Hook):
    """Sets the class names of the data set that is about to be trained on or evaluated.

    The model's own text encoder (``model.text_encoder``) embeds them, with its templates and synonyms.

    Args:
        vocabulary: Class names, or a file for ``read_class_names``, that replace the data set's in validation and
            testing: for data sets that have none, or to detect other classes with them. Training keeps the data set's.

    Raises:
        ValueError: If the vocabulary and the data set's classes differ in number: a metric would take one for another.
    """

    def __init__(self, vocabulary: Union[str, Sequence[str], None] = None) -> None:
        self.vocabulary: Optional[Sequence[str]] = (
            read_class_names(vocabulary) if isinstance(vocabulary, str) else vocabulary
        )
        self.banks = {}

    def set_vocabulary(self, model, names: Sequence[str]) -> None:
        """Give a model class names and their embeddings."""
        names = tuple(names)
        if names not in self.banks:
            self.banks[names] = TextBank.build(names, model.text_encoder)
        model.set_vocabulary(self.banks[names])

    def test_names(self, dataset) -> Sequence[str]:
        """The class names to evaluate a data set with."""
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
        """Set the training data's classes."""
        self.set_vocabulary(unwrap(runner.model), runner.train_dataloader.dataset.metainfo['classes'])

    before_train_epoch = before_train  # a validation may have set others

    def before_val_epoch(self, runner) -> None:
        """Set the validation data's classes, or the given vocabulary."""
        self.set_vocabulary(unwrap(runner.model), self.test_names(runner.val_dataloader.dataset))

    def before_test_epoch(self, runner) -> None:
        """Set the test data's classes, or the given vocabulary."""
        self.set_vocabulary(unwrap(runner.model), self.test_names(runner.test_loop.dataloader.dataset))
