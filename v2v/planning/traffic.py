"""Bytes that a chip sends in one call by kind of collective, parsed from the text of the compiled program.

A chip of a group of g sends, for an operand of n bytes (ring algorithms, which meet the lower bound):
    all-gather  n (g-1), n its own part    reduce-scatter, all-to-all  n (g-1)/g    all-reduce  2 n (g-1)/g    permute  n
Bodies of while loops are multiplied by their trip counts: as noted by the compiler, else from the loop's counter (its
start, its step, and the bound in the condition); an unreadable loop counts once. A channel id does not tell collectives apart: all those of
`shard_map` have the same. Each instruction outside fusions is one; the compiler for TPUs also overlaps a collective with matmuls by splitting it
over several fusions, whose pieces, clones of one instruction, count once.
"""

import math
import re
from collections import defaultdict

import numpy as np

DTYPE_BYTES = {
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
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
COMPUTATION_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
COLLECTIVE_LINE = re.compile(rf"= (.*?) (?:ragged-)?({'|'.join(COLLECTIVES)})(-start)?\(")
CALLED_COMPUTATIONS = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations|called_computations)=(\{[^}]*\}|%?[\w.\-]+)"
)
MEGASCALE_SEND = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
CLONE_SUFFIX = re.compile(r"\.(clone|remat).*$")
TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def count_sent_bytes(hlo: str) -> dict[str, float]:
    """Return the bytes sent by kind of collective.

    Args:
      hlo: the text of an optimized HLO module.
    """
    entry, bodies = _split_computations(hlo)
    total: dict[str, float] = defaultdict(float)
    transfers: set[tuple[str, str, float]] = set()
    pieces: dict[tuple[str, str, float, str], float] = {}

    def visit(name: str, times: int, fused: bool) -> None:
        lines = bodies.get(name, [])
        for place, line in enumerate(lines):
            if match := COLLECTIVE_LINE.search(line):
                kind, size = match[2], _sent_bytes(match[1], match[2], bool(match[3]), line)
                channel = re.search(r"channel_id=(\d+)", line)
                identity = channel[1] if channel else f"{name}:{place}", kind, size
                if fused:
                    key = (*identity, CLONE_SUFFIX.sub("", line.split(" = ")[0].strip()))
                    pieces[key] = max(times * size, pieces.get(key, 0.0))
                else:
                    transfers.add(identity)
                    total[kind] += times * size
            trips = _trip_count(line, lines, bodies) if " while(" in line else 1
            for group in CALLED_COMPUTATIONS.findall(line):
                for callee in re.findall(r"[\w.\-]+", group):
                    visit(callee, times * trips, fused or " fusion(" in line)

    visit(entry, 1, fused=False)
    for (channel, kind, size, _), value in pieces.items():
        if (channel, kind, size) not in transfers:
            total[kind] += value
    return dict(total)


