"""The detail network: untrained it changes nothing, its file describes itself, and it is used only where it changes an edit."""

import json

import cv2
import jax
import numpy as np
import optax
import pytest
import safetensors.numpy

from data_synth.detail_examples import NAMES, DetailExamples
from data_synth.operators.looks import apply_look
from data_synth.picture_clips import read_picture_folders
from data_synth.rng import build_rng
from tests.example_clips import picture
from tests.fake_model import FakePretrained, grey
from v2v import EasyV2VEditor, InputError
from v2v.checkpoints.detail_file import DetailWeights, load_detail, save_detail
from v2v.config import DetailConfig
from v2v.models.detail_network import DetailNetwork, depth_to_space, merge_detail, space_to_depth
from v2v.pipeline.network_transfer import NetworkTransfer, choose_upsampler
from v2v.train import detail
from v2v.video.detail_transfer.transfer import DetailTransfer
from v2v.video.pixels import denormalize_pixels, normalize_pixels

CONFIG = DetailConfig(lines=32, widths=(4, 6), code_width=4)


@pytest.fixture(scope="module")
def weights():
    frame = np.zeros((1, 16, 16, 3), np.float32)
    params = jax.jit(DetailNetwork(CONFIG).init)(jax.random.key(0), *[frame] * 4)["params"]
    return DetailWeights(CONFIG, jax.tree.map(np.asarray, params))


def shift(weights, levels, gain=0.0):
    """Return weights that add levels to the edit, and a number to the gain."""
    bias = np.tile(np.float32([levels / 127.5] * 3 + [gain]), 4)
    return DetailWeights(CONFIG, weights.params | {"out": weights.params["out"] | {"bias": bias}})


@pytest.fixture(scope="module")
def clip():
    """A large frame, and its small source and edit."""
    frame = picture(1, 96, 128)[0]
    source = cv2.resize(frame, (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
    edit = np.repeat(source.mean(-1, keepdims=True), 3, -1)
    return frame, source, edit, DetailTransfer.fit(source[None], edit[None])


def test_untrained_it_is_the_transfer_and_is_left_out(weights, clip):
    frame, source, edit, transfer = clip
    network = NetworkTransfer(transfer, weights)
    assert network.measure_change(source, edit) == 0
    assert choose_upsampler(transfer, weights, source[None], edit[None]) is transfer
    low = cv2.resize(frame, (44, 32), interpolation=cv2.INTER_AREA)
    change = transfer(low, source, edit).astype(np.float32) - low
    expected = frame + cv2.resize(change, (128, 96), interpolation=cv2.INTER_LINEAR)
    out = network(frame, source, edit)
    np.testing.assert_allclose(out, expected.clip(0, 255), atol=0.51)
    np.testing.assert_array_equal(
        network(frame, source, edit, (slice(8, 40), slice(64, 100))), out[8:40, 64:100]
    )


@pytest.mark.parametrize("gain", [0.0, -1.0])
def test_what_it_adds_is_in_the_frame_as_in_training(weights, clip, gain):
    frame, source, edit, transfer = clip
    trained = shift(weights, 20, gain)
    network = choose_upsampler(transfer, trained, source[None], edit[None])
    assert isinstance(network, NetworkTransfer) and network.measure_change(source, edit) == pytest.approx(
        20, abs=1e-3
    )
    low = cv2.resize(frame, (44, 32), interpolation=cv2.INTER_AREA)
    images = [normalize_pixels(image)[None] for image in (low, transfer(low, source, edit), source, edit)]
    merged = merge_detail(
        images[0],
        normalize_pixels(frame)[None],
        jax.jit(DetailNetwork(CONFIG).apply)({"params": trained.params}, *images),
    )
    expected = denormalize_pixels(np.asarray(merged[0])).clip(0, 255)
    np.testing.assert_allclose(network(frame, source, edit), expected, atol=0.51)


def test_an_edit_uses_it_inside_the_mask_alone(weights):
    frames = picture(3, 40, 56)
    mask = np.zeros((40, 56), np.uint8)
    mask[:, :28] = 255
    plain = EasyV2VEditor(FakePretrained()).edit_video(frames, "make it grey", mask=mask).frames
    model = FakePretrained(detail_network=shift(weights, 30))
    edited = EasyV2VEditor(model).edit_video(frames, "make it grey", mask=mask).frames
    np.testing.assert_array_equal(edited[:, :, 28:], frames[:, :, 28:])
    rise = edited[:, :, :28].astype(int) - grey(frames)[:, :, :28]
    assert np.median(rise) == pytest.approx(30, abs=3) and (edited[:, :, :28] != plain[:, :, :28]).any()


def test_its_file_describes_itself(weights, tmp_path):
    path = tmp_path / "detail.safetensors"
    save_detail(path, weights)
    loaded = load_detail(path)
    assert loaded.config == CONFIG
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), loaded.params, weights.params)
    assert load_detail(path).config.widths == (4, 6)


