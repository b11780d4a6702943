"""The paper's ablations as variants of wan22_ti2v_5b, each with one or two settings changed.

    v2v train ablation:full_add --workdir runs/ablation-full-add --weights DIR --sets pairs

`v2v train --list` shows the variants. The paper's own scores (VLM judge, EditVerseBench subset, 20K / 40K steps):
    full_add            full fine-tuning, source added to the target's tokens             4.67 / 4.57
    full_sequence       full fine-tuning, source beside the target                        3.66 / 3.94
    lora_add            LoRA, source added                                                6.11 / 6.29
    (base)              LoRA, source beside the target, as wan22_ti2v_5b trains           7.05 / 7.47
    rank64, rank128     LoRA rank; at 20K without reference 6.17 and 6.20, rank 256 6.48
    no_mask             the mask is never shown
    images              pairs of pictures only (1x480x832), its data ablation: 5.52 against 6.86 for all data
Not in the paper:
    one_way             condition tokens do not attend to noisy ones, so sampling computes them once
    shared_rope         source and target share their temporal positions
Hardware and hours as for the base: `v2v plan ablation:NAME --topology v5e:2x4`; with the source added there are half the tokens.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from v2v.config import ConditionConfig, LoRAConfig
from v2v.train.config import Experiment

from . import wan22_ti2v_5b

run = wan22_ti2v_5b.run


@dataclass(frozen=True)
class Variant:
    """Settings that differ from the base.

    Attributes:
      trains: the weights that are trained (`Experiment.trains`).
      model: fields of `Experiment.model`.
      data: fields of `Experiment.data`.
    """

    trains: Literal["lora", "full"] = "lora"
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


ADD = {"condition": ConditionConfig(layout="add")}
VARIANTS = {
    "full_add": Variant("full", model=ADD),
    "full_sequence": Variant("full"),
    "lora_add": Variant(model=ADD),
    "rank64": Variant(model={"lora": LoRAConfig(rank=64)}),
    "rank128": Variant(model={"lora": LoRAConfig(rank=128)}),
    "no_mask": Variant(data={"drop_mask": 1.0}),
    "images": Variant(model={"frames": 1}),
    "one_way": Variant(model={"condition": ConditionConfig(attention="one_way")}),
    "shared_rope": Variant(model={"condition": ConditionConfig(rope="shared")}),
}


def config(variant: str = "base") -> Experiment:
    """Return the base with the changes of a variant and 20,000 steps, at which the paper compares.

    Args:
      variant: a name in VARIANTS, or "base".
    """
    changes = Variant() if variant == "base" else VARIANTS[variant]
    base = wan22_ti2v_5b.config()
    return dataclasses.replace(
        base,
        name=f"ablation_{variant}",
        model=dataclasses.replace(base.model, **changes.model),
        data=dataclasses.replace(base.data, **changes.data),
        edit=dataclasses.replace(base.edit, steps=20_000),
        trains=changes.trains,
    )
