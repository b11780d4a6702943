"""Plans of whole edits: memory of every phase, and seconds by a roofline, without compiling anything.

    phase = max( operations / (share · peak rate), bytes of products / (share · memory rate) ) + bytes sent / (share · link rate)

Operations and bytes are counted in the traced programs (runtime/flops.py), memory is estimated by pipeline/memory_plan.py, what is sent by
pipeline/clip_mesh.py. The shares are assumptions, stated with the plan (`Rates`); nothing here was measured on a device. Reading weights from
the disk, and decoding and encoding video files, are not part of it. `--what sample` compiles, and tools/checks/compile_edit.py compiles all
programs of an edit.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from v2v.checkpoints import parameter_store
from v2v.config import MeshConfig, ModelConfig, WeightsDtype
from v2v.diffusion.sampler import count_high_noise
from v2v.diffusion.schedule import sampling_levels
from v2v.diffusion.solvers import build_solver_table
from v2v.errors import InputError
from v2v.models import autoencoder_streaming, kv_cache
from v2v.models.autoencoder import VAE
from v2v.models.conditioning import build_conditioning, context_shape, default_branches, default_conditions
from v2v.models.text_encoder import TextEncoder
from v2v.models.transformer import DiT
from v2v.pipeline import clip_mesh, memory_plan
from v2v.pipeline.memory_plan import GIB, ClipShape, MemoryPlan, PhaseName
from v2v.planning import chips
from v2v.planning.chips import Chip
from v2v.runtime import flops, host_memory, sharding
from v2v.runtime.host_memory import DeviceMemory


@dataclass(frozen=True)
class Rates:
    """Assumed shares of a device's rates.

    Attributes:
      matmul: of the peak bfloat16 rate, in transformer and text encoder.
      convolution: of the peak rate, in the autoencoder; on GPUs, which compute float32 as TF32, of half of it.
      memory: of the memory's rate.
      links: of the links' rate.
      host: bytes per second from the host's memory to a device.
    """

    matmul: float = 0.4
    convolution: float = 0.25
    memory: float = 0.7
    links: float = 0.7
    host: float = 12e9


@dataclass(frozen=True)
class PhaseCost:
    """The cost of a phase of an edit of one window on each device; the field names are keys of `v2v plan --json`.

    Attributes:
      tflop: operations.
      gb: bytes of products.
      sent_gb: bytes sent.
      seconds_compute: time of the operations.
      seconds_memory: time of the bytes.
      seconds_links: time of what is sent.
      seconds_host: time to bring back weights that waited on the host.
    """

    tflop: float
    gb: float
    sent_gb: float
    seconds_compute: float
    seconds_memory: float
    seconds_links: float
    seconds_host: float

    @property
    def seconds(self) -> float:
        """Return the predicted time."""
        return max(self.seconds_compute, self.seconds_memory) + self.seconds_links + self.seconds_host


@dataclass(frozen=True)
class EditPlan:
    """The plan of an edit of one window.

    Attributes:
      name: of the experiment or model.
      topology: name of the devices.
      chip: their kind.
      devices: number of them.
      mesh: sizes of the mesh's axes.
      clip: frames x height x width.
      tokens: joint tokens.
      steps: sampling steps.
      branches: passes of the transformer in a step.
      weights_dtype: type that weights are stored in; None for the model's own.
      memory: what lies where.
      phases: costs by phase.
      rates: assumptions.
    """

    name: str
    topology: str
    chip: Chip
    devices: int
    mesh: Mapping[str, int]
    clip: str
    tokens: int
    steps: int
    branches: int
    weights_dtype: WeightsDtype | None
    memory: MemoryPlan
    phases: Mapping[str, PhaseCost]
    rates: Rates

    @property
    def seconds(self) -> float:
        """Return the predicted time of the edit."""
        return sum(cost.seconds for cost in self.phases.values())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "experiment": self.name,
            "what": "edit",
            "topology": self.topology,
            "chips": self.devices,
            "mesh": dict(self.mesh),
            "clip": self.clip,
            "tokens": self.tokens,
            "steps": self.steps,
            "branches": self.branches,
            "weights_dtype": self.weights_dtype,
            "fits": self.memory.fits,
            "seconds": round(self.seconds, 2),
            "memory": self.memory.to_json(),
            "phases": {
                name: {key: float(f"{value:.4g}") for key, value in dataclasses.asdict(cost).items()} | {"seconds": round(cost.seconds, 2)}
                for name, cost in self.phases.items()
            },
            "rates": dataclasses.asdict(self.rates),
        }  # fmt: skip

    def describe(self) -> str:
        """Return the plan for people, several lines."""
        mesh = ",".join(f"{axis}={n}" for axis, n in self.mesh.items() if n > 1) or "one device"
        dtype_text = "" if self.weights_dtype is None else f", weights in {self.weights_dtype}"
        lines = [
            f"{self.name}: edit of {self.clip}, {self.tokens:,} tokens, {self.steps} steps of {self.branches} passes{dtype_text}, on {self.topology} "
            f"({self.devices} of {self.chip.hbm / GIB:.4g} GiB), mesh {mesh}",
            *self.memory.describe(),
            f"phase         TFLOP   compute    memory     links from host   seconds{'' if self.devices == 1 else '   on each device'}",
        ]
        lines += [
            f"{name:10} {cost.tflop:8.3g} {cost.seconds_compute:8.2f}s {cost.seconds_memory:8.2f}s {cost.seconds_links:8.2f}s "
            f"{cost.seconds_host:8.2f}s {cost.seconds:8.2f}s"
            for name, cost in self.phases.items()
        ]
        rates = self.rates
        lines += [
            f"an edit of one window: {self.seconds:.3g} s, weights loaded and programs compiled before{'' if self.memory.fits else '; IT DOES NOT FIT'}",
            f"assumed: {rates.matmul:g} of {self.chip.flops / 1e12:g} TFLOP/s ({rates.convolution:g} in the autoencoder), {rates.memory:g} of "
            f"{self.chip.hbm_rate / 1e9:g} GB/s of memory, {rates.links:g} of {self.chip.ici_rate / 1e9:g} GB/s of links, {rates.host / 1e9:g} GB/s "
            "from the host; not measured",
        ]
        return "\n".join(lines)


def plan_edit(
    config: ModelConfig,
    topology: str,
    name: str,
    mesh: MeshConfig | None = None,
    weights_dtype: WeightsDtype | None = None,
    utilisation: float = 0.4,
    reserved_bytes: int = 0,
) -> EditPlan:
    """Plan the edit of one window on devices that need not be there.

    Args:
      config: the model.
      topology: "v5e:2x4", "h100:8" and so on (chips.py).
      name: of the model.
      mesh: the axes over which the clip is split; None for those that fit and send least.
      weights_dtype: type that weights are stored in; None for the model's own.
      utilisation: share of the peak rate that the transformer reaches.
      reserved_bytes: memory of each device that something else holds, such as a training run.

    Raises:
      InputError: an unknown topology, or a mesh of another number of devices.
    """
    place = chips.parse_topology(topology)
    conditions = default_conditions(config)
    shape, count = ClipShape.of(config, conditions, rows=1), place.chips
    branches = len(default_branches(config))

    def plan_memory(axes: Mapping[str, int]) -> MemoryPlan:
        sizes = parameter_store.part_bytes(config, sharding.abstract_mesh(axes), weights_dtype)
        split = axes.get("fsdp", 1) * axes["seq"] * axes["tensor"]
        free = int(place.chip.hbm) - reserved_bytes
        device = DeviceMemory(free, host_memory.UNLIMITED, place.chip.platform)
        is_alone = split * axes["data"] == 1
        streamed = parameter_store.streamed_bytes(config, weights_dtype) if split == 1 else None
        return memory_plan.plan_edit(
            config, shape, sizes, device, split * axes["data"], is_alone, streamed, sampling_devices=split
        )

    if mesh is None:
        axes = clip_mesh.find_clip_mesh(
            config, shape.tokens, count, lambda axes: plan_memory(axes).fits, branches
        )
    else:
        axes = _resolve_mesh(mesh, count)
    memory = plan_memory(axes)
    rates = Rates(matmul=utilisation)
    # Devices that share a phase's operations: branches of guidance are computed side by side, frames are split over all axes.
    groups = clip_mesh.shared_branches(axes, branches)
    sampling_share = axes["seq"] * axes["tensor"] * (groups if groups > 1 else axes.get("fsdp", 1))
    # A sentence is short: its tokens are not split, only the text encoder's heads.
    shares = {"text": axes["tensor"], "sample": sampling_share, "sample_low": sampling_share}
    passes = count_passes(config)
    counts = _count_phases(
        config, conditions, memory.phase("sample").working_bytes > 0 and memory.caches_keys
    )
    pass_bytes = clip_mesh.step_bytes(config, shape.tokens, axes, branches) / branches
    traffic = {phase: n * pass_bytes for phase, n in passes.items()}
    phases = {}
    for phase in memory.phases:
        share_count = shares.get(phase.name, math.prod(axes.values()))
        operations, product_bytes = (total / share_count for total in counts[phase.name])
        peak = place.chip.flops
        if phase.part == "vae":
            share = rates.convolution / (
                2 if place.chip.platform == "gpu" and config.vae.dtype == "float32" else 1
            )
        else:
            share = rates.matmul
        streamed_seconds = 0.0
        if phase.name in passes and memory.streams:  # moved while blocks before compute
            dit_bytes = parameter_store.part_bytes(config, weights_dtype=weights_dtype)["dit"]
            streamed_seconds = passes[phase.name] * dit_bytes / rates.host
        others = [other for other in memory.phases if phase.part not in (other.part, *other.beside)]
        phases[phase.name] = PhaseCost(
            operations / 1e12,
            product_bytes / 1e9,
            traffic.get(phase.name, 0) / 1e9,
            operations / (share * peak),
            max(product_bytes / (rates.memory * place.chip.hbm_rate), streamed_seconds),
            traffic.get(phase.name, 0) / (rates.links * place.chip.ici_rate),
            phase.weight_bytes / rates.host if others and phase.name != "encode" else 0.0,
        )
    frames = f"{config.frames}x{config.height}x{config.width}"
    return EditPlan(
        name, topology, place.chip, count, axes, frames, shape.tokens, config.flow.steps, branches, weights_dtype, memory, phases, rates
    )  # fmt: skip


def count_passes(config: ModelConfig) -> dict[PhaseName, int]:
    """Return how many passes of a transformer an edit's sampling phases take, with guidance as the model has it by default."""
    flow = config.flow
    branches = len(default_branches(config))
    if not flow.boundary:
        return {"sample": branches * flow.steps}
    rows = build_solver_table(flow.solver, *sampling_levels(flow, flow.steps))
    high = count_high_noise(rows, flow.boundary)
    low_branches = len(default_branches(config, flow.low_guidance))
    return {"sample": branches * high, "sample_low": low_branches * (len(rows.sigma) - high)}


