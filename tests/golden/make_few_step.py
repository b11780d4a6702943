"""Write few_step.npz beside this file: what the published few-step pipelines answer on the tiny model of tests/parity/tiny.py.

    pip install -e '.[parity]' && python -m tests.golden.make_few_step FOLDER

FOLDER holds clones, each under the name of its repository: Self-Forcing (guandeh17), CausVid (tianweiy), Wan2.2-TI2V-5B-Turbo
(quanhaol), FastVideo (hao-ai-lab), LightX2V and Wan2.2-Lightning (ModelTC). Their own classes run, each repository in a process of
its own; replaced are the network (diffusers' transformer with tiny random weights), the encoders (text embeddings are given, latents
come out), float32 for bfloat16, and the fresh noise, which is ours. Packages that they import and that are not installed are stand-ins:
nothing that is compared uses them. Commits: 33593df, ca21150, 26d5995, 2f3d407, f8aee98 and the newest of Wan2.2-Lightning.
"""

import importlib.abc
import importlib.machinery
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from diffusers import WanTransformer3DModel

from tests.parity import few_step, reference, tiny
from v2v.diffusion.solvers import draw_noise

HERE = Path(__file__).parent
# What the published configurations say; shift is that of the table in which levels are looked up.
THREE, FOUR = [1000, 757, 522], [1000, 750, 500, 250]


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules that the published code imports, and gives mocks for them."""

    def __init__(self, prefix="", without=()):
        """Make a finder of modules whose names have a prefix, without some."""
        self.prefix, self.without = prefix, without

    def find_spec(self, name, path, target=None):
        if not name.startswith(self.prefix) or name in self.without:
            return None
        frame = sys._getframe(1)  # noqa: SLF001  installed packages try for others that they can do without
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if frame is None or "site-packages" in frame.f_code.co_filename:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = mock.MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module):
        pass


class Network(torch.nn.Module):
    """The tiny transformer with the call of the original `WanModel`."""

    local_attn_size = -1

    def __init__(self):
        super().__init__()
        with tempfile.TemporaryDirectory() as folder:
            path = tiny.write_folder(Path(folder) / "model", tiny.config())
            self.net = reference.strict(WanTransformer3DModel, path / "transformer")

    @classmethod
    def from_pretrained(cls, *_, **__):
        return cls()

    @torch.no_grad()
    def forward(self, x, t, context, seq_len=0, **_):
        # One time a clip, a frame or a token; those of frames are all equal here.
        tokens = x.shape[2] * x.shape[3] * x.shape[4] // 4
        time = t[:, :tokens] if t.ndim == 2 and t.shape[1] > x.shape[2] else t.reshape(len(x), -1)[:, 0]
        return self.net(x.float(), time.float(), context, return_dict=False)[0]


def fresh_noise():
    """Yield the noise of each row, [b t, c, y, x] as the published code draws it."""
    shape = (1, *few_step.GRID, tiny.Z)
    for row in range(8):
        e = np.asarray(draw_noise(few_step.seeds(), row, shape))
        yield torch.from_numpy(np.moveaxis(e, -1, 2).copy()).flatten(0, 1)


def inputs():
    """Return noise, [b, t, c, y, x], and the encoders' stand-ins."""
    noise = torch.from_numpy(np.moveaxis(few_step.noise(), -1, 2).copy())
    text = torch.from_numpy(few_step.text())
    encoder = mock.MagicMock(return_value={"prompt_embeds": text})
    # Pipelines return pixels; what would be decoded is taken here.
    vae = mock.MagicMock()
    vae.decode_to_pixel.side_effect = lambda z, **_: z * 2 - 1
    return noise, encoder, vae


def with_our_noise(run):
    draws = fresh_noise()

    def draw(like_or_shape, *_, **__):
        e = next(draws)
        shape = like_or_shape.shape if isinstance(like_or_shape, torch.Tensor) else like_or_shape
        return e.reshape(shape)

    clamp = mock.patch.object(torch.Tensor, "clamp", lambda x, *_, **__: x)
    with mock.patch("torch.randn_like", draw), mock.patch("torch.randn", draw), clamp:
        return run()


