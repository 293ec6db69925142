"""What an import takes: new processes import kdeov_mm.apis and, in turns with it, mmdet.apis (docs/inference.md).

python tools/benchmark_import.py
python tools/benchmark_import.py --runs 20
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Dict, List

TIMED = 'import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)'
# mmdet.apis needs what compat.py does, and nothing else of the package
CODES = {
    'mmdet.apis': 'import runpy; runpy.run_path({compat!r})["apply"](); import mmdet.apis',
    'kdeov_mm.apis': 'import kdeov_mm.apis',
}


def measure(runs: int) -> Dict[str, List[float]]:
    """Seconds of each import in ``runs`` processes, after one that fills the caches of the file system."""
    import kdeov_mm

    compat = str(Path(kdeov_mm.__file__).with_name('compat.py'))
    seconds: Dict[str, List[float]] = {name: [] for name in CODES}
    for _ in range(runs + 1):
        for name, code in CODES.items():
            command = [sys.executable, '-W', 'ignore', '-c', TIMED.format(code=code.format(compat=compat))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds[name].append(float(done.stdout.splitlines()[-1]))
    return {name: values[1:] for name, values in seconds.items()}


def main(args: List[str] = None) -> Dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=7, metavar='N', help='processes of each; default: 7')
    seconds = measure(max(parser.parse_args(args).runs, 1))
    medians = {name: median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f'{name}: median {medians[name]:.2f} s ({min(values):.2f} to {max(values):.2f}, {len(values)} runs)')
    ratio = medians['kdeov_mm.apis'] / medians['mmdet.apis']
    print(f'ratio of the medians: {ratio:.2f}')
    return dict(medians, ratio=ratio)


if __name__ == '__main__':
    main()
