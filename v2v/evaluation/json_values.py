"""JSON values of results: floats in five digits, nan as null."""

from __future__ import annotations

import math
from typing import Any


def to_json_values(value: Any) -> Any:
    """Return a nested value with None in place of nan, floats rounded to five digits, and lists in place of tuples."""
    if isinstance(value, dict):
        return {k: to_json_values(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_values(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.5g}")
    return value
