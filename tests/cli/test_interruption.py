"""Signals end a command, also when the exception they raise is dropped on its first way."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import gc, os, signal, sys, time
from v2v.cli.interruption import raised_signals

dropped = []

def callback(phase, info):
    if not dropped:
        dropped.append(phase)
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000): pass

with raised_signals():
    try:
        {work}
        gc.callbacks.append(callback)
        gc.collect()
        for _ in range(300):
            time.sleep(0.1)
        print("went on")
    finally:
        time.sleep(0.7)  # longer than it takes to raise again
        print("cleaned up", len(dropped))
"""


def run(name: str, work: str = "pass") -> subprocess.CompletedProcess:
    program = textwrap.dedent(PROGRAM).replace("{name}", name).replace("{work}", work)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGINT", -2)])
def test_an_exception_dropped_by_the_garbage_collector_is_raised_again(name, code):
    ended = run(name)
    assert "cleaned up 1" in ended.stdout and "went on" not in ended.stdout, ended
    assert ended.returncode == code and "Exception ignored" in ended.stderr


def test_the_clean_up_is_not_interrupted_by_a_second_signal():
    program = textwrap.dedent(
        """
        import os, signal, time
        from v2v.cli.interruption import raised_signals

        with raised_signals():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.5)
                print("cleaned up")
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 143 and ended.stdout == "cleaned up\n"


def test_handlers_come_back(monkeypatch):
    import signal

    from v2v.cli.interruption import raised_signals

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    with raised_signals():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
