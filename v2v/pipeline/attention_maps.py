"""Attention maps: how much each word of the instruction and each source region influenced an edit, as PNG and MP4.

After sampling, the model is evaluated again at points on the straight path from the window's noise to
its edit, x = (1 - tau) z + tau noise. Attention weights are averaged over heads, layers and these points:
    words   cross-attention of a target token to the tokens of each word of the instruction
    flow    self-attention of a target token to the source: its share, and the mean place in the source it goes to
Averaged attention indicates influence; it does not prove it.
"""

import functools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from v2v.array_types import Latents, Pixels
from v2v.config import ModelConfig
from v2v.diffusion import windows
from v2v.diffusion.sampler import SampleOutput
from v2v.diffusion.step_skipping import StepSkipper
from v2v.errors import InputError
from v2v.models.text_encoder import Tokenizer, clean_text
from v2v.models.transformer import DiT
from v2v.pipeline import windowed
from v2v.pipeline.model import SampleRequest, TextEmbedding, shown_conditions
from v2v.pipeline.pretrained import Pretrained
from v2v.pipeline.settings import EditSettings
from v2v.video import contact_sheet, file_checks, inputs
from v2v.video.video import Video

PATH_POINTS = 4  # of the path, evenly spread over flow times
PANEL_HEIGHT = 192  # pixels of a panel's height in the video


@dataclass
class AttentionMaps:
    """Attention of the target's tokens, over the latent frames of windows or the frames of a clip.

    Attributes:
      text: float32 [..., y, x, m], to every text token.
      flow: float32 [..., y, x, 5], share of self-attention that goes to the source, and where: p and p times (t, y, x) in tokens.
    """

    text: np.ndarray
    flow: np.ndarray


def write_attention_maps(
    editor, video: str | Path | np.ndarray | Video, instruction: str, folder: str | Path, mask=None, reference=None,
    *, fps: float = 25.0, progress: bool = False, **settings,
) -> tuple[Video, dict]:  # fmt: skip
    """Edits a clip as `editor.edit_video` does, and writes `explain.png`, `explain.mp4` and `explain.json` into `folder`.

    Returns:
      The edited clip, equal to what the editor alone makes, and the report in `explain.json`.

    Raises:
      InputError: as the editor, or a setting that can't be explained.
    """
    chosen, folder = EditSettings(**settings), Path(folder)
    if chosen.detail == "tiles":
        raise InputError('explain: detail "tiles" samples the clip in tiles as well; leave it out')
    file_checks.check_folder(folder, "explain")  # before the edit, which may take hours
    source: list[np.ndarray] = []
    clip = inputs.open_clip(video, fps, lambda frame: source.append(_small(frame)))
    with recorded_attention(editor) as watched:
        edited = editor.edit_video(clip, instruction, mask, reference, progress=progress, **settings)
    first, n = (
        edited.report["first_frame"],
        edited.report["edited_frames"],
    )  # a mask may have narrowed the time range
    span = (first, first + n) if chosen.preserve else (0, len(edited.frames))
    maps = watched.over_frames(span[1] - span[0], windowed.window_length(editor.model.config, chosen.window))
    words = find_word_tokens(editor.model.tokenizer, instruction)
    edit = [_small(frame) for frame in edited.frames[slice(*span)]]
    rows = build_panels(np.stack(source[slice(*span)]), np.stack(edit), maps, words)
    folder.mkdir(parents=True, exist_ok=True)
    title = f'"{" ".join(instruction.split())}": attention to each word, and from source to target'
    contact_sheet.write_contact_sheet(folder / "explain.png", [contact_sheet.Band(title, rows)])
    Video.from_array(tile_panels(rows), float(edited.fps)).save(folder / "explain.mp4")
    report = {
        "instruction": instruction,
        "words": [],
        "source_share": round(float(maps.flow[..., 0].mean()), 4),
    }
    for word, tokens in words:
        heat = maps.text[..., tokens].sum(-1)
        spread = float(np.percentile(heat, 99) / max(1e-9, np.percentile(heat, 1)))
        report["words"].append(
            {"word": word, "share": round(float(heat.mean()), 4), "contrast": round(spread, 3)}
        )
    (folder / "explain.json").write_text(json.dumps(report, indent=1))
    return edited, report


def find_word_tokens(tokenizer: Tokenizer, instruction: str) -> list[tuple[str, list[int]]]:
    """The words of an instruction and the places of their tokens; words the text encoder doesn't see are left out."""
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
            out.append((word.group(), tokens))
    return out


@contextmanager
def recorded_attention(editor) -> Iterator["AttentionRecorder"]:
    """While open, the editor's model is watched; its results stay what they were."""
    model = editor.model
    editor.model = AttentionRecorder(model)
    try:
        yield editor.model
    finally:
        editor.model = model


