"""The model of a command line: which one, its sizes and types, adapters, and the devices that it runs on."""

import argparse
import dataclasses
import functools
import logging
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from v2v.assets import EMBEDDED
from v2v.checkpoints.presets import Preset, find_preset
from v2v.cli.model_arguments import read_transformer_adapters
from v2v.config import TransformerName
from v2v.errors import InputError, note
from v2v.runtime import devices

if TYPE_CHECKING:  # heavy imports wait until the input is checked
    from jax.sharding import Mesh

    from v2v.config import WeightsDtype
    from v2v.pipeline.editor import EasyV2VEditor
    from v2v.pipeline.pretrained_model import Pretrained

logger = logging.getLogger(__name__)

# Far beyond what gives a picture, and far from where float32 ends.
LARGEST_WEIGHT = 1e6


@dataclass(frozen=True)
class ModelOptions:
    """The model to edit with, and what is added to it.

    Attributes:
      path: "embedded", a folder, or ORG/NAME[@REVISION] on the hub.
      size: frames, height and width other than the model's, and whether clips keep their aspect (`load_pretrained`).
      dtype: of matrix products, other than the model's.
      device: as `devices.select_device` takes it.
      solver: another solver than the model's.
      schedule: another schedule than the model's.
      adapters: files, or their names on the hub, and their weights.
      pairs: adapters of the transformers of a model of two, each with the name of its transformer.
      skip: tolerance of step skipping; 0 for none.
      progress: show bars while weights are read.
      mesh: sizes by mesh axis, to edit a clip on several devices; empty for one device a clip.
      weights_dtype: type that weights are stored in; None for the model's own.
      branches: passes of guidance in a step that devices of one clip may share; None for those of the model's guidance.
      preset: name or JSON file of a sampling preset (checkpoints/presets.py); "" for none.
    """

    path: str = "embedded"
    size: Mapping[str, int] = field(default_factory=dict)
    solver: str | None = None
    schedule: str | None = None
    adapters: tuple[tuple[str, float], ...] = ()
    pairs: tuple[tuple[str, float, TransformerName], ...] = ()
    skip: float = 0.0
    progress: bool = False
    mesh: Mapping[str, int] = field(default_factory=dict)
    weights_dtype: "WeightsDtype | None" = None
    dtype: str | None = None
    device: str = ""
    branches: int | None = None
    preset: str = ""

    def find_preset(self) -> Preset | None:
        """Return the preset, without its adapter where others are given.

        Raises:
          InputError: no such preset.
        """
        if not self.preset:
            return None
        preset = find_preset(self.preset)
        return dataclasses.replace(preset, adapter="") if self.adapters else preset

    def load_editor(self, jobs: bool = False) -> "EasyV2VEditor":
        """Load the model and its adapters.

        Args:
          jobs: whether it edits several clips side by side, so that devices are no mesh of one clip unless `mesh` says so.

        Raises:
          InputError: no such model, adapter or device, or unsuitable ones.
        """
        preset = self.find_preset()
        devices.select_device(self.device)
        # Where nobody watches, bad input still ends in one line; the report tells the device.
        level = logging.INFO if self.progress else logging.DEBUG
        logger.log(level, "v2v: editing on %s", devices.describe_devices())
        if hint := devices.find_unused_device():
            note(hint)
        from v2v.checkpoints import hub, hub_client
        from v2v.pipeline.editor import EasyV2VEditor
        from v2v.pipeline.pretrained import load_pretrained

        if hub_client.find_hub_name(self.path):  # fetched here, so that --quiet shows no bar
            hub.resolve_model(self.path, progress=self.progress)
        settings = {
            **self.size,
            "solver": self.solver,
            "schedule": self.schedule,
            "weights_dtype": self.weights_dtype,
            "dtype": self.dtype,
            "preset": preset,
        }
        if self.dtype == "float32":
            devices.use_exact_float32()
        if self.path == "embedded" and not any(settings.values()) and not self.mesh:
            editor = EasyV2VEditor(self.path)
        else:
            load = functools.partial(load_pretrained, self.path, progress=self.progress, **settings)
            mesh = build_clip_mesh(self.mesh) if self.mesh else None
            model = load(mesh=mesh)
            # Nothing has been read yet but names and shapes, by which the mesh is chosen.
            if (
                not self.mesh
                and not jobs
                and (mesh := choose_clip_mesh(model, self.weights_dtype, self.branches)) is not None
            ):
                model = load(mesh=mesh)
            editor = EasyV2VEditor(model)
        for file, weight in self.adapters:
            editor.load_lora_weights(file, weight)
        for file, weight, transformer in self.pairs:
            editor.load_lora_weights(file, weight, transformer)
        if self.skip:
            editor.skip_steps(self.skip)
        return editor

    def fingerprint(self) -> str:
        """Return what tells the results of this model from those of others, for the records of finished jobs."""
        from v2v.checkpoints import hub
        from v2v.pipeline.batch import fingerprint_weights

        files = hub.resolve_model(self.path, progress=self.progress) if self.path != "embedded" else EMBEDDED
        preset, names = self.find_preset(), [file for file, *_ in (*self.adapters, *self.pairs)]
        adapters = [
            hub.resolve_adapter(file)
            for file in (names + [preset.adapter] if preset and preset.adapter else names)
        ]
        weights = [weight for _, weight in self.adapters]
        settings = repr((weights, dict(self.size), self.solver, self.schedule))
        if self.pairs:
            settings += repr([place for _, *place in self.pairs])
        if self.dtype is not None:
            settings += f" {self.dtype}"
        if preset is not None:
            settings += f" {preset.sampling}"
        return fingerprint_weights(files, *adapters) + settings + (self.weights_dtype or "")


