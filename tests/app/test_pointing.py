"""Pointing: what lines mean, the object at a place, masks of what is pointed at, and an expert that finds it."""

import base64

import numpy as np
import pytest

from data_synth.experts.spec import load_spec
from tests.app.test_clips import BOB_HEADERS, add, make_mask
from tests.app.test_server import Service
from tests.example_clips import write
from v2v import InputError
from v2v.app.gesture import read_gesture
from v2v.cli.mask_expert import MaskExpert
from v2v.video.object_growth import grow_object

ANGLES = np.linspace(0, 2 * np.pi, 60)
CIRCLE = np.stack([300 + 80 * np.cos(ANGLES), 200 + 50 * np.sin(ANGLES)], 1)


def lines(*corners, count=20):
    corners = np.array(corners, float)
    return np.concatenate([np.linspace(a, b, count) for a, b in zip(corners, corners[1:], strict=False)])


@pytest.mark.parametrize(
    ("drawn", "kind", "place"),
    [
        (CIRCLE, "area", None),
        (CIRCLE[:52], "area", None),  # not quite closed
        (np.concatenate([CIRCLE, CIRCLE[:5]]), "area", None),  # further than closed
        (lines((10, 10), (200, 10), (200, 100), (10, 100), (10, 14)), "area", None),
        (lines((10, 10), (200, 20), (10, 30), (200, 40), (10, 50), (200, 60)), "area", None),  # to and fro
        ([[5, 6]], "place", (5, 6)),
        (lines((0, 0), (200, 100)), "place", (200, 100)),
        (lines((0, 0), (200, 100), (160, 100), (200, 100), (180, 60)), "place", (200, 100)),  # an arrow
        (lines((0, 0), (200, 100), (160, 105), (185, 60)), "place", (200, 100)),
        (lines((100, 100), (140, 120), (100, 140)), "place", (140, 120)),  # its head alone
        (CIRCLE[:30], "place", CIRCLE[29]),  # a bow
    ],
)
def test_lines_that_mean_an_area_or_a_place(drawn, kind, place):
    gesture = read_gesture(drawn, 734)
    assert gesture.kind == kind
    if place is not None:
        np.testing.assert_allclose(gesture.place, place, atol=1)


def test_an_area_is_filled_also_where_its_line_crosses_itself():
    whole = read_gesture(CIRCLE, 734).fill(360, 640)
    assert whole.sum() / 255 == pytest.approx(np.pi * 80 * 50, rel=0.05) and whole[200, 300] == 255
    further = read_gesture(np.concatenate([CIRCLE, CIRCLE[:5]]), 734).fill(360, 640)
    assert (further != whole).mean() < 0.005


@pytest.fixture(scope="module")
def film():
    """A gray scene with noise, a red disc, and a blue one that touches the edge."""
    rng = np.random.default_rng(0)
    frame = np.full((90, 120, 3), 110, np.uint8)
    y, x = np.mgrid[:90, :120]
    red, blue = np.hypot(x - 40, y - 40) < 18, np.hypot(x - 119, y - 60) < 20
    frame[red], frame[blue] = (190, 40, 50), (40, 60, 200)
    frames = np.clip(frame + rng.normal(0, 5, (6, *frame.shape)), 0, 255).astype(np.uint8)
    return frames, red, blue


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def test_the_object_at_a_place_is_grown(film):
    frames, red, blue = film
    for x, y, truth in ((40, 40, red), (30, 34, red), (116, 62, blue)):
        mask = grow_object(frames[0], x, y)
        assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255} and mask[y, x] == 255
        assert overlap(mask > 0, truth) > 0.9
    np.testing.assert_array_equal(grow_object(frames[0], 40, 40), grow_object(frames[0], 40, 40))
    assert grow_object(np.full((20, 30, 3), 9, np.uint8), 29.9, 0)[0, 29] == 255  # one color all over
    with pytest.raises(InputError, match="expected one within 120x90"):
        grow_object(frames[0], -1, 5)