def find_crossings(hlo: str, chips: int) -> list[tuple[str, str]]:
    """Return (computation, kind) of every collective between slices.

    TPUs' compiler writes them as sends to the network of the hosts, others as collectives whose groups span several slices.

    Args:
      hlo: the text of an optimized HLO module, whose devices are in the order of slices.
      chips: chips of a slice.
    """
    _, bodies = _split_computations(hlo)
    crossings = []
    for name, lines in bodies.items():
        for line in lines:
            if " send(" in line and (match := MEGASCALE_SEND.search(line)):
                crossings.append((name, match[1].lower().replace("_", "-")))
            elif (match := COLLECTIVE_LINE.search(line)) and any(
                len({device // chips for device in group}) > 1 for group in _replica_groups(line)
            ):
                crossings.append((name, match[2]))
    return crossings


def find_loop_computations(hlo: str) -> set[str]:
    """Return the computations that run inside of loops."""
    _, bodies = _split_computations(hlo)
    inside: set[str] = set()

    def visit(name: str) -> None:
        if name in inside or name not in bodies:
            return
        inside.add(name)
        for line in bodies[name]:
            for group in CALLED_COMPUTATIONS.findall(line):
                for callee in re.findall(r"[\w.\-]+", group):
                    visit(callee)

    for lines in bodies.values():
        for line in lines:
            if " while(" in line and (body := re.search(r"body=%?([\w.\-]+)", line)):
                visit(body[1])
    return inside


def _replica_groups(line: str) -> list[list[int]]:
    """Return the groups of devices of a collective; those of all devices, or of a form that isn't known, are none."""
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line):
        dims = [int(n) for n in match[3].split(",")]
        devices = np.arange(math.prod(dims)).reshape(dims)
        if match[4]:
            devices = devices.transpose([int(n) for n in match[4].split(",")])
        return devices.reshape(int(match[1]), int(match[2])).tolist()
    if match := re.search(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{}]+\})\}", line):
        return [[int(n) for n in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", match[1])]
    return []


def _trip_count(line: str, around: list[str], bodies: dict[str, list[str]]) -> int:
    """Return the trip count of a while instruction among the lines `around` it; 1 where it can't be read."""
    if match := TRIP_COUNT.search(line):
        return int(match[1])
    condition, body = (_called_lines(line, part, bodies) for part in ("condition", "body"))
    ends = [n for text in condition if (n := _parse_constant(text)) is not None]
    counter = next(
        (int(m[1]) for text in condition if (m := re.search(r"get-tuple-element\(.*index=(\d+)", text))), 0
    )
    if not ends:
        return 1
    start = _find_constant(_operand(line, "while", 0), counter, around)
    steps = [_loop_step(text, counter, body) for text in body if "ROOT" in text]
    step = next((n for n in steps if n), 1)
    return max(1, -(-(max(ends) - (start or 0)) // step))


def _called_lines(line: str, part: str, bodies: dict[str, list[str]]) -> list[str]:
    """Return the lines of the computation that an instruction names as its `part`, such as "body"."""
    match = re.search(rf"{part}=%?([\w.\-]+)", line)
    return bodies.get(match[1], []) if match else []


def _loop_step(root: str, counter: int, lines: list[str]) -> int | None:
    """Return what the ROOT tuple of a loop's body adds to the counter."""
    for line in lines:
        if f"{_operand(root, 'tuple', counter)} = " in line and " add(" in line:
            values = [_find_constant(_operand(line, "add", i), None, lines) for i in (0, 1)]
            return next((v for v in values if v), None)
    return None


def _find_constant(name: str, index: int | None, lines: list[str]) -> int | None:
    """Return the constant behind a name, through tuples and copies; None if there is none."""
    for _ in range(6):
        line = next((text for text in lines if re.search(rf"{re.escape(name)} = ", text)), "")
        if (value := _parse_constant(line)) is not None:
            return value
        kind = re.search(r"(tuple|copy|copy-done|copy-start|bitcast)\(", line)
        if not kind:
            return None
        name = _operand(line, kind[1], index if kind[1] == "tuple" and index is not None else 0)
    return None


def _operand(line: str, kind: str, index: int) -> str:
    """Return the name of an operand of an instruction; "%" where there is none."""
    match = re.search(rf" {kind}\(([^()]*)\)", line)
    names = re.findall(r"%[\w.\-]+", match[1]) if match else []
    return names[index] if index < len(names) else "%"


def _parse_constant(line: str) -> int | None:
    match = re.search(r"s32\[\]\S* constant\((-?\d+)\)", line)
    return int(match[1]) if match else None


def _split_computations(hlo: str) -> tuple[str, dict[str, list[str]]]:
    """Return the name of the entry computation, and the lines of all computations by name."""
    entry, name = "", ""
    bodies: dict[str, list[str]] = {}
    for line in hlo.splitlines():
        if (
            not line.startswith((" ", "}"))
            and (head := COMPUTATION_HEAD.match(line))
            and " = " not in line.split("{")[0]
        ):
            name = head[2]
            bodies[name] = []
            entry = name if head[1] else entry
        elif name:
            bodies[name].append(line)
    return entry, bodies


def _sent_bytes(result: str, kind: str, start: bool, line: str) -> float:
    """Return the bytes that a chip sends for one collective with a result type, by the formulas above."""
    n = sum(
        DTYPE_BYTES.get(dtype, 1) * math.prod(map(int, filter(None, dims.split(","))))
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", result)
    )
    g = _group_size(line)
    if kind == "all-gather":
        # The result of a start holds operand and output.
        n = n * g / (g + 1) if start else n
        return n * (g - 1) / g
    if kind == "all-reduce":
        return 2 * n * (g - 1) / g
    if kind == "reduce-scatter":
        return n * (g - 1)
    if kind == "all-to-all":
        return n * (g - 1) / g
    return n / 2 if start else n


def _group_size(line: str) -> int:
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", match[2]))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(match[1])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(match[1].split(","))
    return 2
