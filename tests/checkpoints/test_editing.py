"""Editing with published folders, from the command line to the file: text-to-video with an adapter, and channel-conditioned."""

import dataclasses
import json
import shutil

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny_model
from tests.checkpoints import small_models
from tests.example_clips import picture
from tests.notes import expect_note
from tests.parity import tiny
from v2v import EasyV2VEditor, InputError, Video, read
from v2v.checkpoints import adapters, model_folder, parameter_store, wan
from v2v.cli import main
from v2v.config import ConditionConfig, MeshConfig, wan22_ti2v_5b
from v2v.diffusion.schedule import noise_levels
from v2v.diffusion.solvers import build_solver_table, integrate
from v2v.models import lora, quantized
from v2v.models.transformer import DiT
from v2v.pipeline import pretrained
from v2v.pipeline.model import SampleRequest
from v2v.runtime import sharding
from v2v.runtime.host_memory import DeviceMemory
from v2v.train import fine_tuning
from v2v.train.config import Experiment

SIZE = "32x32x5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Text-to-video; the adapter lies beside the folder."""
    path = small_models.write(tmp_path_factory.mktemp("t2v") / "Wan2.2-TI2V-5B-Diffusers")
    adapters.save_adapter(
        path.parent / "edit.safetensors", small_models.adapter(small_models.config()), small_models.config()
    )
    return path


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Conditioned by channel concatenation, original names; nothing more is needed to edit."""
    return small_models.write(tmp_path_factory.mktemp("wide") / "Lucy-Edit-1.1-Dev", 2 * tiny.Z, "original")


@pytest.fixture(scope="module")
def editing(folder):
    """The first, opened with its adapter."""
    opened = pretrained.load_pretrained(str(folder), **small_models.SIZE)
    return opened.with_lora(folder.parent / "edit.safetensors")


@pytest.fixture
def clip(tmp_path):
    Video.from_array(picture(5, 40, 48), 10).save(tmp_path / "in.mp4")
    return tmp_path / "in.mp4"


def v2v(*words) -> int:
    return main.main([str(word) for word in words])


def printed(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def latents(model, seed=0):
    """Inputs of `sample` for a model: source, mask and noise."""
    shape = (1, *model.config.vae.latent_shape(*small_models.SIZE.values()))
    return [jnp.asarray(tiny.normal(f"{name}{seed}", *shape)) for name in ("source", "mask", "noise")]


def sample(model, seed=0, reference=None):
    source, mask, noise = latents(model, seed)
    text = model.embed_text(["make it sepia"])
    assert not text.unknown and not text.cut
    request = SampleRequest(source, mask, reference, text.rows, noise, steps=2, guidance=3.0)
    return np.asarray(model.sample(request).latents)


@pytest.mark.slow
def test_text_to_video_with_an_adapter(folder, clip, tmp_path, capsys):
    """Source, mask and reference go in as tokens; an MP4 of the source's size comes out."""
    words = ["edit", clip, "make it sepia", "--model", folder, "--size", SIZE, "--steps", 1, "--reference"]
    Video.from_array(picture(1, 20, 20), 1).save(tmp_path / "r.png")
    code = v2v(*words, tmp_path / "r.png", "-o", tmp_path / "a.mp4", "--lora", folder.parent / "edit.safetensors", "--json")  # fmt: skip
    assert code == 0, capsys.readouterr().err
    assert printed(capsys)["frames"] == 5
    assert read(tmp_path / "a.mp4").frames.shape == (5, 40, 48, 3)


def test_an_adapter_in_the_folder(folder, tmp_path):
    """lora.safetensors and its embeddings beside the parts make the folder an editor."""
    unsplit = shutil.copytree(folder, tmp_path / "wan")
    for end in (".safetensors", ".embeds.safetensors"):
        shutil.copy(folder.parent / f"edit{end}", unsplit / f"lora{end}")
    assert pretrained.load_pretrained(str(folder)).conditions == ()
    assert pretrained.load_pretrained(str(unsplit)).conditions == ("source", "mask", "reference")


