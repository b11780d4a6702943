"""A program compiled ahead of time, and what a chip would hold, compute and send. programs.py → **compile** → report.py

    peak = arguments + temporaries + what is returned beside them (the state's memory is given up, so it is counted once)
A program that doesn't fit fails in the compiler, which says how much it would have needed; that is an answer, not an error.
"""

import re
from dataclasses import dataclass, field

import jax

from v2v.planning import traffic
from v2v.planning.programs import Program
from v2v.runtime import flops

GIB = 2**30
UNIT_BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class ProgramCost:
    """Of one call, for each chip; bytes and operations. `temporaries` is None where the compiler gave up."""

    arguments: int
    temporaries: int | None
    peak: int
    fits: bool
    flops: float
    sent: dict[str, float] = field(default_factory=dict)


def compile_program(program: Program, hbm: float) -> ProgramCost:
    """Trace, count, lower, compile; minutes for a model of full size."""
    with jax.set_mesh(program.mesh):
        traced = program.jitted.trace(*program.args)
        operations = flops.count(traced.jaxpr) / program.mesh.size
        arguments = argument_bytes(program)
        try:
            compiled = traced.lower().compile()
        except jax.errors.JaxRuntimeError as err:
            needed = parse_out_of_memory(str(err), arguments)
            if needed is None:
                raise
            return ProgramCost(arguments, None, needed, False, operations)
    memory = compiled.memory_analysis()
    peak = max(
        memory.peak_memory_in_bytes,
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
    )
    sent = traffic.count_sent_bytes(compiled.as_text())
    return ProgramCost(
        memory.argument_size_in_bytes, memory.temp_size_in_bytes, peak, peak <= hbm, operations, sent
    )


def argument_bytes(program: Program) -> int:
    """What a chip holds before anything is computed; no compilation needed."""
    total = 0
    for leaf in jax.tree.leaves(program.args):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape
        size = leaf.dtype.itemsize
        for n in shape:
            size *= n
        total += size
    return total


def parse_out_of_memory(message: str, arguments: int) -> int | None:
    """Bytes a program would have needed, from the compiler's message; None when it is about something else."""
    if found := re.search(r"Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm", message):
        return int(float(found[1]) * UNIT_BYTES[found[2]])
    if found := re.search(
        r"required for HLO temporaries \(([\d.]+)([KMGT])\) exceeds available HBM", message
    ):
        return arguments + int(float(found[1]) * UNIT_BYTES[found[2]])
    return None
