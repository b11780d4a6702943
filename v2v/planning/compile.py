"""Ahead-of-time compilation of a program, and what each chip holds, computes and sends.

    peak = arguments + temporaries + results in memory of their own (the donated state counts once) + what a run holds beside

The compiler fails for a program that does not fit, with the memory that it requires in the message; this is a result, not an error.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

import jax

from v2v.planning import traffic
from v2v.planning.programs import Program
from v2v.runtime import flops

GIB = 2**30
UNIT_BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class ProgramCost:
    """The cost of one call on each chip.

    Attributes:
      arguments: bytes of the arguments.
      temporaries: bytes of temporaries; None where the program did not compile.
      peak: bytes at the peak.
      fits: whether the peak fits into the chip's memory.
      flops: operations, recomputed ones included.
      sent_bytes: bytes sent, by kind of collective.
      host_bytes: bytes of arguments and temporaries in the host's memory beside a chip.
      held_bytes: bytes, in the peak, of what a run holds while the program runs: other batches.
    """

    arguments: int
    temporaries: int | None
    peak: int
    fits: bool
    flops: float
    sent_bytes: dict[str, float] = field(default_factory=dict)
    host_bytes: int = 0
    held_bytes: int = 0


def compile_program(program: Program, hbm: float, held_bytes: int = 0) -> ProgramCost:
    """Trace and compile a program, which takes minutes at full size, and return its cost.

    Args:
      program: the program.
      hbm: a chip's memory in bytes.
      held_bytes: bytes that a run holds on each chip beside the program's own.
    """
    with jax.set_mesh(program.mesh):
        traced = program.jitted.trace(*program.args)
        operations = flops.count_flops(flops.remove_dead_code(traced.jaxpr)) / program.mesh.size
        arguments = argument_bytes(program)
        try:
            compiled = traced.lower().compile()
        except jax.errors.JaxRuntimeError as err:
            required_bytes = parse_out_of_memory(str(err), arguments)
            if required_bytes is None:
                raise
            return ProgramCost(
                arguments, None, required_bytes + held_bytes, False, operations, held_bytes=held_bytes
            )
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak = max(
        memory.peak_memory_in_bytes, memory.argument_size_in_bytes + memory.temp_size_in_bytes + results
    )
    sent_bytes = traffic.count_sent_bytes(compiled.as_text())
    host_bytes = memory.host_argument_size_in_bytes + memory.host_temp_size_in_bytes
    in_host_memory = argument_bytes(program, "pinned_host")
    if host_bytes or in_host_memory:
        # The report's peak is of both memories, and that for GPUs counts arguments in the host's memory as the device's.
        host_bytes = in_host_memory + memory.host_temp_size_in_bytes
        peak = arguments + memory.temp_size_in_bytes + results + held_bytes
        return ProgramCost(
            arguments,
            memory.temp_size_in_bytes,
            peak,
            peak <= hbm,
            operations,
            sent_bytes,
            host_bytes,
            held_bytes,
        )
    peak += held_bytes
    return ProgramCost(
        memory.argument_size_in_bytes,
        memory.temp_size_in_bytes,
        peak,
        peak <= hbm,
        operations,
        sent_bytes,
        host_bytes,
        held_bytes,
    )


def argument_bytes(program: Program, memory: Literal["device", "pinned_host"] = "device") -> int:
    """Return the bytes of the arguments on one chip, or in the host's memory beside it, without compilation."""
    total = 0
    for leaf in jax.tree.leaves(program.args):
        is_on_host = bool(leaf.sharding) and leaf.sharding.memory_kind == "pinned_host"
        if is_on_host != (memory == "pinned_host"):
            continue
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape
        size = leaf.dtype.itemsize
        for n in shape:
            size *= n
        total += size
    return total


def parse_out_of_memory(message: str, arguments: int) -> int | None:
    """Return the bytes that a program requires, from the compiler's message; None for a message about something else.

    Args:
      message: the compiler's error.
      arguments: bytes of the program's arguments.
    """
    if match := re.search(r"Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm", message):
        return int(float(match[1]) * UNIT_BYTES[match[2]])
    if match := re.search(
        r"required for HLO temporaries \(([\d.]+)([KMGT])\) exceeds available HBM", message
    ):
        return arguments + int(float(match[1]) * UNIT_BYTES[match[2]])
    return None