@pytest.mark.slow
def test_channel_conditioned(wide, clip, tmp_path, capsys):
    assert v2v("edit", clip, "make it sepia", "--model", wide, "--size", SIZE, "--steps", 1, "-o", tmp_path / "b.mp4") == 0  # fmt: skip
    assert read(tmp_path / "b.mp4").frames.shape == (5, 40, 48, 3)
    model = pretrained.load_pretrained(str(wide), **small_models.SIZE)
    assert model.conditions == ("source",) and model.config.flow.guidance == 5.0
    with pytest.raises(InputError, match="reference: Lucy-Edit-1.1-Dev takes none"):
        EasyV2VEditor(model).edit_video(picture(5, 40, 48), "make it sepia", reference=picture(1, 8, 8)[0])


def test_channel_conditioning_joins_noise_and_source(wide):
    """The sampler's walk is the published one: [noise, source] along channels, guidance on the prompt, the folder's own table."""
    model = pretrained.load_pretrained(str(wide), **small_models.SIZE)
    source, _, noise = latents(model)
    text, null = model.embed_text(["make it sepia"]).rows, model.embed_text([""]).rows
    dit, variables = DiT(model.config.dit), {"params": model.variables()["params"]}

    def velocity(x, tau):
        z = jnp.concatenate([x, source], -1)
        cond, free = (dit.apply(variables, z, jnp.full(1, tau), t) for t in (text, null))
        return free + 3.0 * (cond - free)

    flow = model.config.flow
    assert (flow.solver, flow.schedule, flow.shift) == ("unipc", "diffusers", 3.0)
    expected = jax.jit(integrate, static_argnums=0)(
        velocity, noise, build_solver_table("unipc", *noise_levels("diffusers", 2, 3.0))
    )
    np.testing.assert_allclose(sample(model), expected, atol=2e-4)


def test_solver_and_schedule_are_the_models_unless_asked(folder, editing):
    """Another table gives another clip; a name that doesn't exist is refused."""
    other = pretrained.load_pretrained(str(folder), **small_models.SIZE, solver="euler", schedule="linear")
    other = other.with_lora(folder.parent / "edit.safetensors")
    assert (other.config.flow.solver, other.config.flow.schedule) == ("euler", "linear")
    assert np.abs(sample(other) - sample(editing)).max() > 1e-3
    with pytest.raises(InputError, match="solver must be one of"):
        sample(pretrained.load_pretrained(str(folder), solver="ddim").with_lora(folder.parent / "edit.safetensors"))  # fmt: skip


def test_sizes_that_a_model_has_never_seen():
    with pytest.raises(InputError, match="embedded has learnt positions of 9 frames, got 13"):
        pretrained.load_pretrained("embedded", frames=13)
    with expect_note("seen pictures up to 64x64; at 256x128 its edits may be poor"):
        model = pretrained.load_pretrained("embedded", width=256, height=128)
    assert (model.config.height, model.config.width, model.config.frames) == (128, 256, 9)
    assert wan22_ti2v_5b().largest == (121, 704, 1280)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="finite number as its weight"):
            model.with_lora({}, wrong)


def test_adapters_merge_on_the_way_as_they_do_afterwards(folder):
    """In float32 the streamed merge is the merge of the tree, full updates included."""
    cfg = small_models.config()
    base = wan.load_part("dit", folder / "transformer", cfg)
    first = small_models.adapter(cfg)
    delta = {"blocks": {"norm_cross": {"scale": tiny.normal("n", cfg.dit.layers, 60)}}}
    both = ((first, 0.5), (dataclasses.replace(first, delta=delta, scale=2.0), 0.25))
    streamed = wan.load_part(
        "dit", folder / "transformer", cfg, update=parameter_store.build_adapter_update(both)
    )
    merged = lora.merge_adapter(lora.merge_adapter(base, first.lora, 0.5), first.lora, 0.5)
    merged["blocks"]["norm_cross"]["scale"] += 0.25 * delta["blocks"]["norm_cross"]["scale"]
    for tree in (streamed, parameter_store.merge_adapters(base, both)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), tree, merged)


