"""An expert that follows painted masks: what it is asked, what stays as painted, and experts that don't follow."""

import numpy as np
import pytest

from data_synth.experts.spec import load_spec
from tests.app.test_clips import add, make_mask
from tests.app.test_server import Service
from tests.example_clips import write
from v2v import InputError
from v2v.app.mask_tasks import pack_bits
from v2v.cli import mask_expert
from v2v.cli.mask_expert import MaskExpert, divide_clip
from v2v.cli.page_options import choose_tracker
from v2v.video.mask_tracking import track_mask

pytestmark = pytest.mark.slow
COUNT, SIZE = 14, (40, 96)
# Follows the square of one color by its place in each frame, where a painted mask has shown it; the disc is never looked at.
FOLLOW = """import json
import numpy as np
def follow(jobs):
    (job,) = jobs
    numbers = job.about["keyframes"]
    with open("LOG", "a") as log:
        log.write(json.dumps([len(job.clip), numbers, job.prompt, list(job.clip.shape[1:3])]) + "\\n")
    assert numbers[0] == 0 and all(job.mask[n].any() for n in numbers)
    assert not job.mask[[n for n in range(len(job.mask)) if n not in numbers]].any()
    color = job.clip[0][job.mask[0] > 0].astype(int).mean(0)
    near = np.abs(job.clip.astype(int) - color).sum(-1) < 90
    return [np.repeat(np.where(near, 255, 0).astype(np.uint8)[..., None], 3, -1)]
def ignore(jobs):
    return [np.zeros_like(job.clip) for job in jobs]
def fail(jobs):
    raise ValueError("out of memory")
"""


@pytest.fixture
def expert(tmp_path):
    (tmp_path / "follower.py").write_text(FOLLOW.replace("LOG", str(tmp_path / "log")))
    experts = []

    def connect(function="follow", follows=True):
        (tmp_path / "expert.toml").write_text(
            'name = "follower"\nversion = "1"\nlicense = "MIT"\nrole = "mask"\nnoun = "thing"\nkind = "python"\nretries = 0\n'
            f'call = "follower:{function}"\nfollows = {str(follows).lower()}\n'
        )
        experts.append(MaskExpert(load_spec(tmp_path / "expert.toml")))
        return experts[-1]

    yield connect
    for each in experts:
        each.close()


@pytest.fixture
def film():
    """A square that goes to the right by 5 pixels a frame, too fast for what isn't told; returns its frames and masks."""
    frames, masks = np.full((COUNT, *SIZE, 3), 100, np.uint8), np.zeros((COUNT, *SIZE), np.uint8)
    for t in range(COUNT):
        frames[t, 12:24, 5 * t : 5 * t + 12] = (200, 40, 40)
        masks[t, 12:24, 5 * t : 5 * t + 12] = 255
    return frames, masks


def test_parts_begin_where_a_mask_is_known():
    for keyframes in ([0], [13], [5], [2, 3, 11]):
        known = set(keyframes)
        for part in divide_clip(COUNT, keyframes, 4):
            assert 2 <= len(part) <= 4 and part[0] in known and not (set(keyframes) & set(part[1:-1]))
            known |= set(part)
        assert known == set(range(COUNT))


@pytest.mark.parametrize("keyframes", [[0], [13], [6], [2, 9]])
def test_it_follows_from_what_was_painted(tmp_path, expert, film, keyframes, monkeypatch):
    monkeypatch.setattr(mask_expert, "MOST_FRAMES", 5)
    monkeypatch.setattr(divide_clip, "__defaults__", (5,))
    frames, masks = film
    progress = []
    painted = {n: masks[n].copy() for n in keyframes}
    painted[keyframes[0]][12, :] = 0  # somebody has painted a little less, and that stays
    result = expert().track(iter(frames), painted, lambda *done: progress.append(done))
    assert len(result) == COUNT
    for number, mask in enumerate(result):
        np.testing.assert_array_equal(mask, painted.get(number, masks[number]))
    assert progress[-1] == (COUNT, COUNT) and progress == sorted(progress)
    requests = (tmp_path / "log").read_text().splitlines()
    assert all('"thing", [40, 96]]' in line for line in requests)
    assert sum("[0, 4]" in line or "[0, 3]" in line for line in requests) == (keyframes == [2, 9])


def test_large_frames_are_sent_smaller_and_an_empty_keyframe_ends_it(tmp_path, expert, film, monkeypatch):
    monkeypatch.setattr(mask_expert, "LARGEST_SIDE", 48)
    frames, masks = film
    tracked = list(expert().track(iter(frames), {4: masks[4], 0: np.zeros(SIZE, np.uint8)}))
    assert "[20, 48]" in (tmp_path / "log").read_text() and not tracked[0].any()
    assert tracked[9].shape == SIZE and np.mean(tracked[9] != masks[9]) < 0.02


def test_experts_that_do_not_follow(expert, film):
    frames, masks = film
    assert choose_tracker(None) is track_mask and choose_tracker(expert(follows=False)) is track_mask
    for function, message in (
        ("ignore", r"another mask than the painted one.*\(overlap 0%\); start v2v without --mask-expert"),
        ("fail", "follower raised ValueError: out of memory; start v2v without --mask-expert"),
    ):
        with pytest.raises(InputError, match=message):
            expert(function).track(iter(frames), {0: masks[0]})
    with pytest.raises(InputError, match="expected a frame from 0 to 13, got 20"):
        expert().track(iter(frames), {20: masks[0]})


def test_the_page_has_it_follow(tmp_path, expert, film):
    frames, masks = film
    write(tmp_path / "in.mp4", frames)
    service = Service(tmp_path, tracker=choose_tracker(expert()))
    with service.http:
        id = add(service, (tmp_path / "in.mp4").read_bytes())["id"]
        keyframe = {"frame": 3, "width": SIZE[1], "height": SIZE[0], "bits": pack_bits(masks[3] > 0)}
        task = make_mask(service, id, keyframes=[keyframe])
        assert task["status"] == "completed" and task["area"] == pytest.approx(np.mean(masks > 0), rel=0.1)
        assert (tmp_path / "log").read_text().count("\n") == 2
    service.store.close()
