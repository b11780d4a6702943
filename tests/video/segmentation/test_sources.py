"""Names of mask sources, masks on disk, halves of the frame, and files of networks from a loopback server."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests.notes import expect_note
from v2v.errors import InputError
from v2v.video.segmentation import model_files, networks, registry
from v2v.video.segmentation.base import PartialMask, StoredMask
from v2v.video.segmentation.model_files import ModelFile, ModelFiles


def test_masks_are_stored_exactly():
    store = StoredMask()
    masks = [np.random.default_rng(k).integers(0, 2**bits, (9, 14)).astype(kind) for k, (bits, kind) in enumerate(((8, np.uint8), (16, np.uint16)))]  # fmt: skip
    for mask in masks:
        store.append(mask)
    assert len(store) == 2 and all(np.array_equal(a, b) for a, b in zip(store, masks, strict=True))
    assert np.array_equal(store[0], masks[0])
    with pytest.raises(IndexError):
        store[2]


def test_a_part_of_a_clip():
    store = StoredMask()
    for level in (10, 20):
        store.append(np.full((2, 3), level, np.uint8))
    whole = PartialMask(store, 1, 4)
    assert [int(mask[0, 0]) for mask in whole] == [0, 10, 20, 0] and len(whole) == 4


@pytest.mark.parametrize(
    ("name", "pixel", "other", "area"),
    [
        ("left", (3, 0), (3, 9), 0.5),
        ("right", (3, 9), (3, 0), 0.5),
        ("top", (0, 4), (7, 4), 0.5),
        ("bottom", (7, 4), (0, 4), 0.5),
        ("center", (4, 5), (0, 0), 0.3),
    ],
)
def test_halves(name, pixel, other, area, tmp_path):
    found = registry.build_mask_source(name, ModelFiles(tmp_path)).find([np.zeros((8, 10, 3), np.uint8)] * 3)
    (mask,) = found
    assert len(found) == 1 and mask[pixel] == 255 and mask[other] == 0
    assert np.mean(mask == 255) == pytest.approx(area, abs=0.06)


def test_a_frame_without_halves(tmp_path):
    with pytest.raises(InputError, match="at least 2x2 pixels, got 1x1"):
        registry.build_mask_source("left", ModelFiles(tmp_path)).find([np.zeros((1, 1, 3), np.uint8)])


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert registry.is_mask_source("person") and not registry.is_mask_source("persons")
    assert not registry.is_mask_source(None) and not registry.is_mask_source(np.zeros((2, 2)))
    (tmp_path / "person").touch()
    assert not registry.is_mask_source("person")
    with pytest.raises(InputError, match="takes nothing after a colon"):
        registry.build_mask_source("left:third", ModelFiles(tmp_path))


def test_a_missing_extra_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(InputError, match=r"needs the package ai-edge-litert.*v2v-edit\[subject\]"):
        networks.SubjectNetwork(tmp_path / "x.tflite")


@pytest.fixture
def server(monkeypatch):
    """Serves the bytes of `answers` by path; the list of requests is its attribute `requests`."""
    answers: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            data = answers.get(self.path)
            self.send_response(200 if data else 404)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_):
            pass

    requests: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(model_files, "CDN", f"http://127.0.0.1:{web.server_port}")
        yield answers, requests
        web.shutdown()


def test_networks_are_fetched_once_and_compared(server, tmp_path):
    answers, requests = server
    right = ModelFile("net.tflite", "p@1", hashlib.sha256(b"weights").hexdigest(), "V2V_SUBJECT_MODEL")
    files = ModelFiles(tmp_path / "cache")
    with pytest.raises(InputError, match=r"net.tflite: can't be fetched \(.*V2V_SUBJECT_MODEL=FILE"):
        files.resolve(right)
    answers["/p@1/net.tflite"] = b"others"
    with pytest.raises(InputError, match="expected the SHA-256"):
        files.resolve(right)
    assert not (tmp_path / "cache").exists()
    answers["/p@1/net.tflite"] = b"weights"
    with expect_note("fetching net.tflite"):
        path = files.resolve(right)
    assert path.read_bytes() == b"weights" and [p.name for p in path.parent.iterdir()] == ["net.tflite"]
    assert files.resolve(right) == path and len(requests) == 3
    # Damaged in the cache: fetched again.
    path.write_bytes(b"damaged")
    assert files.resolve(right).read_bytes() == b"weights" and len(requests) == 4


def test_a_file_of_ones_own_goes_before(tmp_path):
    own = tmp_path / "own.tflite"
    own.write_bytes(b"mine")
    model = model_files.SUBJECT
    assert ModelFiles(tmp_path, {model.variable: str(own)}).resolve(model) == own
    with pytest.raises(InputError, match="V2V_SUBJECT_MODEL: no such file"):
        ModelFiles(tmp_path, {model.variable: str(tmp_path / "none")}).resolve(model)