CALL = """import numpy as np
def find(jobs):
    (job,) = jobs
    ((x, y),) = job.about["points"]
    if x > 100:
        raise ValueError("too far")
    mask = np.zeros_like(job.clip)
    mask[0, int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 255
    return [mask]
"""
SPEC = 'name = "small-boxes"\nversion = "1"\nlicense = "MIT"\nrole = "mask"\nnoun = "thing"\nkind = "python"\ncall = "finder:find"\n'


@pytest.fixture
def expert(tmp_path):
    (tmp_path / "finder.py").write_text(CALL)
    (tmp_path / "expert.toml").write_text(SPEC)
    finder = MaskExpert(load_spec(tmp_path / "expert.toml"))
    yield finder
    finder.close()


def connect(folder, film, **options):
    write(folder / "in.mp4", film[0])
    service = Service(folder, **options)
    return service, add(service, (folder / "in.mp4").read_bytes())["id"]


def point(service, id, frame, *places, headers=None):
    content = {"frame": frame, "points": [[x / 120, y / 90] for x, y in places]}
    return service.http.post(f"/v1/clips/{id}/pointings", json=content, headers=headers)


def read_mask(told):
    bits = np.frombuffer(base64.b64decode(told["bits"]), np.uint8)
    return (
        np.unpackbits(bits, count=told["width"] * told["height"]).reshape(told["height"], told["width"]) > 0
    )


def test_a_line_becomes_a_keyframe_that_is_followed(tmp_path, film):
    service, id = connect(tmp_path, film)
    with service.http:
        assert service.http.get("/v1/page").json()["finder"] == "colors"
        told = point(service, id, 3, (80, 80), (44, 42), (52, 46), (44, 42), (47, 52)).json()  # an arrow
        assert told["kind"] == "place" and overlap(read_mask(told), film[1]) > 0.85
        around = point(service, id, 0, *[(40 + 30 * np.cos(a), 40 + 30 * np.sin(a)) for a in ANGLES]).json()
        assert around["kind"] == "area" and read_mask(around).sum() == pytest.approx(np.pi * 900, rel=0.05)
        keyframe = {name: told[name] for name in ("frame", "width", "height", "bits")}
        task = make_mask(service, id, keyframes=[keyframe])
        assert task["status"] == "completed" and task["area"] == pytest.approx(told["area"], rel=0.2)
    service.store.close()


@pytest.mark.slow
def test_an_expert_finds_what_is_pointed_at(tmp_path, film, expert):
    service, id = connect(tmp_path, film, finder=expert)
    assert service.http.get("/v1/page").json()["finder"] == "small-boxes"
    mask = read_mask(point(service, id, 1, (60, 30)).json())
    assert mask.sum() == 25 and mask[30, 60]
    failed = point(service, id, 1, (110, 30))
    message = failed.json()["error"]["message"]
    assert failed.status_code == 400 and "small-boxes raised ValueError: too far" in message
    assert point(service, id, 1, (50, 20)).status_code == 200  # it goes on
    service.store.close()


def test_an_expert_of_another_role(tmp_path):
    (tmp_path / "expert.toml").write_text(SPEC.replace('"mask"', '"control"'))
    with pytest.raises(InputError, match='--mask-expert .*: expected role = "mask", got "control"'):
        MaskExpert(load_spec(tmp_path / "expert.toml"))


def test_what_is_no_line(tmp_path, film):
    service, id = connect(tmp_path, film)
    for frame, points in (
        (6, [[0, 0]]), (-1, [[0, 0]]), (True, [[0, 0]]), (None, [[0, 0]]), (0, []), (0, [[0]]), (0, [[0, 2]]), (0, [[0, "1"]]), (0, "x"),
        (0, [[0, float("nan")]]), (0, [[0, 0]] * 4001),
    ):  # fmt: skip
        url, text = f"/v1/clips/{id}/pointings", repr({"frame": frame, "points": points})
        text = text.replace("'", '"').replace("True", "true").replace("None", "null").replace("nan", "NaN")
        answer = service.http.post(url, content=text)
        assert answer.status_code == 400 and "expected" in answer.json()["error"]["message"], (frame, points)
    assert point(service, id, 0, (5, 5), headers=BOB_HEADERS).status_code == 404
    service.store.close()
