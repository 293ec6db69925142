"""The hook that sets the model's vocabulary from the current data set."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.models.clip import ClassEmbeddings
from kdeov_mm.text import read_class_names
from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class VocabularyHook(Hook):
    """Sets the class names of the data set before it is trained on or evaluated.

    The model's own text encoder (``model.text_encoder``) embeds them, with its templates and synonyms. In a test on a
    data set with ``metainfo=dict(closed=True)``, its classes compete with each other alone, as in published protocols.

    Args:
        vocabulary: Class names, or a file for ``read_class_names``, that replace those of the data set in
            validation and testing: for data sets without class names, or to detect other classes. Training uses the
            data set's class names.

    Raises:
        ValueError: If the vocabulary and the data set have different numbers of classes, which a metric would confuse.
    """

    def __init__(self, vocabulary: str | Sequence[str] | None = None) -> None:
        self.vocabulary: Sequence[str] | None = (
            read_class_names(vocabulary) if isinstance(vocabulary, str) else vocabulary
        )
        self.cache = {}

    def set_vocabulary(self, model, names: Sequence[str], closed: bool = False) -> None:
        """Embed class names and set them as a model's vocabulary, closed or not."""
        names = tuple(names)
        if names not in self.cache:
            self.cache[names] = ClassEmbeddings.build(names, model.text_encoder)
        model.set_vocabulary(self.cache[names], **(dict(closed=True) if closed else {}))

    def test_names(self, dataset) -> Sequence[str]:
        """Return the class names to evaluate a data set with."""
        classes = dataset.metainfo.get('classes') or ()
        if self.vocabulary is None:
            return classes
        if classes and len(classes) != len(self.vocabulary):
            raise ValueError(
                f'vocabulary: {len(self.vocabulary)} class names, but the data set has {len(classes)} classes; '
                'give one class name for each class in the same order, or a data set without classes'
            )
        return self.vocabulary

    def before_train(self, runner) -> None:
        """Set the training data's classes."""
        self.set_vocabulary(unwrap(runner.model), runner.train_dataloader.dataset.metainfo['classes'])

    before_train_epoch = before_train  # a validation may have set another vocabulary

    def before_val_epoch(self, runner) -> None:
        """Set the validation data's classes, or the given vocabulary."""
        self.ask(runner, runner.val_dataloader.dataset)

    def before_test_epoch(self, runner) -> None:
        """Set the test data's classes, or the given vocabulary."""
        self.ask(runner, runner.test_loop.dataloader.dataset)

    def ask(self, runner, dataset) -> None:
        """Set the class names to evaluate a data set with."""
        self.set_vocabulary(unwrap(runner.model), self.test_names(dataset), dataset.metainfo.get('closed', False))
