"""The model index, ``model-index.yml``."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .display import suggest
from .errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]


class ModelEntry(NamedTuple):
    """Describes a model of the index."""

    name: str
    config: str  # file
    weights: str | None  # file or URL; None: must be trained
    metadata: dict[str, Any]


def index_root() -> Path:
    """Return the folder of ``model-index.yml``, ``configs/`` and ``tools/`` in an installed package or a checkout.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    for root in (PACKAGE / '.mim', PACKAGE.parent):
        if (root / 'model-index.yml').is_file():
            return (root / 'model-index.yml').resolve().parent  # an editable installation has links to the checkout
    raise FileNotFoundError(f'no model-index.yml in {PACKAGE / ".mim"} or {PACKAGE.parent}; install the package again')


def read_index() -> dict[str, ModelEntry]:
    """Read all models of the index by name."""
    root, models = index_root(), {}
    for part in yaml.safe_load((root / 'model-index.yml').read_text(encoding='utf-8'))['Import']:
        for model in yaml.safe_load((root / part).read_text(encoding='utf-8'))['Models']:
            weights = model.get('Weights')
            if weights and '://' not in weights:  # shipped with the package
                weights = str(PACKAGE.parent / weights)
            models[model['Name']] = ModelEntry(
                model['Name'], str(root / model['Config']), weights, model.get('Metadata') or {}
            )
    return models


def find_model(name: str) -> ModelEntry:
    """Return a model by its name, such as ``kdeov_yolov8n``.

    Raises:
        InputError: If the index has no such model.
        FileNotFoundError: If there is no index.
    """
    models = read_index()
    if name not in models:
        raise InputError(
            f'model: {name!r} is not in the model index{suggest(name, models)}; known are {", ".join(sorted(models))}'
        )
    return models[name]