def channels_last(z) -> np.ndarray:
    return np.moveaxis(z.float().numpy(), 2, -1)


def skip_imports_of(*packages: str) -> None:
    """Let modules of packages be imported without what the packages' own `__init__` imports: all else that they have."""
    for name in packages:
        module = types.ModuleType(name)
        module.__path__ = [str(Path(sys.path[0], *name.split(".")))]
        sys.modules[name] = module


def self_forcing():
    """Return its causal pipeline's answer with all frames in one block, so that causal attention is attention to all."""
    import wan.modules.causal_model

    wan.modules.causal_model.CausalWanModel = Network
    from pipeline.causal_inference import CausalInferencePipeline

    noise, encoder, vae = inputs()
    args = SimpleNamespace(
        model_kwargs={"timestep_shift": 5.0}, denoising_step_list=FOUR, warp_denoising_step=True,
        num_frame_per_block=few_step.GRID[0], independent_first_frame=False, context_noise=0,
    )  # fmt: skip
    pipeline = CausalInferencePipeline(args, "cpu", text_encoder=encoder, vae=vae)
    pipeline.num_transformer_blocks = 0  # no caches of the full size
    return {"self-forcing": channels_last(with_our_noise(lambda: pipeline.inference(noise, [""])))}


def causvid():
    import causvid.models.wan.bidirectional_inference as module
    from causvid.models.wan import wan_wrapper

    wan_wrapper.WanModel = Network
    noise, encoder, vae = inputs()
    module.get_diffusion_wrapper = lambda model_name: wan_wrapper.WanDiffusionWrapper
    module.get_text_encoder_wrapper = lambda model_name: lambda: encoder
    module.get_vae_wrapper = lambda model_name: lambda: vae
    args = SimpleNamespace(model_name="wan", denoising_step_list=THREE, warp_denoising_step=False)
    pipeline = module.BidirectionalInferencePipeline(args, "cpu")
    return {"causvid": channels_last(with_our_noise(lambda: pipeline.inference(noise, [""])))}


def turbo():
    import pipeline.wan22_fewstep_inference as module
    from utils import wan_wrapper

    wan_wrapper.Wan22Model = Network
    noise, encoder, vae = inputs()
    module.WanTextEncoder = lambda **_: encoder
    module.Wan2_2_VAEWrapper = lambda: vae
    args = SimpleNamespace(model_name="Wan2.2-TI2V-5B", denoising_step_list=FOUR)
    pipeline = module.Wan22FewstepInferencePipeline(args, "cpu")
    first = torch.from_numpy(np.moveaxis(few_step.first(), -1, 2).copy())
    latents = {}
    for name, picture in (("turbo", None), ("turbo-first", first)):
        result = with_our_noise(
            lambda picture=picture: pipeline.inference(noise.clone(), [""], wan22_image_latent=picture)
        )
        latents[name] = channels_last(result)
    return latents


def fastvideo():
    torch.bfloat16 = torch.float32
    skip_imports_of(
        "fastvideo", "fastvideo.pipelines", "fastvideo.pipelines.stages", "fastvideo.models", "fastvideo.models.schedulers",
    )  # fmt: skip
    compared = (
        "pipelines.stages.denoising", "pipelines.stages.base", "models.utils", "models.schedulers.base",
        "models.schedulers.scheduling_flow_match_euler_discrete",
    )  # fmt: skip
    sys.meta_path.insert(0, StandIns("fastvideo.", [f"fastvideo.{name}" for name in compared]))
    from fastvideo.pipelines.stages import denoising as module

    stage = module.DmdDenoisingStage.__new__(module.DmdDenoisingStage)
    torch.nn.Module.__init__(stage) if isinstance(stage, torch.nn.Module) else None
    network = Network()
    stage.scheduler = module.FlowMatchEulerDiscreteScheduler(shift=8.0)
    stage.attn_backend, stage.progress_bar = None, mock.MagicMock()
    stage.prepare_extra_func_kwargs = lambda *_: {}
    noise, encoder, _ = inputs()
    text = encoder()["prompt_embeds"]
    stage.transformer = mock.MagicMock(side_effect=lambda x, prompt, t, **_: network(x, t, prompt))
    batch = mock.MagicMock(timesteps=torch.tensor(THREE), num_inference_steps=3, image_embeds=[])
    batch.latents, batch.prompt_embeds, batch.image_latent = noise, text, None
    config = mock.MagicMock(dmd_denoising_steps=THREE, embedded_cfg_scale=None)
    arguments = mock.MagicMock(pipeline_config=config, disable_autocast=True)
    module.get_local_torch_device = lambda: torch.device("cpu")
    stage.__class__ = type("Stage", (module.DmdDenoisingStage,), {"device": torch.device("cpu")})
    batch.latents = noise
    result = with_our_noise(lambda: stage.forward(batch, arguments)).latents
    return {"fastwan": channels_last(result.permute(0, 2, 1, 3, 4))}


