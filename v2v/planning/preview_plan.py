"""The plan of a preview: an edit on one device beside all that a training run holds there.

train_memory.py, edit_plan.py -> **preview_plan** -> cli/plan.py

Between two steps the activations of training are gone, but its frozen weights, state and batches stay, and the preview reads the model a second
time (train/fine_tuning.py). So the edit is planned for what is left of the first device.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from v2v.planning import chips, edit_plan, train_memory
from v2v.planning.compile import GIB
from v2v.planning.edit_plan import EditPlan
from v2v.planning.report import build_setting
from v2v.train.config import Experiment


@dataclass(frozen=True)
class PreviewPlan:
    """The cost of a preview.

    Attributes:
      held_bytes: what training holds on the device.
      edit: the edit in the remaining memory.
    """

    held_bytes: int
    edit: EditPlan

    @property
    def peak_bytes(self) -> int:
        """Return the bytes on the device at the peak, those of training included."""
        return self.held_bytes + self.edit.memory.peak.peak_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values: those of the edit, and what training holds."""
        return self.edit.to_json() | {
            "what": "preview",
            "held_gib": round(self.held_bytes / GIB, 3),
            "peak_gib": round(self.peak_bytes / GIB, 3),
        }

    def describe(self) -> str:
        """Return the plan for people, several lines."""
        return (
            f"a preview on the first device: training holds {self.held_bytes / GIB:.3g} GiB, the edit takes the rest, {self.peak_bytes / GIB:.3g} GiB in all\n"
            f"{self.edit.describe()}"
        )


def plan_preview(experiment: Experiment, topology: str, utilisation: float = 0.4) -> PreviewPlan:
    """Plan the preview of an experiment of adapters on published weights.

    Args:
      experiment: the experiment.
      topology: the devices that it trains on (chips.py).
      utilisation: share of the peak rate that the transformer reaches.

    Raises:
      InputError: an unknown topology.
    """
    place, model = chips.parse_topology(topology), experiment.model
    setting = build_setting(experiment, "train")
    memory = train_memory.estimate_memory(setting, place.chip.platform, place.chips)
    held_bytes = memory.weights + memory.state + setting.held_batches * memory.batch
    if experiment.log.preview_steps:
        flow = dataclasses.replace(model.flow, steps=experiment.log.preview_steps)
        model = dataclasses.replace(model, flow=flow)
    edit = edit_plan.plan_edit(
        model, _one_device(topology), experiment.name, None, experiment.weights_dtype, utilisation, held_bytes
    )
    return PreviewPlan(held_bytes, edit)


def _one_device(topology: str) -> str:
    """Return the topology of one device of a kind."""
    place = chips.parse_topology(topology)
    return f"{place.chip.name}:{'1' if place.chip.platform == 'gpu' else '1x1'}"
