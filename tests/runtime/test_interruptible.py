"""A signal ends a program at once, though a call that can't be interrupted still runs."""

import subprocess
import sys
import textwrap
import threading
import time

import jax
import pytest

from v2v.runtime.interruptible import AbandonedCallError, run_interruptible


def test_results_and_errors_are_those_of_the_function():
    mesh = jax.make_mesh((len(jax.devices()),), ("x",))
    with jax.set_mesh(mesh):
        assert run_interruptible(jax.sharding.get_mesh) == mesh
    with pytest.raises(ZeroDivisionError):
        run_interruptible(lambda: 1 // 0)


def test_a_call_is_given_up_when_a_stop_is_requested():
    end, start = threading.Event(), time.monotonic()
    with pytest.raises(AbandonedCallError):
        run_interruptible(lambda: end.wait(300), lambda: True)
    end.set()
    assert time.monotonic() - start < 200


def test_a_signal_ends_the_process_with_its_code():
    """Without `leave` the thread met an interpreter that was gone: "terminate called", exit code 134."""
    program = textwrap.dedent(
        """
        import os, signal, sys, threading, time
        from v2v.runtime import interruptible

        def stop(number, frame):
            raise SystemExit(3)

        signal.signal(signal.SIGTERM, stop)

        def call():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(300)
            print("went on", flush=True)

        try:
            interruptible.run_interruptible(call)
        except SystemExit as error:
            interruptible.leave(error.code, "left")
        print("still here")
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (3, "", "left"), ended
