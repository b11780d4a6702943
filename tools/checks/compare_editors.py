#!/usr/bin/env python3
"""Compare published editors with ours on tiny random models, and write their answers for the tests.

    git clone https://github.com/bytedance/Bernini && git clone https://github.com/showlab/Kiwi-Edit
    pip install -e '.[parity]' einops
    python -m tools.checks.compare_editors --bernini Bernini --kiwi Kiwi-Edit --write

Their own code samples every case of tests/parity/published_editors.py in float32 on the CPU. Our side samples the same from the same
noise, latents and contexts; the largest difference of each is printed. With --write the answers become tests/golden/editors.npz, which
tests/parity/test_published_editors.py compares with where neither package nor their dependencies are installed.

Nothing of their preprocessing, text encoders and autoencoders is run here: the autoencoders and umT5 are compared in tests/parity
on their own, Kiwi-Edit's multimodal encoder runs outside this package (tools/kiwi_contexts.py).
"""

# ruff: noqa: SLF001  (the steps of their samplers are private methods)
import argparse
import functools
import importlib
import importlib.metadata
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler, WanTransformer3DModel

from tests.parity import ours_editors, published_editors, reference, tiny

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "editors.npz"
PACKAGES = ("torch", "diffusers")


def main() -> None:
    """Run the comparison; exit with 1 where a difference is above 1e-4."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--bernini", type=Path, required=True, metavar="DIR", help="clone of bytedance/Bernini"
    )
    parser.add_argument("--kiwi", type=Path, required=True, metavar="DIR", help="clone of showlab/Kiwi-Edit")
    parser.add_argument("--write", action="store_true", help="write tests/golden/editors.npz")
    args = parser.parse_args()
    torch.set_num_threads(1)
    answers: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        answers |= run_bernini(args.bernini, Path(folder) / "bernini")
        answers |= run_kiwi(args.kiwi, Path(folder) / "kiwi")
    worst = 0.0
    for key in ours_editors.CASES:
        answer = answers[key]
        error = float(np.abs(ours_editors.sample(key, answers) - answer).max())
        worst = max(worst, error)
        print(
            f"{key:24} largest difference {error:.2e} of values up to {np.abs(answer).max():.2f}", flush=True
        )
    if args.write:
        versions = np.array([f"{name} {importlib.metadata.version(name)}" for name in PACKAGES])
        np.savez_compressed(GOLDEN, versions=versions, **answers)
        print(f"{GOLDEN}: {GOLDEN.stat().st_size:,} bytes")
    sys.exit(int(worst > 1e-4))


def run_bernini(clone: Path, folder: Path) -> dict[str, np.ndarray]:
    """Return what Bernini-R's sampler makes of every case, with the noise that it draws."""
    # Its package imports a language model that the renderer does not use.
    for name in ("bernini", "bernini.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(clone.joinpath(*name.split(".")))]
        sys.modules[name] = package
    transformer_wan = importlib.import_module("bernini.models.transformer_wan")
    diffusion = importlib.import_module("bernini.models.wan_diffusion")
    folders = [tiny.write_folder(folder / "high", tiny.config())]
    experts = [load_bernini(transformer_wan.WanTransformer3DModel, path) for path in folders]
    low = load_bernini(transformer_wan.WanTransformer3DModel, folders[0])
    low.load_state_dict({name: 0.7 * x.roll(1, -1) for name, x in low.state_dict().items()})
    prompt, negative = map(torch.from_numpy, published_editors.texts())
    out = {}
    cases = [(name, case, 0.0) for name, case in published_editors.BERNINI_CASES.items()]
    cases.append(("two experts", published_editors.BERNINI_CASES["rv2v"], 0.875))
    for name, (mode, shown), boundary in cases:
        sampler = diffusion.GEN_Wanx22.__new__(diffusion.GEN_Wanx22)
        torch.nn.Module.__init__(sampler)
        sampler.config = types.SimpleNamespace(interpolate_src_id=True, max_trained_src_id=5)
        sampler.switch_dit_boundary, sampler.use_unipc = boundary, True
        sampler.transformer, sampler.transformer_2 = experts[0], low if boundary else None
        sampler.vae_scale_factor_temporal, sampler.vae_scale_factor_spatial = 4, 8
        sampler.scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=published_editors.SHIFT
        )
        given = {key: reference.channels_first(published_editors.latents(key, "bernini")) for key in shown}
        t, y, x = published_editors.GRID
        seed = 42
        result = sampler.sample(
            prompt_embeds=prompt, uncond_prompt_embeds=negative, num_frames=4 * (t - 1) + 1, height=8 * y, width=8 * x,
            multi_video_vae_latents=[z for key, z in given.items() if key.startswith("source")] or None,
            multi_image_vae_latents=[z for key, z in given.items() if key.startswith("reference")] or None,
            num_inference_steps=published_editors.STEPS, guidance_mode=mode,
            omega_vid=published_editors.SCALES["source"], omega_img=published_editors.SCALES["reference"],
            omega_txt=published_editors.SCALES["prompt"], omega_scale=published_editors.LOW_NOISE, seed=seed, device="cpu",
            eta=published_editors.PARALLEL, norm_threshold=(published_editors.LIMIT,) * 2, momentum=0.0,
        )  # fmt: skip
        out[f"bernini/{name}"] = reference.channels_last(result)
        generator = torch.Generator("cpu").manual_seed(seed)
        out["bernini/noise"] = reference.channels_last(torch.randn((1, tiny.Z, t, y, x), generator=generator))
    return out