def _resolve_mesh(mesh: MeshConfig, devices: int) -> dict[str, int]:
    """Return the sizes of a mesh's axes; -1 takes the devices that are left.

    Raises:
      InputError: they don't multiply to the number of devices.
    """
    axes = dataclasses.asdict(mesh)
    fixed = 1
    for size in axes.values():
        fixed *= 1 if size == -1 else size
    axes = {axis: devices // fixed if size == -1 else size for axis, size in axes.items()}
    product = axes["data"] * axes["fsdp"] * axes["seq"] * axes["tensor"]
    if product != devices:
        raise InputError(
            f"plan: expected mesh axes that multiply to {devices} devices, got {axes}; change --mesh.*"
        )
    return axes


@functools.lru_cache(maxsize=8)
def _count_phases(
    config: ModelConfig, conditions: tuple[str, ...], may_cache: bool
) -> dict[str, tuple[int, int]]:
    """Return operations and bytes of products of each phase of an edit of one window, on all devices."""
    f32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    video = f32((1, config.frames, config.height, config.width, 3))
    picture = f32((1, 1, *video.shape[2:]))
    latent = config.vae.latent_shape(*video.shape[1:4])
    z, z_picture = f32((1, *latent)), f32((1, 1, *latent[1:]))
    vae, encoder = VAE(config.vae), TextEncoder(config.text)
    params = {
        part: parameter_store.abstract_parameters(part, config)
        for part in ("vae", "text")
        if part in config.parts
    }
    ids, lengths = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((1, config.text.text_len), (1,)))

    def count(function: Any, *args: Any) -> tuple[int, int]:
        jaxpr = jax.make_jaxpr(function)(*args)
        return flops.count_flops(jaxpr), flops.count_product_bytes(jaxpr)

    embed = (0, 0)
    if "text" in params:
        embed = count(lambda p, i, n: encoder.apply({"params": p}, i, n), params["text"], ids, lengths)
    encode = count(lambda p, x: autoencoder_streaming.encode_in_chunks(vae, p, x), params["vae"], video)
    decode = count(lambda p, x: autoencoder_streaming.decode_in_chunks(vae, p, x), params["vae"], z)
    videos = len({"source", "mask"} & set(conditions))
    encodings = [encode] * videos
    if "reference" in conditions:
        encodings.append(
            count(lambda p, x: autoencoder_streaming.encode_in_chunks(vae, p, x), params["vae"], picture)
        )
    # The autoencoder's round trip of the source is decoded too, to measure what it loses.
    latents = {name: z_picture if name == "reference" else z for name in conditions}
    sampling = {
        phase: _count_sampling(config, latents, count, may_cache, passes)
        for phase, passes in count_passes(config).items()
    }
    return {
        "text": _times(embed, 2),
        "encode": (sum(n for n, _ in encodings), sum(n for _, n in encodings)),
        **sampling,
        "decode": _times(decode, 2),
    }