@pytest.mark.parametrize(
    "header, message",
    [
        (None, "whose header tells its sizes"),
        ({"lines": 32}, "expected the sizes of a detail network"),
        ({"lines": 32, "widths": [4, -6], "code_width": 4}, "expected the sizes"),
        ({"lines": 32, "widths": [4, 8], "code_width": 4}, "don't fit"),
    ],
)
def test_another_file_is_refused_by_name(weights, tmp_path, header, message):
    path = tmp_path / "detail.safetensors"
    save_detail(path, weights)
    tensors = safetensors.numpy.load_file(path)
    metadata = None if header is None else {"detail_network": json.dumps(header)}
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=message):
        load_detail(path)
    with pytest.raises(InputError, match="found none"):
        load_detail(tmp_path / "missing.safetensors")


def test_depth_and_space_are_inverse():
    x = np.arange(2 * 4 * 6 * 5, dtype=np.float32).reshape(2, 4, 6, 5)
    deep = space_to_depth(x)
    assert deep.shape == (2, 2, 3, 20)
    np.testing.assert_array_equal(deep[0, 0, 0], x[0, :2, :2].reshape(-1))
    np.testing.assert_array_equal(depth_to_space(deep), x)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.png"), picture(1, 120, 150)[0][..., ::-1] // (i + 1))
    return DetailExamples(
        read_picture_folders(folder), lines=32, small=16, side=24, crops=2, names=("sketch", "sepia")
    )


def test_examples_are_exact_and_repeat(examples):
    seen = set()
    for seed in range(5):
        example = examples(seed)
        seen.add(example.name)
        assert example.frames.shape == example.transfer.shape == (2, 24, 24, 3)
        assert example.large.shape == example.target.shape == (2, 48, 48, 3)
        assert example.source.shape == (16, 16, 3) and example.source.dtype == np.float32
        np.testing.assert_array_equal(example.target, examples(seed).target)
        if example.name == "sketch":
            whole = DetailExamples(examples.pictures, 32, 16, 32, 1, examples.names)(seed)
            exact = apply_look("sketch", whole.large, build_rng(seed, "detail look"))
            np.testing.assert_array_equal(whole.target, exact)
    assert {"sketch", "sepia"} <= seen <= {"sketch", "sepia", ""} and "sketch" in NAMES


@pytest.mark.slow
def test_the_objective_learns(examples, weights):
    rows = [vars(examples(seed)) for seed in range(2)]
    names = ("source", "edit", "frames", "transfer", "large", "target")
    batch = {name: np.stack([row[name] for row in rows]) for name in names}
    batch["target"] = 255 - batch["large"]
    objective = detail.objective(DetailNetwork(CONFIG))
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(trained, state):
        drawn, total = objective.draw(jax.random.key(0), batch)
        (value, metrics), grads = jax.value_and_grad(objective.loss, has_aux=True)(
            trained, None, drawn, total
        )
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(trained, updates), state, value, metrics

    trained = {"detail": weights.params}
    state, values = optimizer.init(trained), []
    for _ in range(40):
        trained, state, value, metrics = step(trained, state)
        values.append(float(value))
    assert values[-1] < 0.8 * values[0] and float(metrics["loss"]) == pytest.approx(values[-1])
