"""Attention maps: how much each word of the instruction and each source region influenced an edit, as PNG and MP4.

After sampling, the model is evaluated again at points on the straight path from the window's noise to
its edit, x = (1 - tau) z + tau noise. Attention weights are averaged over heads, layers and these points:
    words   cross-attention of a target token to the tokens of each word of the instruction
    flow    self-attention of a target token to the source: its share, and the mean place in the source it goes to
Averaged attention indicates influence; it does not prove it.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from v2v.config import ModelConfig, TransformerName
from v2v.diffusion import windows
from v2v.diffusion.sampler import SampleOutput
from v2v.errors import InputError
from v2v.models.conditioning import build_conditioning
from v2v.models.text_encoder import Tokenizer, clean_text
from v2v.models.transformer import DiT
from v2v.pipeline import windowed
from v2v.pipeline.editor import EasyV2VEditor
from v2v.pipeline.model import SampleRequest, shown_conditions
from v2v.pipeline.pretrained_model import Pretrained
from v2v.pipeline.settings import EditRequest, EditResult
from v2v.video import contact_sheet, file_checks, inputs
from v2v.video.video import Video

# Points on the path at which attention is recorded, evenly spread over flow times.
PATH_POINTS = 4
# Height of a panel in the video, in pixels.
PANEL_HEIGHT = 192


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of the target's tokens, over the latent frames of windows or the frames of a clip.

    Attributes:
      text: float32 [..., y, x, m], to every text token.
      flow: float32 [..., y, x, 5], share of self-attention that goes to the source, and where: p and p times (t, y, x) in tokens.
    """

    text: np.ndarray
    flow: np.ndarray


@dataclass(frozen=True)
class Word:
    """A word of an instruction.

    Attributes:
      text: the word.
      tokens: indices of its tokens.
    """

    text: str
    tokens: list[int]


@dataclass(frozen=True)
class Panel:
    """A labelled clip.

    Attributes:
      label: what it shows.
      frames: uint8 [T, h, w, 3].
    """

    label: str
    frames: np.ndarray


class WordReport(TypedDict):
    """Attention to one word: its mean share, and the ratio of the 99th to the 1st percentile over the clip."""

    word: str
    share: float
    contrast: float


class AttentionReport(TypedDict):
    """What `explain.json` holds; `source_share` is the mean share of self-attention that goes to the source."""

    instruction: str
    words: list[WordReport]
    source_share: float


def write_attention_maps(
    editor: EasyV2VEditor, request: EditRequest, folder: str | Path, *, progress: bool = False
) -> tuple[EditResult, AttentionReport]:
    """Edit a clip as the editor alone does, and write `explain.png`, `explain.mp4` and `explain.json`.

    Args:
      editor: the editor; its model must be a `Pretrained`.
      request: the edit.
      folder: where to write; created if missing.
      progress: show progress bars on stderr.

    Returns:
      The edited clip, in memory, equal to what the editor alone makes, and the report in `explain.json`.

    Raises:
      InputError: as the editor, or a setting that can't be explained.
    """
    folder, settings = Path(folder), request.settings
    if settings.detail == "tiles":
        raise InputError('explain: detail "tiles" samples the clip in tiles as well; leave it out')
    file_checks.check_folder(folder, "explain")  # before the edit, which may take hours
    step, *others = editor.plan(request)
    if others:
        names = ", ".join(planned.title for planned in (step, *others))
        raise InputError(
            f"explain: expected an instruction of one edit, got {1 + len(others)} ({names}); explain one after the other"
        )
    instruction = step.sentence
    source: list[np.ndarray] = []
    clip = inputs.open_clip(request.video, request.fps, lambda frame: source.append(_small(frame)))
    with recorded_attention(editor) as recorder:
        edited = editor.edit(dataclasses.replace(request, video=clip), progress=progress).in_memory()
    # A mask may have narrowed the time range.
    first, n = edited.report["first_frame"], edited.report["edited_frames"]
    span = (first, first + n) if settings.preserve else (0, len(edited.video.frames))
    T = windowed.window_length(editor.model.config, settings.window)
    maps = recorder.over_frames(span[1] - span[0], T)
    words = find_words(recorder.tokenizer, instruction)
    edit = [_small(frame) for frame in edited.video.frames[slice(*span)]]
    panels = build_panels(np.stack(source[slice(*span)]), np.stack(edit), maps, words)
    folder.mkdir(parents=True, exist_ok=True)
    title = f'"{" ".join(instruction.split())}": attention to each word, and from source to target'
    contact_sheet.write_contact_sheet(
        folder / "explain.png", [contact_sheet.Band(title, [(panel.label, panel.frames) for panel in panels])]
    )
    Video.from_array(tile_panels(panels), float(edited.video.fps)).save(folder / "explain.mp4")
    report: AttentionReport = {
        "instruction": instruction,
        "words": [],
        "source_share": round(float(maps.flow[..., 0].mean()), 4),
    }
    for word in words:
        heat = maps.text[..., word.tokens].sum(-1)
        contrast = float(np.percentile(heat, 99) / max(1e-9, np.percentile(heat, 1)))
        report["words"].append(
            {"word": word.text, "share": round(float(heat.mean()), 4), "contrast": round(contrast, 3)}
        )
    (folder / "explain.json").write_text(json.dumps(report, indent=1))
    return edited, report