def _count_sampling(
    config: ModelConfig, latents: Mapping[str, jax.ShapeDtypeStruct], count: Any, may_cache: bool, passes: int
) -> tuple[int, int]:
    """Return operations and bytes of a number of passes of a transformer."""
    plain = dataclasses.replace(config.dit, backend="plain", remat="none")
    dit, tau = DiT(plain, config.condition), jnp.ones((1,))
    t, y, x, c = config.vae.latent_shape(config.frames, config.height, config.width)
    z = jax.ShapeDtypeStruct((1, t, y, x, c), jnp.float32)
    text = jax.ShapeDtypeStruct((1, config.dit.text_len, config.dit.text_width), jnp.float32)
    shapes = jax.eval_shape(dit.init, jax.random.key(0), z, tau, text, **latents)
    text = jax.ShapeDtypeStruct((1, *context_shape(config)), jnp.float32)
    weights = {"params": parameter_store.abstract_parameters("dit", config), "embed": shapes.get("embed", {})}
    branches = len(default_branches(config))
    if may_cache and latents and build_conditioning(config.dit, config.condition).cacheable:
        cache = jax.eval_shape(functools.partial(kv_cache.prefill, dit), weights, z, text, latents)
        prefill = count(lambda w, z, m, c: kv_cache.prefill(dit, w, z, m, c), weights, z, text, latents)
        cached = count(
            lambda w, z, m, c: dit.apply(w, z, tau, m, **c, part="target"), weights | {"cache": cache}, z, text, latents
        )  # fmt: skip
        return tuple(passes * n + branches * first for n, first in zip(cached, prefill, strict=True))
    one = count(lambda w, z, m, c: dit.apply(w, z, tau, m, **c), weights, z, text, latents)
    return _times(one, passes)


def _times(pair: tuple[int, int], n: int) -> tuple[int, int]:
    return n * pair[0], n * pair[1]
