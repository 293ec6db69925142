"""kdeov_mm.text works where neither PyTorch nor OpenMMLab nor OpenCLIP is installed."""

import subprocess
import sys

SCRIPT = """
import importlib.util, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmyolo', 'open_clip', 'cv2', 'PIL'):
            raise ModuleNotFoundError(name)

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name == 'mmengine' else find_spec(name, *args)
sys.meta_path.insert(0, Absent())
from kdeov_mm.text import Tokenizer, check_class_names, fill, resolve_templates
check_class_names(['red bus'])
single = resolve_templates('single')[0]
print(len(resolve_templates('vild')), fill(single, 'red_bus'), Tokenizer(['a b'], 4)(['a']).shape)
"""


def test_text_needs_neither_torch_nor_openmmlab():
    done = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ('63 a photo of a red bus. (1, 4)\n', 0), done.stderr
