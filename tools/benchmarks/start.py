"""Measure the start-up cost of commands: processor time of new processes, interleaved (docs/inference.md).

python tools/benchmarks/start.py
python tools/benchmarks/start.py --export work_dirs/export --image photo.jpg --runs 5
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

from kdeov_mm.utils import interruptible

# mmdet.apis needs what compat.py does, and nothing else of the package
IMPORTS = {
    'import mmdet.apis': 'import runpy; runpy.run_path({compat!r})["apply"](); import mmdet.apis',
    'import kdeov_mm.apis': 'import kdeov_mm.apis',
    'all that a trained model needs': 'import kdeov_mm.apis.torch_backend',
}
COMMANDS = ('--help', 'detect --help', 'train --help', 'detect absent.jpg --names dog', 'train absent.py')
WITH_EXPORT = ('detect {image} --names dog --json', 'classify {image} --names dog', 'search dog {image}')


def commands(export: str | None, image: str | None) -> dict[str, list[str]]:
    """Return the commands to run, by name."""
    import kdeov_mm

    compat = str(Path(kdeov_mm.__file__).with_name('compat.py'))
    found = {name: ['-c', code.format(compat=compat)] for name, code in IMPORTS.items()}
    found.update({f'kdeov {words}': ['-m', 'kdeov_mm', *words.split()] for words in COMMANDS})
    for words in WITH_EXPORT if export and image else ():
        given = [word.format(image=image) for word in words.split()]
        found[f'kdeov {" ".join(given)}'] = ['-m', 'kdeov_mm', *given, '--model', str(Path(export).resolve())]
    return found


def processor_time(command: list[str]) -> float:
    """Seconds of user and system time of a new process of Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, '-W', 'ignore', *command], capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int, export: str | None = None, image: str | None = None) -> dict[str, list[float]]:
    """Seconds of each command in ``runs`` processes, after one that fills the caches of the file system."""
    seconds: dict[str, list[float]] = {}
    for _ in range(runs + 1):
        for name, command in commands(export, image).items():
            seconds.setdefault(name, []).append(processor_time(command))
    return {name: values[1:] for name, values in seconds.items()}


@interruptible()
def main(args: list[str] = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=5, metavar='N', help='processes of each; default: 5')
    parser.add_argument('--export', metavar='DIR', help='folder of "kdeov export": measure its models, too')
    parser.add_argument('--image', metavar='FILE', help='a small image for --export')
    given = parser.parse_args(args)
    seconds = measure(max(given.runs, 1), given.export, given.image)
    medians = {name: median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f'{medians[name]:6.2f} s ({min(values):.2f} to {max(values):.2f}, {len(values)} runs)  {name}')
    return medians


if __name__ == '__main__':
    main()
