"""The nodes for ComfyUI without it: NumPy's arrays in place of tensors, a model without weights, and a server on this machine."""

import contextlib
import importlib.util
import json
import socket
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from tests.example_clips import picture
from tests.fake_model import FakePretrained
from tools.comfyui import editors, host, media, nodes
from v2v import EasyV2VEditor
from v2v.app.access import Tokens
from v2v.app.job_files import JobFiles
from v2v.app.job_store import JobStore
from v2v.app.server import build_server
from v2v.app.worker import Worker, WorkerThread
from v2v.language.abilities import load_abilities
from v2v.pipeline.instruction import plan_instruction

FOLDER = Path(nodes.__file__).parent
TOKEN = "t" * 20
CLIP = picture(5, 32, 48)
IMAGES = CLIP.astype(np.float32) / 255


@pytest.fixture(autouse=True)
def arrays(monkeypatch):
    """Without torch, whether or not it is installed; tests/parity has the tensors."""
    monkeypatch.setattr(media, "torch", None)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(
        EasyV2VEditor, "from_pretrained", classmethod(lambda cls, name, **_: cls(FakePretrained()))
    )
    return nodes.LoadModel().load("embedded")[0]


@pytest.fixture
def comfy(monkeypatch):
    """A stand-in for ComfyUI: its bar, and its button."""

    class InterruptProcessingException(Exception):
        pass

    shown, pressed = [], [False]

    class ProgressBar:
        def __init__(self, total):
            self.total = total

        def update_absolute(self, value, total=None):
            shown.append(value / total)

    def raise_if_pressed():
        if pressed[0]:
            pressed[0] = False
            raise InterruptProcessingException

    management = types.SimpleNamespace(
        processing_interrupted=lambda: pressed[0],
        throw_exception_if_processing_interrupted=raise_if_pressed,
        Interrupted=InterruptProcessingException,
    )
    program = types.SimpleNamespace(
        model_management=management, utils=types.SimpleNamespace(ProgressBar=ProgressBar)
    )
    monkeypatch.setattr(host, "comfy", program)
    return types.SimpleNamespace(shown=shown, pressed=pressed, interrupted=InterruptProcessingException)


def edit(editor, images=IMAGES, instruction="make it grey", **inputs):
    values = {"fps": 25.0, "seed": 0, "steps": 0, **inputs}
    return nodes.EditVideo().edit(editor, images, instruction, **values)


def expected(**settings):
    frames = EasyV2VEditor(FakePretrained()).edit_video(CLIP, "make it grey", **settings).frames
    return frames.astype(np.float32) / 255


@contextlib.contextmanager
def serving(folder, model=None):
    """A server with a worker, as `v2v serve` starts them."""
    files, store = JobFiles(folder / "jobs"), JobStore(f"sqlite:///{folder / 'jobs.db'}")
    app = build_server(store, files, model="fake", tokens=Tokens({TOKEN: "ann"}))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        worker = WorkerThread.start(Worker(EasyV2VEditor(model or FakePretrained()), store, files, "fake"))
        try:
            while not server.started:
                time.sleep(0.01)
            yield types.SimpleNamespace(
                address=f"http://127.0.0.1:{listener.getsockname()[1]}", store=store, files=files
            )
        finally:
            worker.stop()
            server.should_exit = True
            thread.join()
            store.close()


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setenv("V2V_TOKEN", TOKEN)
    monkeypatch.setattr(editors, "POLL", 0.02)
    with serving(tmp_path) as server:
        yield server


