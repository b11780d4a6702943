"""Manifests: what is read, what is skipped, what fails, and how several processes share one list."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.example_clips import picture
from tests.fake_model import FakePretrained
from tests.notes import expect_no_notes
from v2v import EasyV2VEditor, InputError, Video, read
from v2v.assets import SAMPLE
from v2v.diffusion.sampler import SampleOutput
from v2v.diffusion.step_skipping import StepSkipper
from v2v.pipeline import batch, manifest
from v2v.pipeline.settings import EditRequest, EditSettings
from v2v.runtime.sharding import make_mesh
from v2v.video.output_format import OutputFormat


@pytest.fixture
def folder(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        Video.from_array(picture(6, 32, 48, seed)).save(tmp_path / f"{name}.mp4")
    Video.from_array(np.full((32, 48, 3), 255, np.uint8)).save(tmp_path / "white.png")
    return tmp_path


def write(folder, *lines):
    path = folder / "jobs.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def run(folder, *lines, editor=None):
    editor = editor or EasyV2VEditor(FakePretrained())
    return list(batch.run_jobs(editor, manifest.read_manifest(write(folder, *lines)), folder / "out")), editor


GREY = {"video": "a.mp4", "instruction": "make it grey"}
NEGATIVE = {
    "video": "b.mp4",
    "instruction": "make it negative",
    "output": "n.mp4",
    "mask": "4,4,20,20",
    "seed": 3,
}


def test_each_line_is_an_edit(folder):
    results, editor = run(folder, GREY, "", NEGATIVE)
    assert [(r["line"], r["status"], Path(r["output"]).name) for r in results] == [
        (1, "done", "00001-a.mp4"),
        (3, "done", "n.mp4"),
    ]
    assert results[1]["report"]["seed"] == 3 and results[1]["report"]["mask_area"] == pytest.approx(
        400 / 1536, abs=1e-3
    )
    alone = editor.edit_video(folder / "b.mp4", "make it negative", "4,4,20,20", seed=3)
    assert np.abs(read(results[1]["output"]).frames.astype(int) - alone.frames).mean() < 6


def test_a_list_run_again_does_only_what_is_new(folder):
    run(folder, GREY, NEGATIVE)
    again, editor = run(folder, GREY, {**NEGATIVE, "seed": 4})
    assert [r["status"] for r in again] == ["skipped", "done"] and len(editor.model.calls) == 1
    (folder / "out" / "n.mp4").unlink()
    Video.from_array(picture(6, 32, 48, 5)).save(folder / "a.mp4")
    assert [r["status"] for r in run(folder, GREY, {**NEGATIVE, "seed": 4})[0]] == ["done", "done"]
    moved = {**GREY, "output": "elsewhere.mp4"}
    assert [r["status"] for r in run(folder, moved)[0]] == ["done"]


def test_a_line_chooses_its_format(folder):
    lines = (
        GREY | {"codec": "ffv1"},
        GREY | {"codec": "png", "output": "frames"},
        GREY | {"quality": "low", "output": "low.webm"},
        GREY | {"codec": "vp9", "output": "x.mp4"},
        GREY | {"crf": "low"},
    )
    results, _ = run(folder, *lines)
    assert [result["status"] for result in results] == ["done", "done", "done", "failed", "failed"]
    assert ".mp4 holds h264" in results[3]["error"] and "crf: expected 0 (best)" in results[4]["error"]
    names = ["00001-a.mkv", "frames", "low.webm"]
    assert [Path(result["output"]).name for result in results[:3]] == names
    assert len(list((folder / "out" / "frames").iterdir())) == 6
    again, _ = run(folder, *lines[:2], lines[2] | {"quality": "medium"})
    assert [result["status"] for result in again] == ["skipped", "skipped", "done"]
    defaults = manifest.ManifestDefaults(output_format=OutputFormat(quality="low"))
    jobs = manifest.read_manifest(write(folder, GREY, GREY | {"crf": 20}, GREY | {"quality": None}), defaults)
    assert [(job.output_format.quality, job.output_format.crf) for job in jobs] == [
        ("low", None),
        (None, 20),
        (None, None),
    ]


def test_other_weights_are_another_job(folder):
    listed = manifest.read_manifest(write(folder, GREY))
    editor = EasyV2VEditor(FakePretrained())
    for weights, status in (("one", "done"), ("one", "skipped"), ("two", "done")):
        assert [r["status"] for r in batch.run_jobs(editor, listed, folder / "out", weights=weights)] == [
            status
        ]


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"video": "a.mp4", ', "line 1: expected a JSON object, got what doesn't parse"),
        ("[1, 2]", "line 1: expected a JSON object, got list"),
        ({"video": "a.mp4"}, 'line 1: expected "instruction"'),
        ({**GREY, "sead": 3}, "line 1: unknown sead; known are amount, anyway, codec, context, crf"),
        ({**GREY, "steps": "many"}, "line 1: steps"),
        ({**GREY, "output": "../x.mp4"}, "line 1: output expected a plain file name"),
        ({**GREY, "lora": 3}, "line 1: lora expected"),
        ({**GREY, "lora_high": 3}, "line 1: lora_high expected"),
        ({**GREY, "video": "none.mp4"}, "line 1: "),
        ({**GREY, "mask": "none.png"}, "no such file"),
        ({**GREY, "start": 0.2, "end": 0.1}, "start before end"),
        ({**GREY, "lora": "missing.safetensors"}, "line 1: missing.safetensors: no such adapter"),
        ({**GREY, "lora": ["bad.safetensors"]}, "line 1: "),
        ({**GREY, "reference": 5}, 'line 1: expected "reference", a text, got 5'),
        ({**GREY, "reference": [5]}, 'line 1: expected "reference"'),
        ({**GREY, "reference": ""}, 'line 1: expected "reference"'),
        ({**GREY, "mask": 5}, 'line 1: expected "mask", a text such as "m.png"'),
        ({**GREY, "mask": [1, 2, 3]}, 'line 1: expected "mask"'),
        ({**GREY, "output": 5}, 'line 1: expected "output", a text, got 5'),
        ({**GREY, "guidance": float("inf")}, "line 1: guidance: expected a finite number, got inf"),
        ({**GREY, "guidance": 10**400}, "line 1: guidance: expected a finite number, got 1000"),
        ({**GREY, "soft": float("nan")}, "line 1: soft: expected a finite number, got nan"),
        (
            {**GREY, "lora": [["20", float("nan")]]},
            'line 1: lora expected a file\'s name and a finite weight, got "20"',
        ),
        ({**GREY, "lora": [["20", 10**400]]}, "line 1: lora expected a file's name and a finite weight"),
        (
            '{"video": "a.mp4", "instruction": "make it grey", "seed": 1, "seed": 2}',
            "line 1: seed: expected once",
        ),
        ("[" * 10**5, "line 1: expected a JSON object, got what doesn't parse"),
    ],
)
def test_a_bad_line_fails_by_number_and_the_others_run(folder, line, message):
    results, editor = run(folder, line, NEGATIVE)
    assert [r["status"] for r in results] == ["failed", "done"]
    assert message in results[0]["error"] and "\n" not in results[0]["error"]
    assert {p.name for p in (folder / "out").iterdir()} == {".jobs", "n.mp4"}
    assert editor.model.added == 0


def test_a_manifest_as_windows_writes_it(folder):
    """A byte order mark and CRLF; U+2028 inside a text ends no line; bytes that are no UTF-8 cost their line alone."""
    lines = [json.dumps({**GREY, "instruction": "make it\u2028grey"}, ensure_ascii=False).encode()]
    lines += [b"", b'{"video": "\xe4.mp4"}', json.dumps({**NEGATIVE, "mask": [4, 4, 20, 20]}).encode()]
    path = folder / "jobs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    first, bad, last = manifest.read_manifest(path)
    assert (first.line, first.request.instruction, first.error) == (1, "make it\u2028grey", "")
    assert bad.line == 3 and "line 3: expected UTF-8" in bad.error
    assert (last.line, last.request.mask, last.error) == (4, "4,4,20,20", "")


def test_masks_by_name_are_no_files(tmp_path):
    lines = [json.dumps({**NEGATIVE, "mask": mask}) for mask in ("person", "left", "persons.png")]
    (tmp_path / "jobs.jsonl").write_text("\n".join(lines))
    (tmp_path / "left").touch()
    masks = [job.request.mask for job in manifest.read_manifest(tmp_path / "jobs.jsonl")]
    assert masks == ["person", str(tmp_path / "left"), str(tmp_path / "persons.png")]


def test_two_jobs_may_not_share_an_output(folder):
    results, _ = run(folder, {**GREY, "output": "o.mp4"}, {**NEGATIVE, "output": "o.mp4"})
    assert [r["status"] for r in results] == ["done", "failed"] and "line 1's too" in results[1]["error"]
    request = EditRequest(str(folder / "a.mp4"), "make it grey")
    made = [manifest.Job(i, request, "p.mp4") for i in (1, 2)]
    results = list(batch.run_jobs(EasyV2VEditor(FakePretrained()), made, folder / "out"))
    assert [r["status"] for r in results] == ["done", "failed"]
    assert results[1]["error"] == "line 2: output p.mp4 is line 1's too; name another"


@pytest.mark.parametrize("devices", [1, 2])
def test_notes_are_their_lines_own(folder, devices):
    """Also where the same has been said of a line before, and where it is found by the thread that decodes."""
    Video.from_array(picture(40, 32, 48)).save(folder / "bad.mp4")
    data = bytearray((folder / "bad.mp4").read_bytes())
    found = data.index(b"mdat") + len(data) // 3
    data[found : found + 200] = bytes(200)
    (folder / "bad.mp4").write_bytes(data)
    unknown = [{**GREY, "instruction": "make it grey blorp", "output": f"{i}.mp4"} for i in range(2)]
    path, mesh = write(folder, *unknown, {**GREY, "video": "bad.mp4"}, NEGATIVE), None
    if devices > 1:
        mesh = make_mesh(data=devices, devices=jax.devices()[:devices])
    for status in ("done", "skipped"):
        editor = EasyV2VEditor(FakePretrained())
        with expect_no_notes():
            results = batch.gather_results(
                list(batch.run_jobs(editor, manifest.read_manifest(path), folder / "out", mesh=mesh))
            )
        assert [r["status"] for r in results] == [status] * 4
        notes = [r["notes"] for r in results]
        assert notes[0] == notes[1] == ["words the model doesn't know and can't follow: \"blorp\""]
        assert "damaged piece" in notes[2][0] and notes[3] == []


def test_adapters_come_and_go_with_their_job(folder):
    request = EditRequest(str(folder / "a.mp4"), "make it", settings=EditSettings(detail="model"))
    one = manifest.Job(1, request, "bright.mp4", lora=(("20", 0.5), ("10", 1.0)))
    two = manifest.Job(2, request, "plain.mp4")
    list(batch.run_jobs(EasyV2VEditor(FakePretrained()), [one, two], folder / "out"))
    bright, plain = (read(folder / "out" / name).frames.mean() for name in ("bright.mp4", "plain.mp4"))
    assert bright - plain == pytest.approx(20, abs=2)


def test_adapters_of_two_transformers(folder):
    """They are those of their line, each for its transformer, and count among what tells a finished job from another."""
    for name in ("high", "low"):
        (folder / f"{name}.safetensors").write_text(name)
    line = {**GREY, "lora_high": [["high.safetensors", 0.5]], "lora_low": "low.safetensors"}
    (job,) = manifest.read_manifest(write(folder, line))
    high, low = (str(folder / f"{name}.safetensors") for name in ("high", "low"))
    assert job.pairs == ((high, 0.5, "high"), (low, 1.0, "low")) and job.lora == ()
    keys = {batch._key(job, "w")}
    keys.add(batch._key(dataclasses.replace(job, pairs=job.pairs[:1]), "w"))
    keys.add(batch._key(dataclasses.replace(job, pairs=((low, 1.0, "low"), (high, 0.5, "high"))), "w"))
    keys.add(batch._key(dataclasses.replace(job, pairs=((high, 0.5, "low"), (low, 1.0, "high"))), "w"))
    (folder / "low.safetensors").write_text("other")
    assert len(keys | {batch._key(job, "w")}) == 5


@pytest.mark.parametrize("text, message", [(None, "can't be read"), ("\n \n", "at least one line")])
def test_no_manifest(tmp_path, text, message):
    if text is not None:
        (tmp_path / "jobs.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        manifest.read_manifest(tmp_path / "jobs.jsonl")


def test_a_clip_is_no_manifest(tmp_path):
    """One line says so, not one for each byte 10 of it."""
    Video.from_array(picture()).save(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"a\.mp4: manifest expected to be text .* got binary data"):
        manifest.read_manifest(tmp_path / "a.mp4")


def test_what_lies_beside_or_inside_a_file_counts(folder):
    """Embeddings beside an adapter, and the clip that a moment is of, are read: a job is another when they change."""
    (folder / "x.safetensors").write_bytes(b"lora")
    Video.from_array(picture(6, 32, 48)).save(folder / "r.mp4")
    job = manifest.parse_job(
        1, json.dumps({**GREY, "lora": "x.safetensors", "reference": "r.mp4@0.1"}).encode(), folder / "m"
    )
    both = lambda: (batch._key(job, ""), batch.fingerprint_weights(folder / "x.safetensors"))  # noqa: E731
    first = both()
    assert both() == first
    for data in (b"embeddings", b"others"):
        (folder / "x.embeds.safetensors").write_bytes(data)
        assert not set(both()) & set(first)
        first = both()
    Video.from_array(picture(6, 32, 48, 2)).save(folder / "r.mp4")
    assert both()[0] != first[0]
    later = manifest.parse_job(
        1, json.dumps({**GREY, "lora": "x.safetensors", "reference": "r.mp4@0.2"}).encode(), folder / "m"
    )
    assert batch._key(later, "") != both()[0]


def test_an_option_that_is_added_leaves_finished_jobs_finished(folder):
    """It has its default in all of them."""

    @dataclasses.dataclass(frozen=True)
    class LaterSettings(EditSettings):
        levels: int = 256

    job = manifest.parse_job(1, json.dumps(GREY).encode(), folder / "m")

    def key(settings):
        return batch._key(
            dataclasses.replace(job, request=dataclasses.replace(job.request, settings=settings)), ""
        )

    assert key(LaterSettings(seed=3)) == key(EditSettings(seed=3)) != key(EditSettings())
    assert key(LaterSettings(levels=2)) != key(EditSettings()) == key(LaterSettings())


class Skipper(FakePretrained):
    """What it makes while skipping is 20 levels too bright."""

    def with_skip(self, tolerance):
        self.skipping = StepSkipper(tolerance)
        return self

    def sample(self, request):
        real = super().sample

        def sample(evaluated=None, measure_ratios=False):
            output = real(request)
            latents = output.latents + (0 if measure_ratios else 20)
            return SampleOutput(latents, output.past, np.full(request.steps, 0.99))

        return self.skipping.run(sample, (request.noise.shape, request.steps, request.guidance))


def test_skipping_begins_anew_with_every_job(folder):
    """A job's result is that of the job alone; what skipping costs stands in its result; another tolerance is another job."""
    Video.from_array(picture(40, 32, 48)).save(folder / "long.mp4")
    lines = [
        {"video": "long.mp4", "instruction": "make it", "steps": 20, "detail": "model", "output": f"{i}.mp4"}
        for i in "ab"
    ]
    editor = EasyV2VEditor(Skipper().with_skip(0.05))
    results, _ = run(folder, *lines, editor=editor)
    a, b = (read(folder / "out" / f"{i}.mp4").frames for i in "ab")
    np.testing.assert_array_equal(a, b)
    assert a[-1].mean() - a[0].mean() > 10
    assert results[0]["report"] == results[1]["report"] and results[0]["report"]["skipped"] > 0.3
    assert [r["status"] for r in run(folder, *lines, editor=editor)[0]] == ["skipped"] * 2
    editor.model.with_skip(0.06)
    again, _ = run(folder, lines[0], editor=editor)
    assert again[0]["status"] == "done" and "skip_snr" in again[0]["report"]


