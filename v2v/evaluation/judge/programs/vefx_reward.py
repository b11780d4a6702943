"""A program that scores edits with VEFX-Reward (arXiv 2604.16272; weights xiangbog/VEFX-Reward-4B, Apache-2.0), as `OutsideMetric` asks it.

    python vefx_reward.py --model FOLDER [--prompt FILE] [--device cuda] [--dtype bfloat16]

It reads a line of JSON for each edit from its standard input, {"source", "output", "instruction"}, and writes one for each to its standard
output: {"scores": {"IF", "RQ", "EE"}} or {"error": TEXT}. It needs the packages torch, transformers, av and numpy, nothing of v2v, so that it
may run by the Python of another environment, beside JAX. About 10 GB of memory with the 4B weights in bfloat16.

FOLDER is the published one. FILE holds the question that the model was trained with. It is part of the published code and not of v2v: the file
`vefx_reward/prompt_template.py` of github.com/Visko-Platform/VEFX-Bench, found by itself where that package is installed; its longest text is
taken, and nothing of it is run. A text file with {instruction} in it serves too, but scores of another wording are not those of the paper.

The model is Qwen3-VL with a head of three numbers on the last hidden states. The question ends its three parts, instruction following (IF),
render quality (RQ) and edit exclusivity (EE), with a token of their own each, and the head is read there. With K grades its K - 1 numbers are
logits of P(grade > k | grade >= k); the score is the expected grade, 1 to K. Clips are shown at 4 frames a second, at least four and an even
number of them, of at most 399,360 pixels. A picture is shown as a clip of two frames.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

# Tokens that the published tokenizer has beside Qwen's, in the order in which they were added; those at which the head is read.
ADDED_TOKENS = tuple(f"<|{name}_reward|>" for name in ("VQ", "MQ", "TA", "IF", "RQ", "EE"))
DIMENSIONS = ("IF", "RQ", "EE")
# Frames a second that are shown, and the limits of their number; the grid that frames are resized to first, and limits of their pixels.
FPS, MIN_FRAMES, MAX_FRAMES = 4.0, 4, 768
GRID, MIN_PIXELS, MAX_PIXELS = 28, 128 * 28 * 28, 399_360
MAX_ASPECT = 200


class RequestError(Exception):
    """An edit that can't be scored; the program goes on with the next."""


@dataclass(frozen=True)
class SampledClip:
    """The frames of a clip that are shown.

    Attributes:
      frames: uint8 [n, H, W, 3].
      times: second of each.
    """

    frames: np.ndarray
    times: tuple[float, ...]


@dataclass(frozen=True)
class Preprocessing:
    """How the model's own processor turns frames into patches; the values are those of `video_preprocessor_config.json`.

    Attributes:
      patch: side of a patch in pixels.
      frames: frames of a patch.
      merge: patches along a side of a token.
      smallest: least number of pixels of a clip, over all frames.
      largest: greatest.
      mean: subtracted from colours of 0 to 1.
      std: what they are divided by.
    """

    patch: int = 16
    frames: int = 2
    merge: int = 2
    smallest: int = 128 * 32 * 32
    largest: int = 32 * 32 * 768
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    @classmethod
    def read(cls, folder: Path) -> Preprocessing:
        """Read the configuration of a model's folder; defaults stand for what it lacks."""
        for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
            file = folder / name
            if file.is_file():
                values = json.loads(file.read_text(encoding="utf-8"))
                size = values.get("size") or {}
                default = cls()
                return cls(
                    values.get("patch_size", default.patch),
                    values.get("temporal_patch_size", default.frames),
                    values.get("merge_size", default.merge),
                    size.get("shortest_edge", default.smallest),
                    size.get("longest_edge", default.largest),
                    tuple(values.get("image_mean", default.mean)),
                    tuple(values.get("image_std", default.std)),
                )
        return cls()


