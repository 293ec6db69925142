"""tools/analysis_tools/prompt_study.py compares prompts, and embeds images once."""

import json
import sys

import pytest
from mmengine.runner import Runner, save_checkpoint
from safetensors.torch import load_file

from kdeov_mm.models.clip.class_embeddings import cache_dir
from tool_loading import load_tool


@pytest.fixture
def study(zero_shot_config, cifar_folder, tmp_path, monkeypatch):
    """Run the tool in this process on a checkpoint of random weights."""
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path / 'cache'))
    cfg = zero_shot_config('kdeov_yolov8n_folder', cifar_folder / 'test')
    cfg.dump(tmp_path / 'config.json')
    checkpoint = dict(state_dict=Runner.from_cfg(cfg).model.state_dict(), meta=dict(epoch=1))
    save_checkpoint(checkpoint, str(tmp_path / 'epoch_1.pth'))
    tool = load_tool('prompt_study')

    def run(*args):
        work_dir = tmp_path / 'study'
        given = [tmp_path / 'config.json', tmp_path / 'epoch_1.pth', '--work-dir', work_dir, *args]
        monkeypatch.setattr(sys, 'argv', ['prompt_study.py', *map(str, given)])
        tool.main()
        return json.loads((work_dir / 'prompt_study.json').read_text()), (work_dir / 'prompt_study.md').read_text(), cfg

    return run


def test_a_table_of_prompts(study, tmp_path):
    (tmp_path / 'mine.txt').write_text('a sketch of a {}\nthe {}\n')
    templates = ['none', 'a photo of a {}', 'a fuzzy photo of a {}', 'openai_imagenet_7', tmp_path / 'mine.txt']
    rows, table, cfg = study('--templates', *templates)
    assert [row['templates'] for row in rows] == [str(each) for each in templates]
    assert [row['number'] for row in rows] == [1, 1, 1, 7, 2]
    assert '| templates | number | folder top-1 | folder top-5 | folder mean per class |' in table
    assert table.count('\n') == 7 and '**' in table
    (image_bank,) = (cache_dir() / 'image_bank').iterdir()
    assert load_file(image_bank)['image_embedding'].shape == (120, 128)

    # The same numbers as a test with these templates alone.
    cfg.load_from = str(tmp_path / 'epoch_1.pth')
    cfg.test_evaluator[0].templates = 'a fuzzy photo of a {}'
    cfg.experiment_name = 'single'
    single = Runner.from_cfg(cfg).test()
    for key, value in rows[2]['folder'].items():
        assert single[f'folder/all/{key}'] == value


def test_bad_prompts(study, capsys, tmp_path):
    for args, message in (
        (('--templates', 'a photo'), "unknown set 'a photo'"),
        (('--templates', str(tmp_path / 'gone.txt')), 'gone.txt'),
    ):
        with pytest.raises(SystemExit):
            study(*args)
        assert message in capsys.readouterr().err
