"""Whether everything that a model is given has an effect: sentence, source, mask, reference, adapters; and what its autoencoder loses.

A model can be whole by names and shapes and still ignore its sentence (a wrong tokenizer, an adapter of another revision) or draw noise (a
wrong scale). Here a few frames are sampled again and again from the same noise, each time with one input changed. Nothing is judged but
that the result differs, that it is made of numbers, and that the same inputs give the same result.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from v2v.array_types import AnyLatents
from v2v.config import ModelConfig
from v2v.diffusion.windows import noise_seeds, window_noise
from v2v.models.conditioning import context_shape
from v2v.pipeline.model import EditingModel, SampleRequest

# Two results are taken for the same whose difference is smaller than this part of their size.
LEAST_DIFFERENCE = 1e-3
# Decibels that a trained autoencoder reaches: large ones 30 and more, the packaged one 20 on detailed pictures, random weights about 10.
LEAST_PSNR = 16.0
# Steps of each sample; a few show every input.
STEPS = 4
PROMPTS = ("make it black and white", "make it night")
# Size of the frames of a large model, whose own would take minutes on a CPU; a multiple of any model's stride.
SMALL_FRAMES, SMALL_SIDE = 9, 256


@dataclass(frozen=True)
class Verdict:
    """What one check found.

    Attributes:
      name: what was changed or measured.
      passed: whether it is as it should be.
      value: relative difference, or decibels.
      text: the finding in words.
    """

    name: str
    passed: bool
    value: float
    text: str


def small_settings(config: ModelConfig) -> dict[str, Any]:
    """Return settings for `load_pretrained` with which the checks are quick: of large models the size of a small clip."""
    if config.height * config.width <= SMALL_SIDE**2:
        return {}
    return {"frames": min(SMALL_FRAMES, config.frames), "height": SMALL_SIDE, "width": SMALL_SIDE}


def check_effects(
    model: EditingModel, frames: np.ndarray, without_adapters: Mapping[str, EditingModel] | None = None
) -> list[Verdict]:
    """Run all checks that apply to a model.

    Args:
      model: the model, with its adapters.
      frames: a clip of the model's size, uint8 [T, h, w, 3].
      without_adapters: the model with one of its adapters at weight 0, by what the adapter is called, such as "adapter" or "low-noise
        adapter"; None where there is none to be checked.

    Returns:
      Verdicts in the order of the checks.
    """
    config = model.config
    clips = np.repeat(frames[None], config.batch, 0)
    source = np.asarray(model.encode(clips), np.float32)
    verdicts = [_check_autoencoder(model, clips, source)]
    request = _first_request(model, source, frames)
    first = _sample(model, request)
    verdicts.append(_check_finite(first))
    repeat_difference = _difference(first, _sample(model, request))
    verdicts.append(
        Verdict(
            "repeatable",
            repeat_difference == 0,
            repeat_difference,
            "the same inputs give the same result, bit for bit"
            if repeat_difference == 0
            else f"the same inputs give results that differ by {repeat_difference:.2g}",
        )
    )
    for name, changed in _changed_inputs(model, request, frames).items():
        verdicts.append(_compare(name, first, _sample(model, changed())))
    for name, without in (without_adapters or {}).items():
        verdicts.append(_compare(name, first, _sample(without, request)))
    return verdicts


def _first_request(model: EditingModel, source: np.ndarray, frames: np.ndarray) -> SampleRequest:
    """Return a request with everything that the model takes, of which each check changes one."""
    config = model.config
    size = (config.batch, *frames.shape)
    noise = window_noise(0, 0, source.shape[1], source.shape[2:])
    mask = reference = None
    if "mask" in model.conditions:
        mask = np.asarray(model.encode_mask(np.full(size, 255, np.uint8)))
    if "reference" in model.conditions:
        reference = np.asarray(model.encode(np.repeat(frames[None, :1], config.batch, 0)))
    # Without an empty sentence there is nothing to lead away from.
    guidance = 1.0 if _reads_contexts(config) else max(config.flow.guidance, 2.0)
    return SampleRequest(
        source if model.conditions else None, mask, reference, _embed(model, 0),
        np.repeat(noise[None], config.batch, 0), STEPS, guidance,
        seeds=np.repeat(noise_seeds(0, 0, source.shape[1])[None], config.batch, 0),
    )  # fmt: skip


def _changed_inputs(
    model: EditingModel, request: SampleRequest, frames: np.ndarray
) -> dict[str, Callable[[], SampleRequest]]:
    """Return the request with one input changed, by the input's name."""
    batch, width = model.config.batch, frames.shape[2]
    turned = np.repeat(np.ascontiguousarray(255 - frames[:, ::-1, ::-1])[None], batch, 0)
    half = np.zeros((batch, *frames.shape), np.uint8)
    half[:, :, :, : width // 2] = 255
    replace = dataclasses.replace
    changes: dict[str, Callable[[], SampleRequest]] = {
        "context" if _reads_contexts(model.config) else "sentence": lambda: replace(
            request, text=_embed(model, 1)
        ),
        "seed": lambda: replace(request, noise=np.asarray(request.noise)[:, ::-1].copy()),
    }
    if "source" in model.conditions:
        changes["source"] = lambda: replace(request, source=np.asarray(model.encode(turned)))
    if "mask" in model.conditions:
        changes["mask"] = lambda: replace(request, mask=np.asarray(model.encode_mask(half)))
    if "reference" in model.conditions:
        changes["reference"] = lambda: replace(request, reference=np.asarray(model.encode(turned[:, :1])))
    return changes


def _reads_contexts(config: ModelConfig) -> bool:
    """Return whether cross-attention is given what another network made, in place of embedded sentences."""
    return config.condition.context == "stored"


def _embed(model: EditingModel, number: int) -> np.ndarray:
    """Return what cross-attention is given of one of two prompts, [batch, m, d]; random numbers where another network would make it."""
    if _reads_contexts(model.config):
        rows = np.random.default_rng(number).standard_normal((1, *context_shape(model.config)), np.float32)
    else:
        rows = np.asarray(model.embed_text([PROMPTS[number]]).rows)
    return np.repeat(rows, model.config.batch, 0)


def _sample(model: EditingModel, request: SampleRequest) -> np.ndarray:
    return np.asarray(model.sample(request).latents, np.float32)


def _check_autoencoder(model: EditingModel, clips: np.ndarray, latents: AnyLatents) -> Verdict:
    """Measure what remains of a clip after its way through the autoencoder."""
    decoded = np.asarray(model.decode(latents), np.float32)[:, : clips.shape[1]]
    error = float(np.mean((decoded - clips.astype(np.float32)) ** 2))
    psnr = 10 * np.log10(255**2 / max(error, 1e-4)) if np.isfinite(error) else float("-inf")
    passed = bool(psnr >= LEAST_PSNR)
    need = (
        ""
        if passed
        else f", expected {LEAST_PSNR:g} and more: its weights are no trained autoencoder's, or damaged"
    )
    return Verdict(
        "autoencoder", passed, round(float(psnr), 2), f"{psnr:.1f} dB after encoding and decoding{need}"
    )


def _check_finite(latents: np.ndarray) -> Verdict:
    share = float(np.mean(~np.isfinite(latents)))
    text = "all values are numbers" if share == 0 else f"{share:.1%} of the values are no numbers"
    return Verdict("finite", share == 0, share, text)


def _compare(name: str, first: np.ndarray, second: np.ndarray) -> Verdict:
    """Return whether a changed input changed the result."""
    difference = _difference(first, second)
    passed = difference >= LEAST_DIFFERENCE
    text = (
        f"another {name} changes the result by {difference:.1%}"
        if not name.endswith("adapter")
        else f"it changes the result by {difference:.1%}"
    )
    if not passed:
        text = f"has no effect: the result differs by {difference:.2g} of its size, expected {LEAST_DIFFERENCE:g} and more"
    return Verdict(name, passed, round(difference, 6), text)


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return the rms difference relative to the rms of the first; 0 where values are no numbers, which another check tells."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return 0.0
    return float(np.sqrt(np.mean((first - second) ** 2) / max(float(np.mean(first**2)), 1e-12)))