def read_model_options(args: argparse.Namespace, progress: bool) -> ModelOptions:
    """Return the model that the options of `v2v edit` name.

    Args:
      args: the parsed command line.
      progress: show bars while weights are read.

    Raises:
      InputError: a wrong weight of an adapter, or options that don't go together.
    """
    adapters = parse_adapters(args.lora, args.lora_scale)
    pairs: tuple[tuple[str, float, TransformerName], ...] = tuple(
        (file, weight, name)
        for name, arguments in read_transformer_adapters(args).items()
        for file, weight in parse_adapters(arguments, args.lora_scale)
    )
    if args.mesh and args.explain:
        raise InputError("edit: --explain looks at the model on one device; leave out --mesh")
    return ModelOptions(
        args.model,
        args.size,
        args.solver,
        args.schedule,
        adapters,
        pairs,
        args.skip,
        progress,
        args.mesh,
        args.weights_dtype,
        args.dtype,
        args.device or "",
        _shared_branches(args),
        args.preset or "",
    )


def _shared_branches(args: argparse.Namespace) -> int | None:
    """Return the passes of guidance that devices may share, by its options; None where they don't tell."""
    if args.guidance == 1 or args.guide != "prompt":  # one pass, or passes of different tokens
        return 1
    return None if args.guidance is None else 2


def parse_adapters(arguments: Iterable[str], scale: float) -> tuple[tuple[str, float], ...]:
    """Parse the files of --lora and their weights, FILE or FILE=WEIGHT.

    Args:
      arguments: of --lora.
      scale: default weight.

    Raises:
      InputError: a weight that is not a finite number.
    """
    adapters = []
    for argument in arguments:
        file, equals, text = argument.rpartition("=")
        if not equals or Path(argument).exists():
            file, text = argument, str(scale)
        try:
            weight = float(text)
        except ValueError:
            raise InputError(f"--lora {argument}: expected a number after =, such as {file}=0.5") from None
        if not abs(weight) <= LARGEST_WEIGHT:
            raise InputError(
                f"--lora {argument}: expected a finite weight, {LARGEST_WEIGHT:g} at most, got {text}"
            )
        adapters.append((file, weight))
    return tuple(adapters)


def choose_clip_mesh(
    model: "Pretrained", weights_dtype: "WeightsDtype | None" = None, branches: int | None = None
) -> "Mesh | None":
    """Return a mesh of this process's accelerators that edit one clip together; None where one device does it alone.

    Args:
      model: the model.
      weights_dtype: type that its weights are stored in.
      branches: passes of guidance that devices may share; None for the model's.
    """
    import jax

    from v2v.pipeline.clip_mesh import find_clip_axes
    from v2v.runtime.sharding import make_mesh

    devices = jax.local_devices()
    if len(devices) == 1 or devices[0].platform == "cpu":
        return None
    axes = find_clip_axes(model, len(devices), weights_dtype, branches)
    count = math.prod(axes.values())
    if count == 1:
        return None
    text = ",".join(f"{axis}={size}" for axis, size in axes.items() if size > 1)
    print(
        f"v2v: the clip is edited by {count} devices together (--mesh {text}; --mesh one for one)",
        file=sys.stderr,
    )
    return make_mesh(**axes, devices=devices[:count])


def build_clip_mesh(axes: Mapping[str, int]) -> "Mesh | None":
    """Return a mesh of this process's devices that edit one clip together; None for the first device alone.

    Raises:
      InputError: the sizes don't multiply to the number of devices.
    """
    import jax

    from v2v.runtime.compilation_cache import use_compilation_cache
    from v2v.runtime.sharding import make_mesh

    use_compilation_cache()
    if set(axes.values()) == {1}:
        return None
    return make_mesh(**{"data": 1, **axes}, devices=jax.local_devices())


def build_mesh() -> "Mesh | None":
    """Return a mesh of this process's devices for a batch of jobs; None to run jobs one after the other on a single one."""
    import jax

    from v2v.runtime.sharding import make_mesh

    devices = jax.local_devices()
    return None if len(devices) == 1 else make_mesh(devices=devices)


def require_adapter(lora_scale: float, has_adapter: bool) -> None:
    """Check that --lora-scale has an adapter to scale.

    Args:
      lora_scale: the scale.
      has_adapter: whether there is an adapter.

    Raises:
      InputError: a scale other than 1 without an adapter.
    """
    if lora_scale != 1 and not has_adapter:
        raise InputError(
            "edit: --lora-scale expected an adapter with it, got none; add --lora, or leave it out"
        )
