"""model-index.yml: what it lists is there, is what it says, and is what MIM and the tools find."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.runner import load_checkpoint
from mmyolo.registry import MODELS

from kdeov_mm.utils import InputError, check_weights, find_model, load_config
from kdeov_mm.utils.model_index import read_index
from kdeov_mm.version import __version__

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures('mmyolo_scope')


def parts():
    return [
        yaml.safe_load((ROOT / name).read_text())
        for name in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    ]


def test_every_metafile_is_imported():
    found = {str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('metafile.yml')}
    assert set(yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']) == found


def test_entries():
    names = [model['Name'] for part in parts() for model in part['Models']]
    collections = {each['Name']: each for part in parts() for each in part.get('Collections', ())}
    assert len(set(names)) == len(names) and set(read_index()) == set(names)
    for part in parts():
        for model in part['Models']:
            assert model['In Collection'] in collections and (ROOT / model['Config']).is_file()
            for result in model.get('Results', ()):
                assert all(0 <= value <= 1 for value in result['Metrics'].values())
    for each in collections.values():
        assert (ROOT / each['README']).is_file() and each['Code']['Version'] == f'v{__version__}'


@pytest.mark.parametrize('name', sorted(read_index()))
def test_configs_build(name):
    """Each model is built with the dimension that its config states, and embeds an image."""
    cfg = load_config(find_model(name).config)
    model = MODELS.build(cfg.model).eval()
    if hasattr(model, 'encode_image'):
        with torch.no_grad():
            embeddings = model.encode_image(torch.rand(1, 3, 64, 64))
        assert embeddings.shape == (1, cfg.model.get('embed_dims', 128))  # the teacher has no such field
        assert embeddings.norm(dim=-1).tolist() == pytest.approx([1], abs=1e-5)


def test_file_names_of_configs_are_their_own():
    """MIM looks a config up by its file name, among all files of the package, and two trainings of one name would
    share a work dir."""
    taken = [
        path.name
        for folder in ('configs', 'tools', 'kdeov_mm')
        for path in (ROOT / folder).rglob('*.py')
        if '.mim' not in path.parts
    ]
    runnable = [path.name for path in (ROOT / 'configs').rglob('*.py') if path.parent.name not in ('_base_', 'compare')]
    assert len(runnable) > 30 and [name for name in runnable if taken.count(name) > 1] == []


def test_shipped_weights_have_a_card_and_are_small():
    shipped = sorted((ROOT / 'kdeov_mm').rglob('*.safetensors'))
    assert {entry.weights for entry in read_index().values() if entry.weights} == set(map(str, shipped))
    assert sum(path.stat().st_size for path in shipped) < 30e6
    for path in shipped:
        card = (path.parent / 'README.md').read_text()
        assert path.name in card
        for field in ('Made by', 'Measured', 'Limits', 'Licence'):
            assert f'**{field}**' in card


def test_shipped_student():
    """Its numbers of the index are those of its card, and its weights fill the model of its config."""
    entry = find_model('kdeov_yolov8n')
    cfg = load_config(entry.config)
    model = MODELS.build(cfg.model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_weights(model, entry.weights)
    loaded = load_checkpoint(model, entry.weights, map_location='cpu', strict=True, logger='silent')
    assert set(loaded['state_dict']) == set(before)
    assert sum(not torch.equal(before[name], value) for name, value in model.state_dict().items()) > len(before) / 2
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert sum(value.numel() for value in model.parameters()) == entry.metadata['Parameters']
    assert (cfg.max_epochs, cfg.batch_size, cfg.image_size) == tuple(
        entry.metadata[key] for key in ('Epochs', 'Batch Size', 'Image Size')
    )
    card = Path(entry.weights).with_name('README.md').read_text()
    (index,) = (model for model in parts()[0]['Models'] if model['Name'] == 'kdeov_yolov8n')
    results = {result['Task']: result['Metrics'] for result in index['Results']}
    for row, task, key in (
        ('detection AP50', 'Open-Vocabulary Object Detection', 'AP50'),
        ('zero-shot top-1', 'Zero-Shot Image Classification', 'top1'),
    ):
        columns = dict(
            zip(
                ('base', 'recombined', 'novel', 'unseen', 'all'),
                re.search(rf'\| {row} \|(.*)\|', card).group(1).split('|'),
            )
        )
        for name, value in results[task].items():
            assert float(columns[name.removeprefix(f'{key} ')]) == value


def test_an_unknown_name_gets_the_known_ones():
    with pytest.raises(InputError, match="'kdeov_yolov8'.*kdeov_yolov8n"):
        find_model('kdeov_yolov8')