def test_adapters_replace_or_join(folder, editing):
    """One with embeddings takes the other's place, one without is added; the model they came from stays as it was."""
    first_video = sample(editing)
    second_adapter = dataclasses.replace(small_models.adapter(editing.config), embed=None)
    twice = editing.with_lora(second_adapter, 2.0)
    assert twice.conditions == editing.conditions and np.abs(sample(twice) - first_video).max() > 1e-3
    np.testing.assert_array_equal(sample(twice.with_lora(folder.parent / "edit.safetensors")), first_video)
    np.testing.assert_array_equal(sample(editing), first_video)


def test_an_adapter_says_how_it_was_trained(folder, tmp_path):
    """Positions and attention of training come with the embeddings."""
    condition = ConditionConfig(rope="shared", attention="one_way")
    adapter = dataclasses.replace(small_models.adapter(small_models.config()), condition=condition)
    adapters.save_adapter(tmp_path / "a.safetensors", adapter, small_models.config())
    model = pretrained.load_pretrained(str(folder), **small_models.SIZE).with_lora(tmp_path / "a.safetensors")
    assert model.config.condition == condition


def test_converted_folders_edit_alike(folder, editing, tmp_path, capsys):
    """`v2v convert` → a folder of ours, adapter inside; `--model` takes it, `v2v doctor` knows it."""
    words = ["convert", folder, tmp_path / "wan", "--lora", folder.parent / "edit.safetensors"]
    assert v2v(*words) == 0, capsys.readouterr().err
    model = pretrained.load_pretrained(str(tmp_path / "wan"), **small_models.SIZE)
    assert model.conditions == editing.conditions and model.config.flow == editing.config.flow
    for part in ("vae", "text"):
        jax.tree.map(np.testing.assert_array_equal, model._store.get(part), editing._store.get(part))
    ours, theirs = (
        flax.traverse_util.flatten_dict(m.variables()["params"], sep="/") for m in (model, editing)
    )
    for path, x in ours.items():  # rounded before the merge instead of after it
        assert x.dtype == theirs[path].dtype
        np.testing.assert_allclose(
            x.astype(np.float32), theirs[path].astype(np.float32), rtol=2**-6, atol=2**-7
        )
    assert v2v(*words) == 2 and "already there" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["wan"]
    assert v2v("doctor", "--model", tmp_path / "wan", "--json") == 0
    report = printed(capsys)["model"]
    assert report["kind"] == "converted (orbax)" and report["edits_by"] == ["source", "mask", "reference"]
    shutil.rmtree(tmp_path / "wan" / "dit" / "state")
    assert v2v("doctor", "--model", tmp_path / "wan") == 2 and "convert again" in capsys.readouterr().out


def test_missing_sources_of_a_conversion_are_named_for_what_they_would_be(tmp_path, capsys):
    """A folder's name may have dots; only .safetensors is an adapter's."""
    assert v2v("convert", tmp_path / "Lucy-Edit-1.1-Dev", tmp_path / "lucy") == 2
    assert "a folder of weights" in capsys.readouterr().err
    assert v2v("convert", tmp_path / "edit.safetensors", tmp_path / "out.safetensors") == 2
    assert "--model" in capsys.readouterr().err


