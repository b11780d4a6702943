"""Folders saved by diffusers and transformers themselves, edited by `v2v edit`; skipped without the extra [parity].

Every component is the real package's: sharded transformer, VAE, text encoder, tokenizer, scheduler, model_index.json. For the
channel-conditioned editor the whole chain from sentence and pixels to latents is compared with LucyEditPipeline's.
"""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from PIL import Image

from tests.checkpoints import small_models
from tests.example_clips import picture
from tests.parity import reference, tiny
from tests.parity.pipelines import parts
from v2v import Video, read
from v2v.checkpoints import adapters
from v2v.cli import main
from v2v.pipeline import pretrained
from v2v.pipeline.model import SampleRequest

FRAMES, HEIGHT, WIDTH, STEPS, GUIDANCE = 5, 64, 32, 4, 5.0
SIZE = {"frames": FRAMES, "height": HEIGHT, "width": WIDTH}
PROMPT = "Make the sky purple, and keep everything else!"


def saved(folder, channels: int):
    """The folder the real packages write for a pipeline of random parts; returns it and the pipeline."""
    cfg = tiny.config(channels)
    cfg = dataclasses.replace(cfg, text=dataclasses.replace(cfg.text, vocab=420))
    raw = tiny.write_folder(folder / "raw", cfg)
    (folder / "words").mkdir()
    everything = parts(raw) | {
        "tokenizer": reference.tokenizer(folder / "words", "nmt_nfkc"),
        "text_encoder": reference.strict(transformers.UMT5EncoderModel, raw / "text_encoder"),
    }
    kind = diffusers.LucyEditPipeline if channels > tiny.Z else diffusers.WanPipeline
    pipe = kind(**everything)
    pipe.save_pretrained(folder / "model", max_shard_size="300KB")
    assert len(list((folder / "model" / "transformer").glob("*.safetensors"))) > 1
    assert json.loads((folder / "model" / "model_index.json").read_text())["_class_name"] == kind.__name__
    return folder / "model", pipe


def edit(tmp_path, model, *more):
    Video.from_array(picture(FRAMES, 48, 40), 10).save(tmp_path / "in.mp4")
    words = [
        "edit",
        tmp_path / "in.mp4",
        PROMPT,
        "-o",
        tmp_path / "out.mp4",
        "--model",
        model,
        "--steps",
        STEPS,
    ]
    assert main.main([str(w) for w in (*words, "--size", f"{WIDTH}x{HEIGHT}x{FRAMES}", *more)]) == 0
    return read(tmp_path / "out.mp4").frames


def test_text_to_video_folder(tmp_path, capsys):
    model, _ = saved(tmp_path, tiny.Z)
    opened = pretrained.load_pretrained(str(model), **SIZE)
    assert (opened.config.flow.solver, opened.config.flow.schedule) == ("unipc", "diffusers")
    adapters.save_adapter(tmp_path / "edit.safetensors", small_models.adapter(opened.config), opened.config)
    assert edit(tmp_path, model, "--lora", tmp_path / "edit.safetensors").shape == (FRAMES, 48, 40, 3)
    capsys.readouterr()
    assert main.main(["doctor", "--model", str(model), "--values", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["model"]
    assert not report["edits_by"] and {p["layout"] for p in report["parts"].values()} == {"diffusers"}


def test_clips_from_a_text_and_from_a_first_frame(tmp_path):
    """From the same sentences, picture and noise to the latents of WanPipeline and of WanImageToVideoPipeline; then the command line."""
    folder, pipe = saved(tmp_path, tiny.Z)
    model = pretrained.load_pretrained(str(folder), **SIZE, dtype="float32")
    image = picture(1, HEIGHT, WIDTH)[0]
    noise = tiny.normal("noise", 1, 2, HEIGHT // 16, WIDTH // 16, tiny.Z)
    settings = {
        "prompt": PROMPT, "negative_prompt": "blurry, static", "latents": reference.channels_first(noise), "num_frames": FRAMES,
        "height": HEIGHT, "width": WIDTH, "num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "latent",
    }  # fmt: skip
    onwards = diffusers.WanImageToVideoPipeline(
        **{
            name: getattr(pipe, name)
            for name in ("tokenizer", "text_encoder", "vae", "scheduler", "transformer")
        },
        expand_timesteps=True,
    )
    text, negative = (model.embed_text([words]).rows for words in (PROMPT, "blurry, static"))
    for theirs, first in ((pipe, None), (onwards, model.encode(image[None, None]))):
        theirs.set_progress_bar_config(disable=True)
        given = {} if first is None else {"image": Image.fromarray(image)}
        with torch.no_grad():
            expected = reference.channels_last(theirs(**settings, **given).frames)
        request = SampleRequest(
            None, None, None, text, noise, STEPS, GUIDANCE, negative=negative, first=first
        )
        ours = np.asarray(model.sample(request).latents)
        assert np.abs(ours - expected).max() <= 1e-4
    Video.from_array(image[None], 10).save(tmp_path / "first.png")
    command = [
        "edit",
        "--text-only",
        PROMPT,
        "--model",
        folder,
        "--steps",
        STEPS,
        "--size",
        f"{WIDTH}x{HEIGHT}x{FRAMES}",
    ]
    command += [
        "--first-frame",
        tmp_path / "first.png",
        "--negative",
        "blurry, static",
        "-o",
        tmp_path / "made.mp4",
    ]
    assert main.main([str(word) for word in command]) == 0
    made = read(tmp_path / "made.mp4")
    assert made.frames.shape == (FRAMES, HEIGHT, WIDTH, 3) and made.fps == 24


def test_channel_conditioned_folder(tmp_path):
    """From the same sentence, clip and noise to the latents of LucyEditPipeline; then the command line on that folder."""
    folder, pipe = saved(tmp_path, 2 * tiny.Z)
    pipe.set_progress_bar_config(disable=True)
    model = pretrained.load_pretrained(str(folder), **SIZE, dtype="float32")
    pixels = picture(FRAMES, HEIGHT, WIDTH)
    noise = tiny.normal("noise", 1, 2, HEIGHT // 16, WIDTH // 16, tiny.Z)
    video = torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2)
    with torch.no_grad():
        theirs = pipe(
            prompt=PROMPT, negative_prompt="", video=video[None], latents=reference.channels_first(noise),
            num_frames=FRAMES, height=HEIGHT, width=WIDTH, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
            output_type="latent",
        ).frames  # fmt: skip
    text = model.embed_text([PROMPT]).rows
    source = model.encode(pixels[None])
    request = SampleRequest(source, source, None, text, jnp.asarray(noise), STEPS, GUIDANCE)
    ours = model.sample(request).latents
    assert np.abs(np.asarray(ours) - reference.channels_last(theirs)).max() <= 1e-4
    assert edit(tmp_path, folder).shape == (FRAMES, 48, 40, 3)