def sample_clip(path: str) -> SampledClip:
    """Decode the frames that are shown.

    Raises:
      RequestError: a file that can't be decoded.
    """
    try:
        with av.open(path) as file:
            stream = file.streams.video[0]
            count = sum(1 for _ in file.decode(stream))
            fps = float(stream.average_rate or stream.guessed_rate or 24)
        indices = choose_frames(count, fps)
        pictures: dict[int, np.ndarray] = {}
        with av.open(path) as file:
            for k, frame in enumerate(file.decode(file.streams.video[0])):
                if k in indices:
                    pictures[k] = frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        raise RequestError(f"{path}: can't be decoded ({error})") from None
    return SampledClip(np.stack([pictures[k] for k in indices]), tuple(k / fps for k in indices))


def choose_frames(count: int, fps: float) -> list[int]:
    """Return the numbers of the frames that are shown of a clip of `count` frames.

    Raises:
      ValueError: no frame.
    """
    if count < 1:
        raise ValueError("no frame")
    if count == 1:
        return [0, 0]
    limit = min(MAX_FRAMES, count) // 2 * 2
    n = min(round(min(max(count / fps * FPS, MIN_FRAMES), limit) / 2) * 2, count)
    # As float32, like the published sampling: halves are rounded to even there.
    return [int(k) for k in np.linspace(0, count - 1, n, dtype=np.float32).round()]


def first_size(height: int, width: int) -> tuple[int, int]:
    """Return the size that the published code brings frames to, a multiple of 28.

    Raises:
      RequestError: a frame that is too long and narrow.
    """
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise RequestError(f"{width}x{height}: expected an aspect of at most {MAX_ASPECT}")
    rows, columns = max(GRID, round(height / GRID) * GRID), max(GRID, round(width / GRID) * GRID)
    if rows * columns > MAX_PIXELS:
        scale = math.sqrt(height * width / MAX_PIXELS)
        rows, columns = (math.floor(side / scale / GRID) * GRID for side in (height, width))
    elif rows * columns < MIN_PIXELS:
        scale = math.sqrt(MIN_PIXELS / (height * width))
        rows, columns = (math.ceil(side * scale / GRID) * GRID for side in (height, width))
    return rows, columns


def second_size(frames: int, height: int, width: int, rule: Preprocessing) -> tuple[int, int]:
    """Return the size that the model's own processor brings frames to, a multiple of the side of a token."""
    unit = rule.patch * rule.merge
    if min(height, width) < unit:
        scale = max(unit / height, unit / width)
        height, width = int(height * scale), int(width * scale)
    rows, columns = round(height / unit) * unit, round(width / unit) * unit
    length = round(frames / rule.frames) * rule.frames
    if length * rows * columns > rule.largest:
        scale = math.sqrt(frames * height * width / rule.largest)
        rows, columns = (max(unit, math.floor(side / scale / unit) * unit) for side in (height, width))
    elif length * rows * columns < rule.smallest:
        scale = math.sqrt(rule.smallest / (frames * height * width))
        rows, columns = (math.ceil(side * scale / unit) * unit for side in (height, width))
    return rows, columns


def read_question(file: str) -> str:
    """Return the question with {instruction} in it, of a text file or of the published Python file.

    Raises:
      SystemExit: no such file, or none that holds a question.
    """
    path = Path(file) if file else _published_question()
    if path is None or not path.is_file():
        raise SystemExit(
            f"--prompt: expected vefx_reward/prompt_template.py of github.com/Visko-Platform/VEFX-Bench, got {path or 'nothing'}; "
            "name the file, or install that package"
        )
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        texts = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
        text = max((t for t in texts if isinstance(t, str)), key=len, default="")
        # Written for str.format there.
        text = text.replace("{text_prompt}", "{instruction}").replace("{{", "{").replace("}}", "}")
    missing = [part for part in ("{instruction}", *ADDED_TOKENS[3:]) if part not in text]
    if missing:
        raise SystemExit(f"--prompt {path}: expected {missing[0]} in the question; name another file")
    return text


def _published_question() -> Path | None:
    package = importlib.util.find_spec("vefx_reward")
    folders = [] if package is None else list(package.submodule_search_locations or ())
    return Path(folders[0]) / "prompt_template.py" if folders else None