def test_the_sample_of_the_package(folder):
    sample = {**GREY, "video": "sample"}
    assert manifest.read_manifest(write(folder, sample))[0].request.video == str(SAMPLE)
    (folder / "sample").touch()
    assert manifest.read_manifest(write(folder, sample))[0].request.video == str(folder / "sample")


def test_fingerprints_tell_weights_apart(tmp_path):
    (tmp_path / "m").mkdir()
    seen = set()
    for data in (b"a" * 10, b"b" * 10, b"a" * 11):
        (tmp_path / "m" / "w.safetensors").write_bytes(data)
        seen.add(batch.fingerprint_weights(tmp_path / "m"))
        assert batch.fingerprint_weights(tmp_path / "m") in seen
    assert len(seen) == 3


def test_a_manifest(v2v, capsys):
    Video.from_array(picture(6)).save("in.mp4")
    lines = [
        {"video": "in.mp4", "instruction": "make it grey blorp", "output": "grey.mp4"},
        {"video": "none.mp4", "instruction": "x"},
    ]
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    assert v2v("edit", "--manifest", "jobs.jsonl", "--out", "made", "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["done"], report["skipped"], report["failed"]) == (1, 0, 2)
    assert (
        "none.mp4" in captured.err
        and "line 3" in captured.err
        and captured.err.count("v2v: note: line 1: words the model doesn't know") == 1
        and "1 done, 0 done before, 2 failed" in captured.err
    )
    results = [json.loads(line) for line in Path("made/results.jsonl").read_text().splitlines()]
    assert [r["status"] for r in results] == ["done", "failed", "failed"] and report["failures"] == [
        r["error"] for r in results[1:]
    ]
    Path("jobs.jsonl").write_text(json.dumps(lines[0]) + "\n")
    assert v2v("edit", "--manifest", "jobs.jsonl", "--out", "made") == 0
    assert capsys.readouterr().out == "made/results.jsonl\n"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--manifest", "none.jsonl", "--out", "made"], "manifest can't be read"),
        (["--manifest", "jobs.jsonl"], "add --out DIR"),
        (["in.mp4", "make it grey", "--manifest", "jobs.jsonl", "--out", "made"], "leave them out"),
        (["--manifest", "jobs.jsonl", "--out", "made", "-o", ""], "leave them out"),
        (
            ["--manifest", "jobs.jsonl", "--out", "made", "--explain", "d"],
            "--explain would do nothing with --manifest",
        ),
        (
            ["--manifest", "jobs.jsonl", "--out", "made", "--warm", "2"],
            "--warm would do nothing with --manifest",
        ),
        (["--manifest", "jobs.jsonl", "--out", "made", "--steps", "0"], "steps: expected at least 1"),
        (["--manifest", "good.jsonl", "--out", "made", "--soft", "3"], "soft: expected a mask with it"),
        (
            ["--manifest", "good.jsonl", "--out", "made", "--lora-scale", "3"],
            "--lora-scale expected an adapter",
        ),
        (
            ["--manifest", "good.jsonl", "--out", "made", "--guide", "prompt+reference"],
            "expected a reference with it",
        ),
        (["--warm", "4,fast"], "--warm"),
        (
            ["--warm", "4", "--steps", "3", "--invert-mask"],
            "--invert-mask, --steps would do nothing with --warm",
        ),
        (
            ["in.mp4", "make it grey", "-o", "o.mp4", "--out", "d"],
            "--out would do nothing without --manifest",
        ),
        (
            ["in.mp4", "make it grey", "-o", "o.mp4", "--distributed"],
            "--distributed would do nothing without",
        ),
        (["in.mp4", "make it grey", "-o", "o.mp4", "--explain", ""], "--explain expected a folder"),
        (["in.mp4", "make it grey", "-o", "o.mp4", "--lora-scale", "2"], "--lora-scale expected an adapter"),
        (
            ["--manifest", "good.jsonl", "--out", "made", "--lora", "20=nan"],
            "--lora 20=nan: expected a finite weight",
        ),
        (["in.mp4", "make it grey", "-o", "o.mp4", "--soft", "2"], "soft: expected a mask"),
        (["in.mp4", "make it grey", "-o", "o.mp4", "--invert-mask"], "invert_mask: expected a mask"),
        (
            ["in.mp4", "make it grey", "-o", "o.mp4", "--invert-mask", "--mask", "1,1,9,9"],
            "got 1,1,9,9, which always",
        ),
        (
            ["in.mp4", "make it grey", "-o", "o.mp4", "--guide", "prompt+reference"],
            "expected a reference with it",
        ),
        (["in.mp4", ""], "got no output"),
        (["in.mp4", "make it grey"], "got no output"),
        (["-o", "out.mp4"], "got no video"),
    ],
)
def test_bad_requests_for_many(v2v, capsys, words, message):
    Path("jobs.jsonl").write_text("{}\n")
    Path("good.jsonl").write_text(json.dumps(GREY))
    assert v2v("edit", *words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err and captured.err.count("\n") == 1
    assert sorted(p.name for p in Path().iterdir()) == ["good.jsonl", "jobs.jsonl"]


def test_options_are_for_every_line_that_says_nothing_else(v2v, capsys, folder):
    """Also a scale of adapters; what a line has no use for isn't its job's; another option is another job."""
    lines = [
        {**GREY, "output": "a.mp4"},
        {**GREY, "output": "b.mp4", "steps": 4, "mask": "white.png", "reference": "a.mp4@0.1"},
        {**GREY, "output": "c.mp4", "mask": None, "lora": "40", "preserve": True},
    ]
    write(folder, *lines)
    words = [
        "edit",
        "--manifest",
        "jobs.jsonl",
        "--out",
        "out",
        "--steps",
        "8",
        "--seed",
        "5",
        "--mask",
        "4,4,20,20",
    ]
    words += [
        "--soft",
        "3",
        "--reference",
        "white.png",
        "--strength",
        "0.5",
        "--no-preserve",
        "--guidance",
        "4",
    ]
    words += ["--lora-scale", "0.5", "--guide", "prompt+reference", "--detail", "model"]
    read, made = manifest.read_manifest, []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest, "read_manifest", lambda *how: made.extend(read(*how)) or made)
        v2v(*words)
    a, b, c = made
    requests = [job.request for job in made]
    assert [request.mask for request in requests] == ["4,4,20,20", "white.png", None]
    assert [request.reference for request in requests[:2]] == ["white.png", "a.mp4@0.1"]
    assert [request.settings.steps for request in requests] == [8, 4, 8]
    assert [request.settings.preserve for request in requests] == [False, False, True]
    assert (a.request.settings.soft, c.request.settings.soft, c.lora) == (
        3,
        None,
        ((str(Path("40").absolute()), 0.5),),
    )
    for request in requests:
        given = dataclasses.asdict(request.settings)
        assert {n: given[n] for n in ("seed", "strength", "guidance", "guide", "detail")} == {
            "seed": 5, "strength": 0.5, "guidance": 4, "guide": "prompt+reference", "detail": "model",
        }  # fmt: skip
    write(folder, lines[0])
    for more, status in (
        ([], "done"),
        ([], "skipped"),
        (["--seed", "5"], "done"),
        (["--seed", "5"], "skipped"),
    ):
        v2v("edit", "--manifest", "jobs.jsonl", "--out", "two", *more)
        result = json.loads(Path("two/results.jsonl").read_text())
        assert (result["status"], result["report"]["seed"]) == (status, 5 if more else 0), result


@pytest.mark.parametrize(
    "more, message",
    [
        ({"soft": 2}, "soft: expected a mask"),
        ({"invert_mask": True, "mask": "auto"}, "invert_mask: expected a picture or video"),
        ({"guide": "prompt+reference"}, "expected a reference with it"),
    ],
)
def test_a_line_may_not_say_what_does_nothing(folder, more, message):
    assert message in manifest.read_manifest(write(folder, {**GREY, **more}))[0].error


def test_warm_runs_every_bucket(v2v, capsys):
    assert v2v("edit", "--warm", "2,3x1", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"output", "compiled", "found"}