def test_on_a_mesh_no_device_holds_a_whole_matrix(folder, editing, tmp_path):
    """The same weights, streamed or converted, adapter merged, split as the table of parameters says."""
    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=1, seq=2)
    assert v2v("convert", folder, tmp_path / "wan") == 0
    for place in (folder, tmp_path / "wan"):
        model = pretrained.load_pretrained(str(place), mesh=mesh, progress=True, **small_models.SIZE)
        tree = model.with_lora(folder.parent / "edit.safetensors").variables()["params"]
        up = tree["blocks"]["ffn"]["up"]["kernel"]
        assert up.addressable_shards[0].data.shape == (up.shape[0], up.shape[1] // 2, up.shape[2])
        if place == folder:
            jax.tree.map(np.testing.assert_array_equal, tree, editing.variables()["params"])
    with pytest.raises(InputError, match="sharding on mesh"):
        pretrained.load_pretrained(str(folder), mesh=sharding.make_mesh(fsdp=8), **small_models.SIZE)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({"data": 2, "fsdp": 4}, marks=pytest.mark.slow),
        pytest.param({"data": 2, "fsdp": 2, "seq": 2}, marks=pytest.mark.slow),
    ],
)
def test_one_clip_on_several_devices(folder, tmp_path, sizes):
    """Whatever is split, the edit is that of one device, up to a grey level."""
    name, lora, size = str(folder), folder.parent / "edit.safetensors", small_models.SIZE
    if "seq" in sizes:  # the other has three heads
        name, lora, size = str(tiny_model.write(tmp_path)), None, {}
    edits = []
    for mesh in (None, sharding.make_mesh(**sizes)):
        editor = EasyV2VEditor(pretrained.load_pretrained(name, mesh=mesh, dtype="float32", **size))
        if lora is not None:
            editor.load_lora_weights(lora)
        frames = editor.edit_video(picture(5, 40, 48), "make it sepia", steps=2).frames
        edits.append(np.asarray(list(frames)).astype(int))
    assert np.abs(edits[1] - edits[0]).max() <= 1


@pytest.mark.slow
def test_meshes_of_the_command_line(folder, clip, tmp_path, capsys):
    words = ["edit", clip, "make it sepia", "--model", folder, "--lora", folder.parent / "edit.safetensors"]
    words += ["--size", SIZE, "--steps", 1, "-o", tmp_path / "out.mp4"]
    assert v2v(*words, "--mesh", "data=2,fsdp=4") == 0, capsys.readouterr().err
    assert v2v(*words, "--overwrite", "--mesh", "seq=3") == 2
    assert "multiply to 8 devices" in capsys.readouterr().err
    for wrong in ("seq", "rows=2", "seq=2,seq=4"):
        with pytest.raises(SystemExit):
            v2v(*words, "--mesh", wrong)


def test_adapters_convert_for_other_tools(folder, editing, tmp_path):
    """The two files read back as the same adapter, in either naming."""
    for style in ("original", "diffusers"):
        out = tmp_path / f"{style}.safetensors"
        words = ["convert", folder.parent / "edit.safetensors", out, "--model", folder, "--dtype", "float32"]
        assert v2v(*words, "--format", style) == 0
        original = adapters.load_adapter(folder.parent / "edit.safetensors", editing.config)
        converted = adapters.load_adapter(out, editing.config)
        for name in ("lora", "embed"):
            jax.tree.map(np.testing.assert_array_equal, getattr(converted, name), getattr(original, name))
        assert converted.condition == editing.config.condition
    assert v2v("convert", folder.parent / "edit.safetensors", tmp_path / "c.safetensors") == 2


def load_frozen(folder, weights_dtype):
    """The transformer on which `v2v train` trains an adapter, on two devices."""
    experiment = Experiment(weights_dtype=weights_dtype, mesh=MeshConfig(data=4, fsdp=2))
    published = model_folder.read_model_folder(folder)
    model = dataclasses.replace(published.config, **small_models.SIZE)
    return fine_tuning._load_transformer(dataclasses.replace(experiment, model=model), published)


