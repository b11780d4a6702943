"""What a device reports of its memory."""

import types

import jax
import pytest

from v2v.runtime import host_memory


@pytest.mark.parametrize("stats", [{"bytes_limit": 100, "bytes_in_use": 30}, {"bytes_limit": 100}])
def test_what_others_hold_is_not_planned_for(monkeypatch, stats):
    device = types.SimpleNamespace(platform="cpu", memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert host_memory.local_memory().device_bytes == 100
    assert host_memory.remaining_memory().device_bytes == 100 - stats.get("bytes_in_use", 0)