def lightx2v():
    skip_imports_of("lightx2v")
    platform = mock.MagicMock(AI_DEVICE="cpu")
    platform.__path__ = []
    for name in ("lightx2v_platform", "lightx2v_platform.base", "lightx2v_platform.base.global_var"):
        sys.modules[name] = platform
    from lightx2v.models.schedulers.wan.step_distill import scheduler as module

    network, (noise, encoder, _) = Network(), inputs()
    latents = {}
    configurations = {
        "lightx2v": (module.WanStepDistillScheduler, {}),
        "lightx2v-a14b": (module.Wan22StepDistillScheduler, {"boundary_step_index": 2}),
    }
    for name, (kind, more) in configurations.items():
        scheduler = kind.__new__(kind)
        scheduler.config = {"denoising_step_list": FOUR, "sample_shift": 5.0, **more}
        scheduler.denoising_step_list, scheduler.infer_steps, scheduler.sample_shift = FOUR, 4, 5.0
        scheduler.num_train_timesteps, scheduler.sigma_max, scheduler.sigma_min = 1000, 1.0, 0.0
        vars(scheduler).update(more)
        scheduler.set_denoising_timesteps("cpu")
        scheduler.latents = noise
        for index in range(4):
            scheduler.step_index = index
            x = scheduler.latents.permute(0, 2, 1, 3, 4)
            time = scheduler.timesteps[index : index + 1]
            scheduler.noise_pred = network(x, time, encoder()["prompt_embeds"]).permute(0, 2, 1, 3, 4)
            scheduler.step_post()
        latents[name] = channels_last(scheduler.latents)
    return latents


def lightning():
    from wan.utils.fm_solvers_euler import EulerScheduler

    network, (x, encoder, _) = Network(), inputs()
    scheduler = EulerScheduler(num_train_timesteps=1000, shift=5.0, device="cpu")
    scheduler.set_timesteps(4, device="cpu")
    for t in scheduler.timesteps[:4]:
        v = network(x.permute(0, 2, 1, 3, 4), t.reshape(1), encoder()["prompt_embeds"])
        result = scheduler.step(v.permute(0, 2, 1, 3, 4), t, x)
        x = result[0] if isinstance(result, tuple) else result
    return {"lightning": channels_last(x)}


REPOSITORIES = {
    "Self-Forcing": self_forcing, "CausVid": causvid, "Wan2.2-TI2V-5B-Turbo": turbo, "FastVideo": fastvideo, "LightX2V": lightx2v,
    "Wan2.2-Lightning": lightning,
}  # fmt: skip


def main() -> None:
    if len(sys.argv) == 4:
        _, folder, name, out = sys.argv
        sys.path.insert(0, str(Path(folder) / name))
        sys.meta_path.append(StandIns())
        torch.set_grad_enabled(False)
        torch.cuda.current_device = lambda: 0
        np.savez(out, **REPOSITORIES[name]())
        return
    latents, folder = {}, sys.argv[1]
    with tempfile.TemporaryDirectory() as tmp:
        for name in REPOSITORIES:
            out = Path(tmp) / f"{name}.npz"
            subprocess.run(
                [sys.executable, "-m", "tests.golden.make_few_step", folder, name, str(out)], check=True
            )
            latents |= dict(np.load(out))
    np.savez_compressed(HERE / "few_step.npz", **latents)


if __name__ == "__main__":
    main()