@pytest.mark.slow
@pytest.mark.parametrize(
    "weights_dtype",
    ["int8", "fp8", "nf4"],
)
def test_weights_in_few_bits_from_every_kind_of_folder(weights_dtype, folder, editing, tmp_path, capsys):
    """Read in few bits, converted to them, and read so from a converted folder: the same weights, near those of the model."""
    opened = pretrained.load_pretrained(str(folder), weights_dtype=weights_dtype, **small_models.SIZE)
    with expect_note(f"{weights_dtype} weights of dit: their rounding lies"):
        read = opened.with_lora(folder.parent / "edit.safetensors").variables()["params"]
    assert v2v("convert", folder, tmp_path / "wan") == 0
    words = ("convert", folder, tmp_path / "wan8", "--lora", folder.parent / "edit.safetensors")
    assert v2v(*words, "--weights-dtype", weights_dtype) == 0, capsys.readouterr().err
    later = pretrained.load_pretrained(
        str(tmp_path / "wan"), weights_dtype=weights_dtype, **small_models.SIZE
    )
    later = later.with_lora(folder.parent / "edit.safetensors").variables()["params"]
    stored = pretrained.load_pretrained(str(tmp_path / "wan8"), **small_models.SIZE)
    expected = editing.variables()["params"]
    for tree in (read, later, stored.variables()["params"]):
        leaves = tree["blocks"]["ffn"]["up"]
        assert quantized.format_name(leaves["kernel"].dtype) == weights_dtype
        back = quantized.dequantize(leaves["kernel"], leaves["kernel_scale"])
        exact = np.asarray(expected["blocks"]["ffn"]["up"]["kernel"], np.float32)
        error = {"int8": 0.02, "fp8": 0.07, "nf4": 0.25}[weights_dtype]
        assert float(jnp.abs(back - exact).max()) < error * np.abs(exact).max()
    frozen = load_frozen(folder, weights_dtype)
    base = opened._store.get("dit")
    jax.tree.map(np.testing.assert_array_equal, frozen, base)
    sizes = (pretrained.load_pretrained(str(folder))._store.sizes, stored._store.sizes)
    assert all(sizes[1][part] < sizes[0][part] for part in ("dit", "text"))
    for part, size in sizes[1].items():
        assert sum(x.nbytes for x in jax.tree.leaves(stored._store.get(part))) == size
    assert v2v("doctor", "--model", tmp_path / "wan8", "--json") == 0
    assert printed(capsys)["model"]["held_bytes"] == sizes[1]
    with pytest.raises(InputError, match=f"{weights_dtype} already"):
        pretrained.load_pretrained(str(tmp_path / "wan8"), weights_dtype="bfloat16")


def test_blocks_streamed_from_the_host_edit_alike(folder, editing, monkeypatch):
    """On a device too small for the transformer; here the host's pinned memory is the device's too."""
    small = pretrained.load_pretrained(str(folder), **small_models.SIZE)
    small = small.with_lora(folder.parent / "edit.safetensors")
    whole = small.part_sizes["dit"]
    # Truly two blocks are as much as the whole of this model.
    monkeypatch.setattr(parameter_store, "streamed_bytes", lambda config: whole // 2)
    small._device = DeviceMemory(1 << 40, 1 << 40, "gpu")
    working = small.plan_memory(1).phase("sample").working_bytes
    small._device = DeviceMemory(working + whole - 1, 1 << 40, "gpu")
    plan = small.plan_memory(1)
    assert plan.streams and plan.phase("sample").weight_bytes == whole // 2
    streamed = sample(small)
    kinds = {
        path: leaf.sharding.memory_kind
        for path, leaf in flax.traverse_util.flatten_dict(
            small._store.get("dit", small._applied["dit"].weighted, True), sep="/"
        ).items()
    }
    kernels = {path for path in kinds if path.startswith("blocks/") and path.endswith("/kernel")}
    assert len(kernels) == 10 and {path for path, kind in kinds.items() if kind == "pinned_host"} == kernels
    np.testing.assert_array_equal(streamed, sample(editing))
    small._store.retain()  # what is left on the device waits on the host too, and comes back
    assert not small._store.has_loaded("dit")
    np.testing.assert_array_equal(sample(small), streamed)
