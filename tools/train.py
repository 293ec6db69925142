"""Train a model from a config: the script of ``kdeov train`` for launchers and OpenMIM."""

from kdeov_mm.cli import run_script


def main() -> dict:
    return run_script('train')


if __name__ == '__main__':
    main()