def load_bernini(kind: type, folder: Path) -> torch.nn.Module:
    """Load a transformer in Bernini's class, refusing a folder that doesn't name every one of its tensors exactly."""
    model, info = kind.from_pretrained(
        folder / "transformer",
        torch_dtype=torch.float32,
        use_src_id_rotary_emb=True,
        output_loading_info=True,
    )
    assert not any(value for key, value in info.items() if key != "error_msgs"), info
    return model.eval()


@torch.no_grad()
def run_kiwi(clone: Path, folder: Path) -> dict[str, np.ndarray]:
    """Return what Kiwi-Edit's pipeline makes of every case, in float32 where its __call__ has bfloat16."""
    sys.path.insert(0, str(clone / "utils" / "convert_diffusers"))
    pipeline = importlib.import_module("pipeline_kiwi_edit").KiwiEditPipeline
    embedders = importlib.import_module("conditional_embedder")
    path = tiny.write_folder(folder, tiny.config())
    transformer = reference.strict(WanTransformer3DModel, path / "transformer")
    noise = tiny.normal("kiwi noise", 1, *published_editors.GRID, tiny.Z)
    out = {"kiwi/noise": noise}
    for name, (is_first, shown) in published_editors.KIWI_CASES.items():
        parts = types.SimpleNamespace(
            transformer=transformer, _scheduler_get_sigma=functools.partial(pipeline._scheduler_get_sigma, None),
            source_embedder=build_embedder(embedders, "source", False), ref_embedder=build_embedder(embedders, "reference", is_first),
        )  # fmt: skip
        given = {key: reference.channels_first(published_editors.latents(key, "kiwi")) for key in shown}
        sigmas, timesteps = pipeline._setup_scheduler(
            None, published_editors.STEPS, 1.0, published_editors.SHIFT
        )
        state = reference.channels_first(noise)
        for step, timestep in enumerate(timesteps):
            velocity = pipeline._model_forward(
                parts, state, timestep[None], torch.from_numpy(published_editors.context()), given["source"],
                [z for key, z in given.items() if key.startswith("reference")] or None, sigmas, timesteps,
            )  # fmt: skip
            state = pipeline._scheduler_step(None, velocity, sigmas, step, state)
        out[f"kiwi/{name}"] = reference.channels_last(state)
    return out


def build_embedder(embedders: types.ModuleType, name: str, ref_pad_first: bool) -> torch.nn.Module:
    """Return Kiwi-Edit's embedding of the source or of references with the weights of the questions."""
    cfg = tiny.config().dit
    module = embedders.ConditionalEmbedder(
        in_dim=tiny.Z, dim=cfg.width, patch_size=list(cfg.patch), ref_pad_first=ref_pad_first
    )
    weight, bias = published_editors.embedder(name)
    module.load_state_dict(
        {"patch_embedding.weight": torch.from_numpy(weight), "patch_embedding.bias": torch.from_numpy(bias)}
    )
    return module.eval()


if __name__ == "__main__":
    main()