class AttentionRecorder:
    """A `Pretrained` that looks at its own attention after every call of `sample`."""

    def __init__(self, model: Pretrained):
        self._model, self.seen = model, []

    @property
    def config(self) -> ModelConfig:
        """Return the model's configuration."""
        return self._model.config

    @property
    def tokenizer(self) -> Tokenizer:
        """Return the model's tokenizer."""
        return self._model.tokenizer

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return what the model can be shown."""
        return self._model.conditions

    @property
    def skipping(self) -> StepSkipper | None:
        """Return the model's step skipping."""
        return self._model.skipping

    def encode(self, video: Pixels) -> Latents:
        """Encode as the model does."""
        return self._model.encode(video)

    def encode_mask(self, mask: Pixels) -> Latents:
        """Encode a mask as the model does."""
        return self._model.encode_mask(mask)

    def decode(self, z: Latents) -> np.ndarray:
        """Decode as the model does."""
        return self._model.decode(z)

    def embed_text(self, texts: list[str]) -> TextEmbedding:
        """Embed as the model does."""
        return self._model.embed_text(texts)

    def with_lora(self, adapter, scale: float = 1.0) -> "AttentionRecorder":
        """Return the model with an adapter, watched."""
        return AttentionRecorder(self._model.with_lora(adapter, scale))

    def on(self, mesh: Mesh) -> "AttentionRecorder":
        """Return the model on a mesh, watched."""
        return AttentionRecorder(self._model.on(mesh))

    def release(self) -> None:
        """End the model's part in an edit."""
        self._model.release()

    def sample(self, request: SampleRequest) -> SampleOutput:
        """Sample as the model does, then look at the attention on the way to the result."""
        output = self._model.sample(request)
        text, flow = _look(self.config)(
            self._model.variables(), jnp.asarray(request.noise), output.latents, jnp.asarray(request.text),
            shown_conditions(self, request),
        )  # fmt: skip
        self.seen.append(AttentionMaps(np.asarray(text), np.asarray(flow)))
        return output

    def over_frames(self, n: int, T: int) -> AttentionMaps:
        """Maps of every frame of a clip of n frames seen in windows of T, overlaps averaged; the editor's own plan of windows."""
        config = self._model.config
        plan = windows.WindowPlan.of(n, T, config.vae.stride_t)
        latent = np.concatenate([[0], np.arange(T - 1) // plan.stride + 1]).astype(
            int
        )  # of each frame of a window
        sums, count = None, np.zeros(n, np.float32)
        for batch, maps in zip(
            windowed.window_batches(len(plan.starts), config.batch), self.seen, strict=True
        ):
            for place in windows.unpadded_rows(batch):
                first = int(plan.starts[batch[place]]) * plan.stride
                here = np.arange(first, min(first + T, n))
                own = [z[place][latent[: len(here)] // config.dit.patch[0]] for z in (maps.text, maps.flow)]
                if sums is None:
                    sums = [np.zeros((n, *z.shape[1:]), np.float32) for z in own]
                for total, z in zip(sums, own, strict=True):
                    total[here] += z
                count[here] += 1
        return AttentionMaps(*(total / count[:, None, None, None] for total in sums))


@functools.lru_cache(maxsize=4)
def _look(cfg: ModelConfig):
    """look(variables, noise, edit, text, conditions) → to text [b, t, y, x, m] and to the source [b, t, y, x, 5], in tokens."""
    dit = DiT(cfg.dit, cfg.condition)
    points = np.linspace(0.9, 0.1, PATH_POINTS, dtype=np.float32)

    @jax.jit
    def look(variables, noise, edit, text, shown):
        def at(_, tau):
            x = (1 - tau) * edit + tau * noise
            tau = jnp.full(x.shape[:1], tau)
            _, made = dit.apply(variables, x, tau, text, **shown, mutable=["attention"])
            found = made["attention"]["blocks"]
            return None, [found[name]["seen"].mean(0) for name in ("cross_attn", "self_attn")]

        grid = [n // p for n, p in zip(noise.shape[1:4], cfg.dit.patch, strict=True)]
        after = grid[1] * grid[2] if "reference" in shown else 0  # a reference's tokens follow the target's
        _, found = jax.lax.scan(at, None, points)

        def target(z):
            z = z.mean(0)
            last = z.shape[1] - after
            return z[:, last - int(np.prod(grid)) : last].reshape(len(z), *grid, -1)

        return [target(z) for z in found]

    return look


def build_panels(
    source: np.ndarray, edit: np.ndarray, maps: AttentionMaps, words: list[tuple[str, list[int]]]
) -> list[tuple[str, np.ndarray]]:
    """Labelled clips, uint8 [T, h, w, 3]: source, edit, a heat map over the source for each word, and the flow."""
    rows = [("source", source), ("edit", edit)]
    for word, tokens in words:
        rows.append((word, _heat(source, maps.text[..., tokens].sum(-1))))
    if maps.flow[..., 0].max() > 0:
        rows.append(("from source", _heat(source, maps.flow[..., 0])))
        rows.append(("flow", _arrows(source, maps.flow)))
    return rows


def tile_panels(rows: list[tuple[str, np.ndarray]], columns: int = 4) -> np.ndarray:
    """One clip of labelled panels side by side."""
    clips = []
    for label, clip in rows:
        clip = clip.copy()
        for frame in clip:
            for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(frame, label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width, cv2.LINE_AA)
        clips.append(clip)
    columns = min(columns, len(clips))
    clips += [np.zeros_like(clips[0])] * (-len(clips) % columns)
    lines = [np.concatenate(clips[i : i + columns], 2) for i in range(0, len(clips), columns)]
    return np.concatenate(lines, 1)


def _small(frame: np.ndarray) -> np.ndarray:
    """A frame at the size of a panel, an even number of pixels wide."""
    return inputs.resize_frame(
        frame, PANEL_HEIGHT, 2 * max(1, round(frame.shape[1] * PANEL_HEIGHT / frame.shape[0] / 2))
    )


def _heat(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map [T, y, x] over grey frames, from its 1st to its 99th percentile in the clip."""
    low, high = np.percentile(values, (1, 99))
    level = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    out = []
    for frame, v in zip(frames, level, strict=True):
        v = cv2.resize(v.astype(np.float32), frame.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
        colour = cv2.applyColorMap((255 * v).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        grey = np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, -1)
        out.append((0.35 * grey + 0.65 * colour).astype(np.uint8))
    return np.stack(out)


def _arrows(frames: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """On darkened frames, an arrow from the place in the source that a cell looks at, to the cell; bright where it attends much."""
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
