"""Test a model: the script of ``kdeov test`` for launchers and OpenMIM."""

from kdeov_mm.cli import run_script


def main() -> dict:
    return run_script('test')


if __name__ == '__main__':
    main()