def find_words(tokenizer: Tokenizer, instruction: str) -> list[Word]:
    """Return the words of an instruction with their tokens; words that the text encoder doesn't read are left out."""
    text = clean_text(instruction)
    encoded = tokenizer.backend.encode(text)
    out = []
    for word in re.finditer(r"[\w'’-]+", text):
        tokens = [
            i
            for i, (a, b) in enumerate(encoded.offsets[: tokenizer.text_len])
            if min(b, word.end()) > max(a, word.start())
        ]
        if tokens:
            out.append(Word(word.group(), tokens))
    return out


@contextmanager
def recorded_attention(editor: EasyV2VEditor) -> Iterator["AttentionRecorder"]:
    """Record the attention of an editor's model for the duration of a `with` block; edits stay the same.

    Raises:
      InputError: the editor's model is no `Pretrained`.
    """
    model = editor.model
    if not isinstance(model, Pretrained):
        raise InputError(f"explain: expected a loaded model, got {type(model).__name__}")
    editor.model = recorder = AttentionRecorder(model)
    try:
        yield recorder
    finally:
        editor.model = model


class AttentionRecorder:
    """An `EditingModel` that records the attention of another after every call of `sample`; all else is the other's.

    Attributes:
      recorded: maps of each batch of windows so far, [b, t, y, x, ...].
    """

    def __init__(self, model: Pretrained):
        """Record a model.

        Raises:
          InputError: a model of two transformers, whose attention at different noise levels isn't one.
        """
        if model.config.flow.boundary:
            raise InputError(
                f"explain: expected a model of one transformer, {model.config.name} has two; leave out --explain"
            )
        self._model = model
        self.config, self.conditions = model.config, model.conditions
        self.abilities, self.skipping = model.abilities, model.skipping
        self.detail_network = model.detail_network
        self.encode, self.encode_mask, self.decode = model.encode, model.encode_mask, model.decode
        self.tokenizer, self.embed_text, self.release = model.tokenizer, model.embed_text, model.release
        self.recorded: list[AttentionMaps] = []

    def with_lora(
        self, adapter, scale: float = 1.0, transformer: TransformerName | None = None
    ) -> "AttentionRecorder":
        """Return the model with an adapter, recorded too."""
        return AttentionRecorder(self._model.with_lora(adapter, scale, transformer))

    def for_clip(self, height: int, width: int) -> "AttentionRecorder":
        """Return the model at the size for a clip, recorded in the same list."""
        recorder = AttentionRecorder(self._model.for_clip(height, width))
        recorder.recorded = self.recorded
        return recorder

    def on(self, mesh: Mesh) -> "AttentionRecorder":
        """Return the model on a mesh, recorded too."""
        return AttentionRecorder(self._model.on(mesh))

    def sample(self, request: SampleRequest) -> SampleOutput:
        """Sample as the model does, then record attention on the way to the result."""
        output = self._model.sample(request)
        text, flow = _build_observer(self.config)(
            self._model.variables(), jnp.asarray(request.noise), output.latents, jnp.asarray(request.text),
            shown_conditions(self, request),
        )  # fmt: skip
        self.recorded.append(AttentionMaps(np.asarray(text), np.asarray(flow)))
        return output

    def over_frames(self, n: int, T: int) -> AttentionMaps:
        """Return maps of every frame of a clip, averaged where windows overlap.

        Args:
          n: frames of the clip.
          T: frames of a window; windows lie as the editor plans them.
        """
        config = self._model.config
        plan = windows.WindowPlan.of(n, T, config.vae.stride_t)
        # The token row in time of each frame of a window.
        rows = np.concatenate([[0], np.arange(T - 1) // plan.stride + 1]).astype(int) // config.dit.patch[0]
        shapes = [(n, *z.shape[2:]) for z in (self.recorded[0].text, self.recorded[0].flow)]
        text, flow = (np.zeros(shape, np.float32) for shape in shapes)
        count = np.zeros((n, 1, 1, 1), np.float32)
        batches = windowed.window_batches(len(plan.starts), config.batch)
        for batch, maps in zip(batches, self.recorded, strict=True):
            for row in windows.unpadded_rows(batch):
                first = int(plan.starts[batch[row]]) * plan.stride
                frames = np.arange(first, min(first + T, n))
                text[frames] += maps.text[row][rows[: len(frames)]]
                flow[frames] += maps.flow[row][rows[: len(frames)]]
                count[frames] += 1
        return AttentionMaps(text / count, flow / count)


@functools.lru_cache(maxsize=4)
def _build_observer(cfg: ModelConfig):
    """Build observe(variables, noise, edit, text, conditions), which returns the arrays of `AttentionMaps`, [b, t, y, x, ...]."""
    dit = DiT(cfg.dit, cfg.condition)
    conditioning = build_conditioning(cfg.dit, cfg.condition)
    points = np.linspace(0.9, 0.1, PATH_POINTS, dtype=np.float32)

    @jax.jit
    def observe(variables, noise, edit, text, conditions):
        def at_point(_, tau):
            x = (1 - tau) * edit + tau * noise
            tau = jnp.full(x.shape[:1], tau)
            _, collections = dit.apply(variables, x, tau, text, **conditions, mutable=["attention"])
            weights: Any = collections["attention"]["blocks"]
            # Averaged over layers.
            return None, [weights[name]["seen"].mean(0) for name in ("cross_attn", "self_attn")]

        _, weights = jax.lax.scan(at_point, None, points)
        shapes = {name: z.shape for name, z in {"target": noise, **conditions}.items()}
        layout = conditioning.layout({name: dit.token_grid(shape) for name, shape in shapes.items()})
        return [z.mean(0)[:, layout.target].reshape(len(noise), *layout.grid, -1) for z in weights]

    return observe


def build_panels(source: np.ndarray, edit: np.ndarray, maps: AttentionMaps, words: list[Word]) -> list[Panel]:
    """Return the panels of a clip: source, edit, a heat map over the source for each word, and the flow.

    Args:
      source: uint8 [T, h, w, 3].
      edit: shaped like the source.
      maps: attention over the frames of the clip.
      words: of the instruction.
    """
    panels = [Panel("source", source), Panel("edit", edit)]
    for word in words:
        panels.append(Panel(word.text, _draw_heat(source, maps.text[..., word.tokens].sum(-1))))
    if maps.flow[..., 0].max() > 0:
        panels.append(Panel("from source", _draw_heat(source, maps.flow[..., 0])))
        panels.append(Panel("flow", _draw_arrows(source, maps.flow)))
    return panels


def tile_panels(panels: list[Panel], columns: int = 4) -> np.ndarray:
    """Return one clip of labelled panels side by side, uint8 [T, H, W, 3]."""
    clips = []
    for panel in panels:
        clip = panel.frames.copy()
        for frame in clip:
            for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(
                    frame, panel.label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, width, cv2.LINE_AA
                )
        clips.append(clip)
    columns = min(columns, len(clips))
    clips += [np.zeros_like(clips[0])] * (-len(clips) % columns)
    lines = [np.concatenate(clips[i : i + columns], 2) for i in range(0, len(clips), columns)]
    return np.concatenate(lines, 1)


def _small(frame: np.ndarray) -> np.ndarray:
    """Return a frame at the height of a panel, an even number of pixels wide."""
    return inputs.resize_frame(
        frame, PANEL_HEIGHT, 2 * max(1, round(frame.shape[1] * PANEL_HEIGHT / frame.shape[0] / 2))
    )


def _draw_heat(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draw a map [T, y, x] over grey frames, from its 1st to its 99th percentile in the clip."""
    low, high = np.percentile(values, (1, 99))
    level = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    out = []
    for frame, v in zip(frames, level, strict=True):
        v = cv2.resize(v.astype(np.float32), frame.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
        color = cv2.applyColorMap((255 * v).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        grey = np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, -1)
        out.append((0.35 * grey + 0.65 * color).astype(np.uint8))
    return np.stack(out)


def _draw_arrows(frames: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Draw on darkened frames an arrow from where a cell attends in the source to the cell, bright where it attends much."""
    T, y, x, _ = flow.shape
    share = flow[..., 0]
    low, high = np.percentile(share, (1, 99))
    level = np.clip((share - low) / max(high - low, 1e-9), 0, 1)
    from_y, from_x = (flow[..., i] / np.maximum(flow[..., 1], 1e-9) for i in (3, 4))
    h, w = frames.shape[1:3]
    step = max(1, round(max(y, x) / 16))
    out = (frames * 0.4).astype(np.uint8)
    for t in range(T):
        for i in range(step // 2, y, step):
            for j in range(step // 2, x, step):
                tail, head = (
                    (int((b + 0.5) * w / x), int((a + 0.5) * h / y))
                    for a, b in ((from_y[t, i, j], from_x[t, i, j]), (i, j))
                )
                bright = int(90 + 165 * level[t, i, j])
                cv2.arrowedLine(
                    out[t], tail, head, (bright, bright, int(bright * 0.4)), 1, cv2.LINE_AA, tipLength=0.25
                )
    return out
