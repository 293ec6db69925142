"""Ctrl-C: one line and exit status 130."""

import os
import signal

import pytest

from kdeov_mm.utils import interruptible, saved_so_far


@pytest.fixture(autouse=True)
def handler():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize('rank, lines', [(None, 1), ('0', 1), ('1', 0)])
def test_ctrl_c_is_said_in_one_line_by_one_process(monkeypatch, capsys, rank, lines):
    if rank is not None:
        monkeypatch.setenv('RANK', rank)

    @interruptible(lambda: 'two\nlines \x1b[31m')
    def work():
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit) as stop:
        work()
    error = capsys.readouterr().err
    assert stop.value.code == 130
    assert len(error.splitlines()) == lines and '\x1b' not in error


def test_the_inner_advice_counts(capsys):
    with pytest.raises(SystemExit), interruptible(lambda: 'outer'), interruptible(lambda: 'inner'):
        raise KeyboardInterrupt
    error = capsys.readouterr().err
    assert 'inner' in error and 'outer' not in error


def test_a_second_ctrl_c_changes_nothing(capsys):
    def advice():
        os.kill(os.getpid(), signal.SIGINT)
        return 'saved'

    with pytest.raises(SystemExit) as stop, interruptible(advice):
        raise KeyboardInterrupt
    assert stop.value.code == 130 and 'saved' in capsys.readouterr().err


def test_the_traceback_when_asked_for(monkeypatch):
    monkeypatch.setenv('KDEOV_TRACEBACK', '1')
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise KeyboardInterrupt


def test_what_is_saved(tmp_path):
    assert str(tmp_path) in saved_so_far(str(tmp_path))
    (tmp_path / 'last_checkpoint').write_text('work/epoch_3.pth\n')
    assert 'work/epoch_3.pth' in saved_so_far(str(tmp_path)) and '--resume' in saved_so_far(str(tmp_path))
    (tmp_path / 'last_checkpoint').write_bytes(b'\xff')
    assert str(tmp_path) in saved_so_far(str(tmp_path))