def test_the_folder_is_a_package_of_nodes():
    """Loaded as ComfyUI loads it: by its path, under a name of its own."""
    spec = importlib.util.spec_from_file_location("custom_nodes_v2v", FOLDER / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        assert set(module.NODE_CLASS_MAPPINGS) == set(module.NODE_DISPLAY_NAME_MAPPINGS)
        for node in module.NODE_CLASS_MAPPINGS.values():
            inputs = node.INPUT_TYPES()
            names = [*inputs["required"], *inputs.get("optional", {})]
            function = getattr(node, node.FUNCTION)
            taken = function.__code__.co_varnames[1 : function.__code__.co_argcount]
            assert sorted(names) == sorted(taken) and node.CATEGORY == "v2v"
            assert isinstance(node.RETURN_TYPES, tuple) and len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    finally:
        for name in [name for name in sys.modules if name.startswith(spec.name)]:
            del sys.modules[name]


def test_the_workflow_fits_the_nodes():
    flow = json.loads((FOLDER / "example_workflows" / "edit_video.json").read_text())
    by_id = {node["id"]: node for node in flow["nodes"]}
    links = {link[0]: link for link in flow["links"]}
    for number, source, slot, target, place, kind in flow["links"]:
        output, entry = by_id[source]["outputs"][slot], by_id[target]["inputs"][place]
        assert number in output["links"] and entry["link"] == number
        assert output["type"] == entry["type"] == kind
    assert flow["last_link_id"] == max(links) and flow["last_node_id"] == max(by_id)
    for node in flow["nodes"]:
        if node["type"] not in nodes.NODE_CLASS_MAPPINGS:
            continue
        kind = nodes.NODE_CLASS_MAPPINGS[node["type"]]
        assert [output["type"] for output in node["outputs"]] == list(kind.RETURN_TYPES)
        inputs = {**kind.INPUT_TYPES()["required"], **kind.INPUT_TYPES().get("optional", {})}
        assert all(inputs[entry["name"]][0] == entry["type"] for entry in node["inputs"])
        widgets = []
        for declared, *options in inputs.values():
            if isinstance(declared, list) or declared in ("STRING", "INT", "FLOAT", "BOOLEAN"):
                widgets.append(declared)
                # ComfyUI adds one that says what becomes of the seed.
                widgets += ["CONTROL"] if options and options[0].get("control_after_generate") else []
        assert len(node["widgets_values"]) == len(widgets)
        for declared, value in zip(widgets, node["widgets_values"], strict=True):
            assert not isinstance(declared, list) or value in declared


def test_looks_and_places_are_understood_by_the_packaged_model():
    abilities = load_abilities(Path(nodes.__file__).parents[2] / "v2v" / "assets" / "embedded")
    for look in nodes.LOOKS:
        for place in nodes.PLACES:
            (step,) = plan_instruction(nodes.Look().say(look, place)[0], abilities)
            assert step.is_look and (step.place is None) == (place == "everywhere")


def test_an_edit_in_process(fake):
    images, report = edit(fake, seed=3)
    np.testing.assert_array_equal(images, expected())
    assert images.dtype == np.float32 and json.loads(report)["seed"] == 3
    gray = edit(fake, IMAGES[..., :1])[0]
    np.testing.assert_allclose(gray, np.repeat(gray[..., :1], 3, -1), atol=2 / 255)
    clear = np.concatenate([IMAGES, np.ones_like(IMAGES[..., :1])], -1)
    np.testing.assert_array_equal(edit(fake, clear)[0], images)


def test_masks_times_and_settings(fake):
    mask = np.zeros((1, 32, 48), np.float32)
    mask[:, :, :24] = 1
    half = edit(fake, mask=mask, detail="model", steps=2, start=0.08)[0]
    np.testing.assert_array_equal(
        half, expected(mask=np.uint8(255 * mask[0]), detail="model", steps=2, start=0.08)
    )
    np.testing.assert_array_equal(half[:2], IMAGES[:2])
    np.testing.assert_array_equal(edit(fake, mask_name="0,0,24,32")[0], edit(fake, mask=mask)[0])
    each = np.repeat(mask, 5, 0)
    np.testing.assert_array_equal(edit(fake, mask=each)[0], edit(fake, mask=mask)[0])
    # What LoadImage gives for a picture without transparency.
    np.testing.assert_array_equal(edit(fake, mask=np.zeros((1, 64, 64)))[0], edit(fake)[0])
    red = np.zeros((1, 8, 8, 3), np.float32)
    red[..., 0] = 1
    seen = edit(fake, instruction="colours of the reference", reference=red, detail="model")[0]
    np.testing.assert_allclose(seen.mean((0, 1, 2)), [1, 0, 0], atol=0.02)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"images": np.zeros((2, 3))}, r"images: expected pictures \[B, H, W, C\], got \[2, 3\]"),
        ({"images": IMAGES * np.nan}, "images: expected numbers"),
        ({"mask": np.ones((1, 8, 8))}, "mask: expected the clip's size, 48x32, got 8x8; resize it"),
        ({"mask": np.ones((3, 32, 48))}, "mask: expected one, or one for each of 5 frames, got 3"),
        ({"mask": np.ones((1, 32, 48)), "mask_name": "left"}, "got both"),
        ({"start": 9.0}, "start"),
        ({"instruction": " "}, "instruction: expected a sentence"),
        ({"fps": 0.0}, "fps: expected more than 0"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(fake, inputs, message):
    with pytest.raises(RuntimeError, match=message) as caught:
        edit(fake, **inputs)
    assert str(caught.value).startswith("v2v: ") and "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_model_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="v2v: .*none"):
        nodes.LoadModel().load(str(tmp_path / "none"))
    monkeypatch.setitem(sys.modules, "v2v", None)
    with pytest.raises(RuntimeError, match="v2v is not installed .*pip install v2v-edit"):
        nodes.LoadModel().load("embedded")


def test_the_bar_moves_and_the_button_stops(fake, comfy):
    edit(fake)
    assert comfy.shown == sorted(comfy.shown) and comfy.shown[0] < 0.2 and comfy.shown[-1] == 1
    comfy.pressed[0] = True
    with pytest.raises(comfy.interrupted):
        edit(fake)
    assert not comfy.pressed[0]


def test_an_edit_on_a_server(remote, comfy):
    (editor,) = nodes.Server().connect(remote.address, "V2V_TOKEN")
    mask = np.zeros((1, 32, 48), np.float32)
    mask[:, :, :24] = 1
    images, report = edit(editor, seed=4, steps=2, mask=mask, anyway=True)
    assert images.shape == IMAGES.shape and json.loads(report)["seed"] == 4
    # The server gives an MP4.
    assert np.abs(images - expected(mask=np.uint8(255 * mask[0]), steps=2)).mean() < 0.03
    moving = edit(editor, mask=np.repeat(mask, 5, 0), reference=IMAGES[:1])[0]
    assert np.abs(moving - images).mean() < 0.02
    assert comfy.shown[-1] == 1
    # Nothing is left on the server.
    assert remote.store.list("ann") == [] and list(remote.files.root.iterdir()) == []


def test_what_a_server_refuses(remote, tmp_path):
    (editor,) = nodes.Server().connect(remote.address, "V2V_TOKEN")
    with pytest.raises(RuntimeError, match="v2v: server: .*mask: expected a file, a box"):
        edit(editor, mask_name="/etc/passwd")
    with pytest.raises(RuntimeError, match="v2v: server: .*start"):
        edit(editor, start=9.0)
    (stranger,) = nodes.Server().connect(remote.address, "NOT_SET")
    with pytest.raises(RuntimeError, match="Authorization: Bearer TOKEN"):
        edit(stranger)
    for address, message in (
        ("ftp://x", "expected an address"),
        ("", "expected an address"),
        ("http://127.0.0.1:9", "doesn't answer"),
    ):
        with pytest.raises(RuntimeError, match=message):
            nodes.Server().connect(address)


def test_the_button_stops_an_edit_on_a_server(tmp_path, comfy, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()
    monkeypatch.setenv("V2V_TOKEN", TOKEN)
    monkeypatch.setattr(editors, "POLL", 0.02)

    class Waiting(FakePretrained):
        def sample(self, request):
            entered.set()
            comfy.pressed[0] = True
            assert go_on.wait(300)
            return super().sample(request)

    with serving(tmp_path, Waiting()) as server:
        (editor,) = nodes.Server().connect(server.address, "V2V_TOKEN")
        with pytest.raises(comfy.interrupted):
            edit(editor)
        assert entered.is_set() and server.store.list("ann") == []
        go_on.set()