def expected_grades(logits: np.ndarray) -> np.ndarray:
    """Return the expected grades of ordinal logits [..., K - 1] of P(grade > k | grade >= k), 1 to K."""
    above = np.cumprod(1 / (1 + np.exp(-np.asarray(logits, np.float64))), -1)
    return 1 + above.sum(-1)


@dataclass
class RewardModel:
    """The published model, loaded.

    Attributes:
      network: Qwen3VLModel of transformers, the published one without its language head.
      head: float32 [K - 1, width].
      tokenizer: with the added tokens.
      rule: how frames become patches.
      question: with {instruction}.
      device: of the network.
    """

    network: Any
    head: Any
    tokenizer: Any
    rule: Preprocessing
    question: str
    device: str
    _reward_tokens: list[int] = field(default_factory=list)

    @classmethod
    def load(cls, folder: str, question: str, device: str, dtype: str) -> RewardModel:
        """Load the folder.

        Args:
          folder: the published folder.
          question: with {instruction}.
          device: of torch.
          dtype: of torch, by name.

        Raises:
          SystemExit: packages or files are missing, or the model is another.
        """
        place = Path(folder)
        settings_file = place / "vefx_config.json"
        settings = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file.is_file() else {}
        if not settings.get("use_ordinal", True) or settings.get("reward_token", "special") != "special":
            raise SystemExit(f"{settings_file}: expected ordinal grades at special tokens, got {settings}")
        try:
            import torch  # pyright: ignore[reportMissingImports]
            from transformers import (  # pyright: ignore[reportMissingImports]
                AutoConfig,
                AutoTokenizer,
                Qwen3VLForConditionalGeneration,
            )
        except ImportError as error:
            raise SystemExit(f"expected the packages torch and transformers, got '{error}'") from None
        tokenizer = AutoTokenizer.from_pretrained(folder)
        vocabulary = tokenizer.get_vocab()
        if new := [token for token in ADDED_TOKENS if token not in vocabulary]:
            tokenizer.add_tokens(new, special_tokens=True)

        class Published(Qwen3VLForConditionalGeneration):
            """The classes of the published weights: the head beside the model."""

            def __init__(self, config):
                super().__init__(config)
                width, grades = config.text_config.hidden_size, settings.get("num_classes", 4)
                self.rm_head = torch.nn.Linear(width, grades - 1, bias=False)
                self.post_init()

        config = AutoConfig.from_pretrained(folder)
        # A pair with this option, which the types don't tell.
        model, report = Published.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            folder, config=config, dtype=getattr(torch, dtype), output_loading_info=True
        )
        if lost := [name for name in report["missing_keys"] if not name.startswith("lm_head")]:
            raise SystemExit(f"{folder}: expected the weights of VEFX-Reward, {sorted(lost)[0]} is missing")
        model.resize_token_embeddings(len(tokenizer))
        model.eval().to(device)
        ids = tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS))
        return cls(
            model.model, model.rm_head, tokenizer, Preprocessing.read(place), question, device, list(ids)
        )

    def score(self, source: str, output: str, instruction: str) -> dict[str, float]:
        """Score an edit.

        Args:
          source: path of the clip before the edit.
          output: path of the clip after it.
          instruction: what was asked.

        Raises:
          RequestError: a clip that can't be shown.
        """
        import torch  # pyright: ignore[reportMissingImports]

        patches, grids, texts = [], [], []
        for path in (source, output):
            clip = sample_clip(path)
            values, grid = self._patches(clip.frames)
            patches.append(values)
            grids.append(grid)
            texts.append(self._clip_text(clip.times, grid))
        ids, kinds = self._tokens(texts, self.question.replace("{instruction}", instruction))
        # Versions from 5 on want to know which tokens stand for a clip, earlier ones find out.
        takes_kinds = "mm_token_type_ids" in inspect.signature(self.network.forward).parameters
        with torch.inference_mode():
            states = self.network(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values_videos=torch.cat(patches).to(self.device, next(self.network.parameters()).dtype),
                video_grid_thw=torch.tensor(grids, device=self.device),
                use_cache=False,
                **({"mm_token_type_ids": kinds} if takes_kinds else {}),
            )[0]
            at = torch.isin(ids[0], torch.tensor(self._reward_tokens, device=ids.device))
            logits = self.head(states[0, at]).float().cpu().numpy()
        if len(logits) != len(DIMENSIONS):
            raise RequestError(f"expected {len(DIMENSIONS)} reward tokens in the question, got {len(logits)}")
        grades = expected_grades(logits)
        return {name: round(float(grade), 6) for name, grade in zip(DIMENSIONS, grades, strict=True)}

    def _patches(self, frames: np.ndarray) -> tuple[Any, tuple[int, int, int]]:
        """Return patches [n, 3 x frames x patch x patch] and the grid of time, rows and columns."""
        import torch  # pyright: ignore[reportMissingImports]

        rule = self.rule

        def resize(x, size):
            if tuple(x.shape[-2:]) == size:
                return x
            return torch.nn.functional.interpolate(x, size, mode="bicubic", antialias=True)

        x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
        # Between the two sizes the published code holds levels of 8 bits.
        x = resize(x, first_size(*frames.shape[1:3])).round().clamp(0, 255) / 255
        x = resize(x, second_size(len(x), x.shape[-2], x.shape[-1], rule))
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (rule.mean, rule.std))
        x = (x - mean) / std
        if extra := -len(x) % rule.frames:
            x = torch.cat([x, x[-1:].expand(extra, -1, -1, -1)])
        t, p, m = rule.frames, rule.patch, rule.merge
        grid = len(x) // t, x.shape[2] // p, x.shape[3] // p
        x = x.view(grid[0], t, 3, grid[1] // m, m, p, grid[2] // m, m, p)
        return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(math.prod(grid), -1), grid

    def _clip_text(self, times: tuple[float, ...], grid: tuple[int, int, int]) -> str:
        """Return the text of a clip: the middle second of each group of frames, and a place for each token."""
        n, step = grid[1] * grid[2] // self.rule.merge**2, self.rule.frames
        padded = (*times, *(times[-1:] * (-len(times) % step)))
        middles = [(padded[k] + padded[k + step - 1]) / 2 for k in range(0, len(padded), step)]
        pads = "<|video_pad|>" * n
        return "".join(f"<{second:.1f} seconds><|vision_start|>{pads}<|vision_end|>" for second in middles)

    def _tokens(self, clips: list[str], question: str) -> tuple[Any, Any]:
        """Return the ids [1, n], and which of them stand for a clip (2) or text (0), [1, n]."""
        import torch  # pyright: ignore[reportMissingImports]

        content = [{"type": "video"}, {"type": "video"}, {"type": "text", "text": question}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        place = "<|vision_start|><|video_pad|><|vision_end|>"
        head, *tails = text.split(place, len(clips))
        if len(tails) != len(clips):
            raise RequestError("the tokenizer's chat template has no places for two clips")
        text = head + "".join(clip + tail for clip, tail in zip(clips, tails, strict=True))
        ids = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"].to(self.device)
        pad = self.tokenizer.convert_tokens_to_ids("<|video_pad|>")
        return ids, torch.where(ids == pad, 2, 0).int()


def main(arguments: list[str] | None = None) -> None:
    """Answer the requests of the standard input until it ends."""
    parser = argparse.ArgumentParser(description="Scores edits with VEFX-Reward; a line of JSON each.")
    parser.add_argument("--model", required=True, metavar="FOLDER", help="the published folder of weights")
    parser.add_argument("--prompt", default="", metavar="FILE", help="the question: vefx_reward/prompt_template.py of the published code")  # fmt: skip
    parser.add_argument("--device", default="cuda", help="torch device (default: cuda)")
    parser.add_argument("--dtype", default="bfloat16", help="torch data type (default: bfloat16)")
    args = parser.parse_args(arguments)
    # Libraries that print do so on the standard error; the standard output is for answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    model = RewardModel.load(args.model, read_question(args.prompt), args.device, args.dtype)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            reply = {"scores": model.score(request["source"], request["output"], request["instruction"])}
        except RequestError as error:
            reply = {"error": str(error)}
        # Whatever one edit raises, the others go on.
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
