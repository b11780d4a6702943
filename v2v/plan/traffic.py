"""Bytes a chip sends in one call, by kind of collective, read from the compiled program's text. compile.py →

A chip of a group of g sends, for an operand of n bytes (ring algorithms, which meet the lower bound):
    all-gather  n (g-1), n its own part    reduce-scatter, all-to-all  n (g-1)/g    all-reduce  2 n (g-1)/g    permute  n
Bodies of while loops are multiplied by the trip count the compiler found; one it doesn't know counts once. A TPU's compiler
hides a collective behind matmuls by writing it into several fusions; all its pieces carry one channel id and count once.
"""

import math
import re
from collections import defaultdict

WIDTH = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "s16": 2,
    "u16": 2,
    "f32": 4,
    "s32": 4,
    "u32": 4,
    "f64": 8,
}
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
LINE = re.compile(rf"= (.*?) (?:ragged-)?({'|'.join(KINDS)})(-start)?\(")
CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations|called_computations)=(\{[^}]*\}|%?[\w.\-]+)"
)
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def sent(hlo: str) -> dict[str, float]:
    """{kind: bytes} of an optimised HLO module's text."""
    entry, bodies = _computations(hlo)
    seen: dict[str, tuple[str, float]] = {}  # channel, or place in the text → kind, bytes

    def walk(name: str, times: int) -> None:
        for place, line in enumerate(bodies.get(name, ())):
            if found := LINE.search(line):
                channel = re.search(r"channel_id=(\d+)", line)
                key = channel[1] if channel else f"{name}:{place}"
                value = times * _bytes(found[1], found[2], bool(found[3]), line)
                seen[key] = found[2], max(value, seen.get(key, ("", 0.0))[1])
            trips = int(m[1]) if " while(" in line and (m := TRIPS.search(line)) else 1
            for group in CALLED.findall(line):
                for callee in re.findall(r"[\w.\-]+", group):
                    walk(callee, times * trips)

    walk(entry, 1)
    total: dict[str, float] = defaultdict(float)
    for kind, value in seen.values():
        total[kind] += value
    return dict(total)


def _computations(hlo: str) -> tuple[str, dict[str, list[str]]]:
    entry, name = "", ""
    bodies: dict[str, list[str]] = {}
    for line in hlo.splitlines():
        if not line.startswith((" ", "}")) and (head := HEAD.match(line)) and " = " not in line.split("{")[0]:
            name = head[2]
            bodies[name] = []
            entry = name if head[1] else entry
        elif name:
            bodies[name].append(line)
    return entry, bodies


def _bytes(result: str, kind: str, start: bool, line: str) -> float:
    n = sum(
        WIDTH.get(dtype, 1) * math.prod(map(int, filter(None, dims.split(","))))
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", result)
    )
    g = _group(line)
    if kind == "all-gather":
        n = n * g / (g + 1) if start else n  # a start's result holds operand and output
        return n * (g - 1) / g
    if kind == "all-reduce":
        return 2 * n * (g - 1) / g
    if kind == "reduce-scatter":
        return n * (g - 1)
    if kind == "all-to-all":
        return n * (g - 1) / g
    return n / 2 if start else n


def _group(line: str) -> int:
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", found[2]))
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(found[1].split(","))
    return 2
