"""VEFX-Reward's program against the classes of transformers, on a tiny random model with the published files and keys."""

import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.example_clips import picture
from tests.parity.tiny_reward import write_folder
from v2v.evaluation.judge import outside_metric
from v2v.evaluation.judge.programs import vefx_reward
from v2v.video import video as codec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("reward"))
    codec.Video.from_array(picture(29, 120, 200, seed=1), 12.0).save(folder / "a.mp4")
    codec.Video.from_array(picture(31, 240, 160, seed=2), 25.0).save(folder / "b.mp4")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    question = vefx_reward.read_question(str(folder / "question.txt"))
    return vefx_reward.RewardModel.load(str(folder), question, "cpu", "float32")


def test_scores_are_the_head_at_the_three_tokens(folder, model):
    """The same from the whole published class, whose language head also runs, and from the definition of ordinal grades."""
    whole = transformers.Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    clips = [vefx_reward.sample_clip(str(folder / name)) for name in ("a.mp4", "b.mp4")]
    shapes = [model._patches(clip.frames) for clip in clips]
    texts = [model._clip_text(clip.times, grid) for clip, (_, grid) in zip(clips, shapes, strict=True)]
    ids, kinds = model._tokens(texts, model.question.replace("{instruction}", "make it night"))
    with torch.no_grad():
        states = whole(
            input_ids=ids, pixel_values_videos=torch.cat([x for x, _ in shapes]), mm_token_type_ids=kinds,
            video_grid_thw=torch.tensor([grid for _, grid in shapes]), output_hidden_states=True,
        ).hidden_states[-1][0]  # fmt: skip
    expected = {}
    for name in vefx_reward.DIMENSIONS:
        at = ids[0].tolist().index(model.tokenizer.convert_tokens_to_ids(f"<|{name}_reward|>"))
        steps = torch.sigmoid(model.head(states[at])).tolist()
        above = [steps[0], steps[0] * steps[1], steps[0] * steps[1] * steps[2]]
        grades = [1 - above[0], above[0] - above[1], above[1] - above[2], above[2]]
        expected[name] = sum(grade * share for grade, share in enumerate(grades, 1))
    scores = model.score(str(folder / "a.mp4"), str(folder / "b.mp4"), "make it night")
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len({round(v, 3) for v in scores.values()}) == 3
    other = model.score(str(folder / "b.mp4"), str(folder / "a.mp4"), "make it night")
    assert other != pytest.approx(scores, abs=1e-5), "the order of the clips changes nothing"


def test_the_program_is_asked_by_the_metric(folder):
    metric = outside_metric.vefx_reward(
        folder, python=sys.executable, prompt=folder / "question.txt", device="cpu", dtype="float32"
    )
    try:
        request = {"source": str(folder / "a.mp4"), "output": str(folder / "b.mp4"), "instruction": "night"}
        answer = metric.scorer.ask(request)
        assert set(answer["scores"]) == {"IF", "RQ", "EE"} and all(1 < v < 4 for v in answer["scores"].values())  # fmt: skip
        lost = metric.scorer.ask({**request, "output": str(folder / "none.mp4")})
        assert "can't be decoded" in lost["error"]
        assert metric.scorer.ask(request) == answer
    finally:
        metric.scorer.stop()


def test_frames_sizes_and_questions(tmp_path):
    assert vefx_reward.choose_frames(1, 24) == [0, 0] and vefx_reward.choose_frames(3, 24) == [0, 2]
    assert vefx_reward.choose_frames(120, 24) == [int(k) for k in np.linspace(0, 119, 20).round()]
    assert len(vefx_reward.choose_frames(10**5, 25)) == 768
    assert vefx_reward.first_size(720, 1280) == (448, 840) and vefx_reward.first_size(100, 100) == (336, 336)
    assert vefx_reward.second_size(10, 448, 840, vefx_reward.Preprocessing()) == (192, 384)
    # Of a Python file the longest text is taken, and nothing is run.
    tokens = " ".join(vefx_reward.ADDED_TOKENS[3:])
    (tmp_path / "q.py").write_text(f'raise SystemExit(1)\nQ = """Grade "{{text_prompt}}", {{{{x}}}} {tokens}"""\n')  # fmt: skip
    assert vefx_reward.read_question(str(tmp_path / "q.py")) == f'Grade "{{instruction}}", {{x}} {tokens}'
    with pytest.raises(SystemExit, match="IF_reward"):
        (tmp_path / "q.txt").write_text("{instruction}")
        vefx_reward.read_question(str(tmp_path / "q.txt"))


def test_other_folders_are_refused_in_one_line(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        if file.name != "vefx_config.json":
            (other / file.name).symlink_to(file)
    (other / "vefx_config.json").write_text(json.dumps({"use_ordinal": False}))
    with pytest.raises(SystemExit, match="expected ordinal grades"):
        vefx_reward.RewardModel.load(str(other), "", "cpu", "float32")
