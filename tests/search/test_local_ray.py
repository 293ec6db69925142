"""A local Ray can be reached from this machine only: its processes listen on the loopback address."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('ray')
pytest.importorskip('lancedb')
ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, os, time
from pathlib import Path
from kdeov_mm.search.distributed import connect
import ray

connect()
path = ray.get(ray.remote(lambda: __import__('sys').path).remote())  # now there is a worker, too

def listening():  # by socket; addresses are hexadecimal, each 32-bit word little-endian
    return {
        fields[9]: fields[1].split(':')[0]
        for table in ('tcp', 'tcp6')
        for fields in map(str.split, Path('/proc/net', table).read_text().splitlines()[1:])
        if fields[3] == '0A'
    }

def of_ray():
    children = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            parent = stat.read_text().rpartition(')')[2].split()[1]
        except OSError:
            continue
        children.setdefault(parent, []).append(stat.parent.name)
    found, waiting = [], [str(os.getpid())]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found

seen = {}
for _ in range(20):  # agents start late
    sockets = listening()
    for process in of_ray():
        for handle in Path('/proc', process, 'fd').glob('*'):
            try:
                inode = os.readlink(handle).removeprefix('socket:[').rstrip(']')
                if inode in sockets:
                    seen[inode] = (sockets[inode], Path('/proc', process, 'cmdline').read_text().replace(chr(0), ' '))
            except OSError:
                pass
    time.sleep(0.5)
print('RESULT', json.dumps(dict(path=path, sockets=list(seen.values()))))
ray.shutdown()
"""
LOOPBACK = ('0100007F', '0000000000000000FFFF00000100007F', '00000000000000000000000001000000')


@pytest.mark.slow
def test_a_local_ray_listens_on_the_loopback_address_only(tmp_path):
    """And its workers find no modules in the current directory."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith('RAY_')}
    kept['PYTHONPATH'] = str(ROOT)
    command, pipes = [sys.executable, '-c', SCRIPT], dict(capture_output=True, text=True)
    done = subprocess.run(command, env=kept, cwd=tmp_path, timeout=900, **pipes)
    lines = [line for line in done.stdout.splitlines() if line.startswith('RESULT ')]
    assert lines, done.stderr[-3000:]
    result = json.loads(lines[0].removeprefix('RESULT '))
    assert str(tmp_path) not in result['path'] and '' not in result['path'] and len(result['sockets']) >= 3
    assert [socket for socket in result['sockets'] if socket[0] not in LOOPBACK] == []


def test_an_address_that_is_given_is_used(monkeypatch):
    from kdeov_mm.search import distributed

    calls = []
    monkeypatch.setattr(distributed.ray, 'is_initialized', lambda: False)
    monkeypatch.setattr(distributed.ray, 'init', lambda *args, **options: calls.append(args))
    monkeypatch.setenv('RAY_ADDRESS', '10.0.0.1:6379')
    distributed.connect()
    assert calls == [()]  # without an address Ray takes that of the environment


def test_a_local_ray_that_other_machines_reach_is_stopped(monkeypatch):
    from kdeov_mm.search import distributed

    calls = []
    monkeypatch.setattr(distributed.ray, 'is_initialized', lambda: False)
    monkeypatch.setattr(distributed.ray, 'init', lambda *args, **options: calls.append(args))
    monkeypatch.setattr(distributed.ray, 'shutdown', lambda: calls.append('shutdown'))
    monkeypatch.setattr(distributed.ray.util, 'get_node_ip_address', lambda: '10.0.0.2')
    monkeypatch.setattr(distributed.ray_constants, 'ENABLE_RAY_CLUSTER', True)
    monkeypatch.setenv('RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER', '1')
    monkeypatch.delenv('RAY_ADDRESS', raising=False)
    with pytest.raises(RuntimeError):
        distributed.connect()
    assert calls == [('local',), 'shutdown']
