"""Signals end a command, also when the exception they raise is dropped on its first way."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import gc, os, signal, sys, time
from v2v.cli.interruption import raised_signals

dropped = []
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it would be ignored

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
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGINT", -2)])
def test_an_exception_dropped_by_the_garbage_collector_is_raised_again(name, code):
    ended = run(name)
    assert "cleaned up 1" in ended.stdout and "went on" not in ended.stdout, ended
    assert ended.returncode == code and "Exception ignored" in ended.stderr


def test_an_ignored_signal_stays_ignored():
    """As in the background of a shell."""
    program = textwrap.dedent(
        """
        import os, signal
        from v2v.cli.interruption import raised_signals

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with raised_signals():
            os.kill(os.getpid(), signal.SIGINT)
            print("went on")
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (0, "went on\n"), ended


def test_a_signal_within_the_imports_of_an_edit_is_raised_again(tmp_path):
    """The exception is dropped by the module that is being imported; the command ends all the same."""
    program = textwrap.dedent(
        """
        import os, signal, sys, time

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "v2v.cli.edit":
                    try:
                        os.kill(os.getpid(), signal.SIGINT)
                        time.sleep(0.05)
                    except KeyboardInterrupt:
                        print("dropped", flush=True)
                    time.sleep(200)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.meta_path.insert(0, Finder())
        from v2v.cli.main import main
        sys.exit(main(["edit", "sample", "make it sepia", "-o", "a.mp4"]))
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout) == (130, "dropped\n"), ended
    assert ended.stderr == "v2v: interrupted\n" and not any(tmp_path.iterdir())


def test_the_clean_up_is_not_interrupted_by_a_second_signal():
    program = textwrap.dedent(
        """
        import os, signal, time
        from v2v.cli.interruption import raised_signals

        with raised_signals():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.5)
                print("cleaned up")
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 143 and ended.stdout == "cleaned up\n"


def test_handlers_come_back(monkeypatch):
    import signal

    from v2v.cli.interruption import raised_signals

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    with raised_signals():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
