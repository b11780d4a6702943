"""Headers and configurations that no tool should write, and some do: read where the meaning is clear, else one line, no traceback."""

import json
import struct

import numpy as np
import pytest

from tests.checkpoints import small_models
from tests.checkpoints.test_lora_files import ALPHA, RANK, same
from tests.checkpoints.test_lora_files import adapter as lora_tree
from tests.checkpoints.test_lora_files import write as write_lora
from v2v.checkpoints import adapters, lora_files, model_folder
from v2v.checkpoints.lora_files import METADATA_KEY
from v2v.checkpoints.tensor_files import TensorFiles
from v2v.cli import doctor, main
from v2v.errors import InputError

CFG = small_models.config()


def write_raw(path, header: bytes, data: bytes = b""):
    """Write a file with this header, whatever it says."""
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def change_metadata(path, metadata):
    """Replace "__metadata__" in the header of a file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    return write_raw(path, json.dumps({**header, "__metadata__": metadata}).encode(), content[8 + length :])


def slot(**fields) -> bytes:
    return json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **fields}}).encode()


def comfy_lora(path, metadata):
    return change_metadata(write_lora(path, "original", "diffusion_model.{}".format), metadata)


def diffusers_lora(path, **fields):
    settings = {f"transformer.{key}": value for key, value in {"r": RANK, **fields}.items()}
    metadata = {METADATA_KEY: json.dumps(settings)}
    return write_lora(path, "diffusers", "transformer.{}".format, metadata=metadata)


def test_null_metadata_is_none(tmp_path):
    from tests.parity import tiny

    path = comfy_lora(tmp_path / "lora.safetensors", None)
    same(lora_files.load_lora(path, tiny.config()).lora, lora_tree())


def test_null_metadata_in_the_shards_of_a_model(tmp_path):
    folder = small_models.write(tmp_path / "wan")
    for path in folder.rglob("*.safetensors"):
        change_metadata(path, None)
    report = doctor.diagnose(str(folder))
    assert report.problems == []


@pytest.mark.parametrize("metadata", [[], "text", 7, {"format": 1}, {"format": None}, {"format": ["pt"]}])
def test_metadata_is_a_mapping_of_texts(tmp_path, metadata):
    path = comfy_lora(tmp_path / "lora.safetensors", metadata)
    with pytest.raises(InputError, match="lora.safetensors: expected __metadata__ to map names to texts"):
        TensorFiles.open(path)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 200_000,
        b'{"x":' * 200_000,
        slot(shape=[2, "4"]),
        slot(shape=[-1, -2]),
        slot(shape=[True, 2]),
        slot(shape=[2.0]),
        slot(shape="2"),
        slot(shape={"2": 1}),
        slot(shape=[1 << 62, 4]),
        slot(shape=[1 << 80]),
        slot(shape=[10**4000]),
        slot(dtype=["F32"]),
        slot(dtype=4),
        slot(data_offsets=[0.0, 8.0]),
        slot(data_offsets=["0", "8"]),
        slot(data_offsets=[8, 0]),
        slot(data_offsets=[-8, 0]),
        slot(data_offsets=[0, 1 << 70]),
        slot(data_offsets=[0]),
        slot(data_offsets=[0, 8, 16]),
        slot(data_offsets=None),
        b'{"x": []}',
        b"[]",
        b"null",
        b"\xff\xfe\x00\x01",
        b"",
    ],
)
def test_headers_of_no_tensor_file(tmp_path, header):
    path = write_raw(tmp_path / "x.safetensors", header, bytes(8))
    with pytest.raises(InputError, match=r"x\.safetensors: ") as error:
        TensorFiles.open(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"weight_map": {"x": 5}}', '{"weight_map": {"x": 5, "y": "a"}}', "[]", "5"]
)
def test_indices_of_no_files(tmp_path, text):
    (tmp_path / "m.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match="expected an index with a weight_map of names to files"):
        TensorFiles.open(tmp_path)


@pytest.mark.parametrize("settings", ["[]", "null", '"x"', "7", "[" * 200_000, "{"])
def test_settings_of_an_adapter_are_an_object(tmp_path, settings):
    path = write_lora(
        tmp_path / "lora.safetensors", "diffusers", "transformer.{}".format, metadata={METADATA_KEY: settings}
    )
    with pytest.raises(InputError, match="lora.safetensors: expected lora_adapter_metadata"):
        adapters.load_adapter(path, CFG)


@pytest.mark.parametrize("alpha", ["auto", [4], {}, True, float("nan"), float("inf"), 10**400, "10"])
@pytest.mark.parametrize("place", ["lora_alpha", "alpha_pattern"])
def test_alpha_is_a_number(tmp_path, alpha, place):
    fields = {"lora_alpha": alpha} if place == "lora_alpha" else {"alpha_pattern": {r"blocks\.0\..*": alpha}}
    path = diffusers_lora(tmp_path / "lora.safetensors", **fields)
    with pytest.raises(InputError, match=f"{place}.*expected a number"):
        adapters.load_adapter(path, CFG)


@pytest.mark.parametrize("patterns", [[], ["q"], "q", 7])
def test_patterns_are_a_mapping(tmp_path, patterns):
    path = diffusers_lora(tmp_path / "lora.safetensors", lora_alpha=ALPHA, alpha_pattern=patterns)
    if not patterns:
        adapters.load_adapter(path, small_models.tiny.config())
        return
    with pytest.raises(InputError, match="alpha_pattern: expected a mapping"):
        adapters.load_adapter(path, CFG)


@pytest.mark.parametrize("pattern", ["(", "[", "*", "a{99999999999}", "(" * 5000 + ")" * 5000])
def test_patterns_are_regular_expressions(tmp_path, pattern):
    path = diffusers_lora(tmp_path / "lora.safetensors", lora_alpha=ALPHA, alpha_pattern={pattern: 2.0})
    with pytest.raises(
        InputError, match="alpha_pattern: (expected regular expressions|.* may take for ever)"
    ) as error:
        adapters.load_adapter(path, CFG)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "pattern",
    ["([a-z0-9_.]+)+!", "(.|.)*!", ".*.*.*.*!", "a?" * 30, "(a|a)" * 30, "(?:(?:x+y?)*)*!", "a" * 2000],
)
def test_patterns_that_may_take_for_ever(tmp_path, pattern):
    path = diffusers_lora(tmp_path / "lora.safetensors", lora_alpha=ALPHA, alpha_pattern={pattern: 2.0})
    with pytest.raises(InputError, match="alpha_pattern: .* may take for ever") as error:
        adapters.load_adapter(path, CFG)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "pattern", [r"blocks\.(\d+)\.(attn1|attn2)\.to_(q|k|v)", r".*attn.*", r"[a-z(*)+]+\.q", r"(?:to_q|to_k)"]
)
def test_patterns_of_other_tools(tmp_path, pattern):
    path = diffusers_lora(tmp_path / "lora.safetensors", lora_alpha=ALPHA, alpha_pattern={pattern: 2.0})
    adapters.load_adapter(path, CFG)


def test_alpha_tensors_hold_one_number(tmp_path):
    from v2v.checkpoints import safetensors_file

    for alpha in (np.zeros((0,), np.float32), np.ones((2,), np.float32)):
        tensors = {
            "blocks.0.self_attn.q.lora_A.weight": np.ones((2, 60), np.float32),
            "blocks.0.self_attn.q.lora_B.weight": np.ones((60, 2), np.float32),
            "blocks.0.self_attn.q.alpha": alpha,
        }
        safetensors_file.write_safetensors(tmp_path / "lora.safetensors", tensors)
        with pytest.raises(InputError, match="self_attn.q.alpha.*expected one number"):
            adapters.load_adapter(tmp_path / "lora.safetensors", small_models.tiny.config())


@pytest.mark.parametrize(
    "text", ["[]", "[" * 200_000, '{"layout": 5}', '{"layout": "diagonal"}', '{"colour": "red"}', "{"]
)
def test_layouts_of_conditions(tmp_path, text):
    cfg, path = CFG, tmp_path / "edit.safetensors"
    adapters.save_adapter(path, small_models.adapter(cfg), cfg)
    change_metadata(adapters.embeddings_path(path), {adapters.CONDITION_KEY: text})
    with pytest.raises(InputError, match="v2v_condition in its header"):
        adapters.load_adapter(path, cfg)


@pytest.mark.parametrize(
    "names",
    [
        ["lora/x", "lora/x/a"],
        ["lora", "embed/source"],
        ["lora/blocks/self_attn/q/a", "embed"],
        ["lora/x/a", "embed/source/kernel"],
        ["lora/x/a", "lora/x/b:scale"],
        ["lora/x/a", "lora/x/b", "lora/x/b:scale"],
        ["lora/", "lora//"],
        ["lora/a", "lora/b"],
        ["embed/"],
    ],
)
def test_trees_that_are_no_adapter(tmp_path, names):
    from v2v.checkpoints import safetensors_file

    tensors = {name: np.ones((3, i + 2), np.float32) for i, name in enumerate(names)}
    safetensors_file.write_safetensors(tmp_path / "lora.safetensors", tensors)
    with pytest.raises(InputError, match="lora.safetensors: ") as error:
        adapters.load_adapter(tmp_path / "lora.safetensors", CFG)
    assert "\n" not in str(error.value)


CONFIGS = ["[]", "7", "null", "[" * 200_000, '{"num_attention_heads": "many"}', '{"eps": "small"}', "\xff"]


@pytest.mark.parametrize("text", CONFIGS)
@pytest.mark.parametrize(
    "name", ["transformer/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"]
)  # fmt: skip
def test_configurations_of_a_model(tmp_path, name, text):
    folder = small_models.write(tmp_path / "wan")
    (folder / name).write_bytes(text.encode("latin-1"))
    report = doctor.diagnose(str(folder))
    assert all("\n" not in problem for problem in report.problems)
    try:
        model_folder.read_model_folder(folder)
    except InputError as error:
        assert str(folder) in str(error) and "\n" not in str(error)


def test_a_scheduler_whose_shift_is_no_number(tmp_path):
    folder = small_models.write(tmp_path / "wan")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"flow_shift": "a lot"}')
    with pytest.raises(InputError, match="configuration"):
        model_folder.read_model_folder(folder)


@pytest.mark.parametrize("text", ["[]", "7", "[" * 200_000, '{"dit": 5}', '{"dit": {"width": "wide"}}'])
def test_configurations_of_a_folder_of_ours(tmp_path, text):
    (tmp_path / "base.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(text)
    (problem,) = doctor.diagnose(str(tmp_path)).problems
    assert "config" in problem and "\n" not in problem


def test_doctor_survives_what_nobody_foresaw(tmp_path, monkeypatch, capsys):
    def fail(*args):
        raise ZeroDivisionError("a fault of ours\nin two lines")

    monkeypatch.setattr(adapters, "load_adapter", fail)
    assert main.main(["doctor", "--model", "embedded", "--lora", str(tmp_path / "x.safetensors")]) == 2
    out, err = capsys.readouterr()
    assert "problem: embedded: can't be examined (ZeroDivisionError: a fault of ours)" in out
    assert "Traceback" not in err
