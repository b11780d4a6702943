"""An adapter as others use it: both conventions of names, its schedule in the header, and a card that tells of its data.

    FOLDER/pytorch_lora_weights.safetensors            names of diffusers and PEFT
    FOLDER/comfyui/NAME.safetensors                    names of the original release, for ComfyUI and most other tools
    FOLDER/*.embeds.safetensors                        beside each: embeddings of source, mask and reference, which other tools pass over
    FOLDER/README.md                                   the card

adapters.py, train/fine_tuning.py -> **adapter_release** -> hub_upload.py
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from v2v.checkpoints import adapters
from v2v.checkpoints.adapters import Adapter
from v2v.checkpoints.hub import MAIN_ADAPTER
from v2v.checkpoints.known_models import find_known
from v2v.checkpoints.presets import describe_sampling
from v2v.config import LoRAConfig, ModelConfig, SamplingConfig

CARD_FILE = "README.md"


@dataclass(frozen=True)
class TrainingFacts:
    """What a card tells of how an adapter was trained.

    Attributes:
      base: the model that it adapts, ORG/NAME or the name of a folder.
      steps: updates that were done.
      lora: ranks and targets.
      sizes: sizes (frames, height, width) of clips, by the number of pairs.
      licences: licences of the pairs, by their number.
      sets: names of the sets.
      instructions: a few of them, as examples.
      best: step and loss of the least held-out loss; None where none was measured.
      transformer: of a model of two; "" for one.
    """

    base: str
    steps: int
    lora: LoRAConfig
    sizes: Mapping[tuple[int, int, int], int]
    licences: Mapping[str, int]
    sets: Sequence[str]
    instructions: Sequence[str] = ()
    best: tuple[int, float] | None = None
    transformer: str = ""


@dataclass(frozen=True)
class Release:
    """Files of a release.

    Attributes:
      folder: the folder.
      files: its files.
    """

    folder: Path
    files: tuple[Path, ...] = field(default=())


def write_release(folder: Path, adapter: Adapter, config: ModelConfig, facts: TrainingFacts) -> Release:
    """Write an adapter for others.

    Args:
      folder: made where missing; files of these names are replaced.
      adapter: the adapter.
      config: the model that it adapts, with the flow settings that it was trained for.
      facts: what the card tells.

    Raises:
      InputError: it holds full updates.
    """
    flow = config.flow
    names = [f.name for f in dataclasses.fields(SamplingConfig)]
    sampling = adapter.sampling or SamplingConfig(**{name: getattr(flow, name) for name in names})
    adapter = dataclasses.replace(adapter, sampling=sampling, condition=adapter.condition or config.condition)
    other = folder / "comfyui" / f"{_file_name(folder)}.safetensors"
    other.parent.mkdir(parents=True, exist_ok=True)
    files = [
        *adapters.save_adapter(folder / MAIN_ADAPTER, adapter, config, style="diffusers"),
        *adapters.save_adapter(other, adapter, config, style="original"),
    ]
    card = folder / CARD_FILE
    card.write_text(format_card(other.relative_to(folder).as_posix(), sampling, config, facts))
    return Release(folder, (*files, card))


def format_card(other: str, sampling: SamplingConfig, config: ModelConfig, facts: TrainingFacts) -> str:
    """Return a model card.

    Args:
      other: path of the file in the original release's names.
      sampling: how it is sampled.
      config: the model that it adapts.
      facts: how it was trained.
    """
    is_hub_name = facts.base.count("/") == 1 and not facts.base.startswith((".", "/"))
    head = [
        "library_name: diffusers",
        "pipeline_tag: video-to-video",
        "tags: [lora, video-editing, v2v-edit]",
    ]
    if is_hub_name:
        head += [f"base_model: {json.dumps(facts.base)}", "base_model_relation: adapter"]
    # Nobody but its owner can license an adapter; what binds them is listed below.
    head += ["license: other", "license_name: terms-of-base-and-data"]
    base_model = find_known(facts.base)
    base_licence = base_model.licence if base_model else "see its card"
    frames, height, width = max(facts.sizes, key=lambda size: (size[0] > 1, facts.sizes[size]))
    example = facts.instructions[0] if facts.instructions else "make it sepia"
    name = facts.base if is_hub_name else "MODEL"
    flag = f"--lora-{facts.transformer}" if facts.transformer else "--lora"
    sizes = ", ".join(
        f"{f} x {h} x {w}: {n}" for (f, h, w), n in sorted(facts.sizes.items(), key=lambda item: -item[1])
    )
    scale = "folded into the second matrices"
    rows = [
        ("base model", f"{facts.base} ({base_licence})" + (f", {facts.transformer}-noise transformer" if facts.transformer else "")),
        ("steps", str(facts.steps)),
        ("rank", str(facts.lora.rank) + (f"; {', '.join(facts.lora.ranks)}" if facts.lora.ranks else "") + ("; DoRA" if facts.lora.dora else "")),
        ("scale", f"{facts.lora.scale:g}, {scale}"),
        ("layers", f"`{facts.lora.targets}`"),
        ("conditions", f"layout {config.condition.layout}, positions {config.condition.rope}, mask {config.condition.mask}"),
        ("schedule", describe_sampling(sampling)),
        ("clips (frames, height, width: pairs)", sizes),
        ("sets", ", ".join(facts.sets)),
    ]  # fmt: skip
    if facts.best is not None:
        rows.append(("least held-out loss", f"{facts.best[1]:.4g} at step {facts.best[0]}"))
    licences = [
        f"| {licence} | {count} |"
        for licence, count in sorted(facts.licences.items(), key=lambda item: -item[1])
    ]
    examples = [f"- {sentence}" for sentence in facts.instructions]
    return "\n".join(
        [
            "---", *head, "---", "",
            "# Video editing adapter", "",
            f"A LoRA of {facts.base} that edits clips from written instructions, trained with v2v.", "",
            "## Use", "",
            "```sh",
            f'v2v edit in.mp4 "{example}" -o out.mp4 --model {name} {flag} {MAIN_ADAPTER} --size {width}x{height}x{frames}',
            "```", "",
            f"`{MAIN_ADAPTER}` has the names of diffusers and PEFT, `{other}` those of the original release (ComfyUI and others). The `.embeds.safetensors`"
            " beside them hold the embeddings of source, mask and reference: v2v reads them by itself; tools without them use the low-rank"
            " updates alone, which don't see the source. Noise levels, guidance and shift are stored in the headers.", "",
            *(["Instructions that it was trained on:", "", *examples, ""] if examples else []),
            "## Training", "",
            "| | |", "|---|---|", *(f"| {key} | {_escape_cell(value)} |" for key, value in rows), "",
            "## Licences", "",
            f"The base model: {base_licence}. The training pairs, as their sets state it:", "",
            "| licence | pairs |", "|---|---|", *licences, "",
            "Whoever publishes the adapter chooses its licence within these terms; the head of this card says `other` until then.", "",
            "## Limits", "",
            "Not evaluated beyond the held-out loss unless its owner says so here. `v2v eval` compares editors.", "",
        ]
    )  # fmt: skip


def _escape_cell(text: str) -> str:
    """Return a text for a cell of a Markdown table, in which a bar ends the cell even in code."""
    return text.replace("|", "\\|")


def _file_name(folder: Path) -> str:
    """Return a file's name for the folder of a run: that of the run, where the folder is its `export`."""
    absolute = folder.absolute()
    return absolute.parent.name if absolute.name == "export" else absolute.name
