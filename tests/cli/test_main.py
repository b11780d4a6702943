"""The command line: what it prints, what it writes, and how it refuses."""

import argparse
import ast
import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.example_clips import picture
from tests.example_clips import write as make
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor, Video, read
from v2v import __version__ as v2v_version
from v2v.cli import edit_arguments, main, parsers, user_module
from v2v.cli.edit_report import format_report
from v2v.pipeline.settings import EditSettings
from v2v.video.segmentation.registry import MASK_SOURCES

ROOT = Path(main.__file__).parents[2]


def fresh(*words):
    """Runs Python in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=300
    )


@pytest.mark.parametrize(
    "words",
    [[*name, "--help"] for name in ([], ["edit"], ["train"], ["convert"], ["doctor"], ["pairs", "check"])],
)
def test_help_needs_nothing_heavy(words):
    code = (
        "import sys\nfrom v2v.cli import main\n"
        f"try: main.main({words})\nexcept SystemExit as stopped: assert stopped.code == 0\n"
        "heavy = {'jax', 'flax', 'cv2', 'av', 'numpy'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = fresh("-c", code)
    assert done.returncode == 0, done.stderr
    assert "usage: v2v" in done.stdout


def test_the_help_of_synth_asks_the_registry_of_recipes_and_nothing_heavier():
    code = (
        "import sys\nfrom v2v.cli import main\nassert not {'numpy', 'data_synth'} & set(sys.modules)\n"
        "try: main.main(['synth', '--help'])\nexcept SystemExit as stopped: assert stopped.code == 0\n"
        "heavy = {'jax', 'flax', 'tensorflow_datasets', 'mujoco', 'apache_beam', 'scenedetect'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = fresh("-c", code)
    assert done.returncode == 0, done.stderr
    assert "usage: v2v" in done.stdout and "  lift, image         two rendered pictures" in done.stdout


def test_every_setting_of_an_edit_is_an_option_of_the_same_default():
    args = parsers.build_parser(main.COMMANDS).parse_args(["edit", "sample", "make it sepia"])
    for setting in dataclasses.fields(EditSettings):
        assert getattr(args, setting.name) == setting.default, setting.name


def test_the_help_of_mask_names_every_mask_source():
    parser = argparse.ArgumentParser()
    edit_arguments.add_arguments(parser)
    text = next(action.help for action in parser._actions if action.dest == "mask")
    assert not set(MASK_SOURCES) - set(re.findall(r"\w+", text or ""))


def test_importing_the_package_is_free():
    done = fresh(
        "-c",
        "import v2v, sys; assert 'EasyV2VEditor' in dir(v2v); assert not {'jax', 'numpy'} & set(sys.modules)",
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists():
    import v2v as package

    stub = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text())
    names = [
        alias.asname or alias.name
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(names) == sorted(package.__all__)
    for name in package.__all__:
        if name != "load_pretrained":
            assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        package.nothing  # noqa: B018


def test_edit_a_file(v2v, capsys):
    make("in.mp4", picture(12, 50, 70), tones=(440,))
    assert v2v("edit", "in.mp4", "make it grey", "-o", "out.mp4") == 0
    assert capsys.readouterr().out == "out.mp4\n"
    out = read("out.mp4")
    assert out.frames.shape == (12, 50, 70, 3) and out.audio
    assert np.ptp(out.frames.astype(int), axis=-1).mean() < 3


def test_edit_the_sample_that_ships(v2v, capsys):
    assert v2v("edit", "sample", "make it negative", "-o", "out.mp4", "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out.splitlines()[-1])
    assert (report["frames"], report["width"], report["height"]) == (48, 640, 360)
    assert (
        report["output"] == "out.mp4"
        and report["audio"]
        and set(report["seconds"]) == {"load", "edit"}
        and (report["prompt"], report["mask_area"], report["edited_seconds"])
        == ("make it negative", 1.0, report["duration"])
    )
    assert sorted(p.name for p in Path().iterdir()) == ["out.mp4"]


def test_every_option(v2v):
    make("in.mp4", picture(12))
    Video.from_array(np.full((48, 64, 3), 255, np.uint8)).save("white.png")
    words = [
        "edit",
        "in.mp4",
        "make it grey",
        "-o",
        "out.mov",
        "--mask",
        "white.png",
        "--start",
        "0.1",
        "--end",
        "0.3",
    ]
    words += [
        "--reference",
        "white.png",
        "--lora",
        "10",
        "--lora-scale",
        "0.5",
        "--steps",
        "3",
        "--guidance",
        "2",
        "--seed",
        "5",
    ]
    words += ["--strength", "0.5", "--window", "5", "--soft", "2", "--invert-mask"]
    assert (
        v2v(*words, "--detail", "model", "--no-preserve", "--quiet") == 2
    )  # white.png inverted is black everywhere
    assert v2v(*words[:-1], "--detail", "model", "--no-preserve", "--quiet") == 0
    assert len(read("out.mov").frames) == 12


def test_what_was_done_is_said(v2v, capsys):
    Video.from_array(picture(12)).save("in.mp4")
    words = ["edit", "in.mp4", "make it  negative", "-o", "out.mp4", "--mask", "8,8,16,24", "--start", "0.2"]
    assert v2v(*words) == 0
    said = capsys.readouterr().err
    assert '"make it negative"' in said and "12.5% of the frame for 0.28 s (0.20 to 0.48)" in said
    assert "outside the mask: unchanged (mean difference 0.00 of 255" in said
    assert v2v(*words, "--overwrite", "--quiet") == 0 and capsys.readouterr().err == ""


def test_an_output_that_exists_is_replaced_only_when_asked(v2v, capsys, monkeypatch):
    make("in.mp4", picture(6))
    Path("out.mp4").write_text("mine")
    Path("frames").mkdir()
    Path("frames/frame_000001.png").write_text("mine")
    words = ["edit", "in.mp4", "make it grey", "-o"]
    with monkeypatch.context() as patch:
        patch.setattr(
            "v2v.cli.edit_model.ModelOptions.load_editor", lambda options: pytest.fail("an edit was begun")
        )
        assert v2v(*words, "out.mp4") == 2
        remedy = "exists already; name another with -o, or add --overwrite\n"
        assert capsys.readouterr().err == f"v2v: error: out.mp4: {remedy}"
        assert v2v(*words, "frames", "--codec", "png") == 2
        assert capsys.readouterr().err == f"v2v: error: frames: {remedy}"
        assert v2v(*words, "in.mp4", "--overwrite") == 2
        assert "output is the input" in capsys.readouterr().err
    assert Path("out.mp4").read_text() == Path("frames/frame_000001.png").read_text() == "mine"
    assert v2v(*words, "out.mp4", "--overwrite") == 0 and len(read("out.mp4").frames) == 6
    assert v2v(*words, "frames", "--codec", "png", "--overwrite") == 0
    assert len(list(Path("frames").iterdir())) == 6


def test_codec_quality_and_pixel_format(v2v, capsys):
    make("in.mp4", picture(6, 96, 128), tones=(440,))
    words = ["edit", "in.mp4", "make it grey", "-o"]
    for name, options, codec, pix_fmt in (
        ("a.mp4", ["--codec", "hevc", "--pix-fmt", "yuv420p10le"], "hevc", "yuv420p10le"),
        ("a.webm", ["--quality", "low"], "vp9", "yuv420p"),
        ("a.mov", ["--codec", "prores"], "prores", "yuv422p10le"),
        ("a.mkv", ["--codec", "ffv1"], "ffv1", "bgr0"),
        ("b.mp4", ["--crf", "30", "--pix-fmt", "yuv444p"], "h264", "yuv444p"),
    ):
        assert v2v(*words, name, *options) == 0
        with av.open(name) as file:
            context = file.streams.video[0].codec_context
            assert (context.codec.canonical_name, context.pix_fmt) == (codec, pix_fmt)
        assert read(name).audio


@pytest.mark.parametrize(
    "words, message",
    [
        (["-o", "out.webm", "--codec", "h264"], ".webm holds vp9, av1, not h264"),
        (["-o", "out.mp4", "--crf", "99"], "crf: expected 0 (best) to 51"),
        (["-o", "out.mp4", "--crf", "9", "--quality", "low"], "got both"),
        (["-o", "out.mp4", "--pix-fmt", "rgb"], "pix_fmt: expected one of"),
        (["-o", "out.mp4", "--codec", "png"], "a folder's name"),
    ],
)
def test_an_output_that_cannot_be_is_told_before_any_work(v2v, capsys, monkeypatch, words, message):
    monkeypatch.setattr(
        "v2v.cli.edit_model.ModelOptions.load_editor", lambda options: pytest.fail("an edit was begun")
    )
    assert message in refused(v2v, capsys, ["in.mp4", "make it grey", *words])


def test_pictures(v2v):
    Video.from_array(picture(1)).save("in.png")
    assert v2v("edit", "in.png", "make it negative", "-o", "out.png") == 0
    assert np.abs(255 - read("out.png").frames.astype(int) - read("in.png").frames).mean() < 3


def test_notes_go_to_stderr(v2v, capsys):
    Video.from_array(picture()).save("in.mp4")
    assert v2v("edit", "in.mp4", "make it grey frobnicate", "-o", "out.mp4") == 0
    captured = capsys.readouterr()
    assert (
        captured.err.startswith("v2v: note: ")
        and "frobnicate" in captured.err.splitlines()[0]
        and captured.out == "out.mp4\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["none.mp4", "make it grey", "-o", "out.mp4"],
        ["empty.mp4", "make it grey", "-o", "out.mp4"],
        ["text.mp4", "make it grey", "-o", "out.mp4"],
        ["cut.mp4", "make it grey", "-o", "out.mp4"],
        ["in.mp4", " ", "-o", "out.mp4"],
        ["in.mp4", "make it grey", "-o", "none/out.mp4"],
        ["in.mp4", "make it grey", "-o", "/"],
        ["in.mp4", "make it grey", "-o", "folder"],
        ["in.mp4", "make it grey", "-o", "in.mp4"],
        ["in.mp4", "make it grey", "-o", "out.mp4", "--strength", "2"],
        ["in.mp4", "make it grey", "-o", "out.mp4", "--lora", "missing.safetensors"],
        ["x" * 300 + ".mp4", "make it grey", "-o", "out.mp4"],
        ["in.mp4", "make it grey", "-o", "n" * 300 + ".mp4"],
        ["in.mp4", "make it grey", "-o", "n" * 300 + "/out.mp4"],
    ],
)
def test_bad_input_is_one_line_and_exit_2(v2v, capsys, words):
    refused(v2v, capsys, words)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--mask", "small.png"], "clip's size 64x48, got 8x8"),
        (["--mask", "short.mp4"], "1 frame or the clip's 12, got 3"),
        (["--mask", "long.mp4"], "1 frame or the clip's 12, got 13"),
        (["--mask", "black.png"], "black everywhere"),
        (["--mask", "60,40,10,10"], "within the frame, 64x48"),
        (["--window", "99"], "up to 5 frames, got 99"),
        (["--end", "99"], "seconds within the clip"),
        (["--start", "0.3", "--end", "0.1"], "start before end"),
        (["--mask", "4,4,0,9"], "within the frame, 64x48"),
        (["--mask", "-5,0,20,20"], "within the frame, 64x48"),
        (["--mask", "none.png"], "mask none.png: no such file"),
        (
            ["--mask", "10,10,50"],
            "mask 10,10,50: no such file; expected a picture, a video, a box x,y,w,h",
        ),
        (["--mask", ",".join(["9" * 5000] * 4)], "999: no such file; expected a picture, a video, a box"),
        (["--mask", "backgrund"], "did you mean background?"),
        (["--mask", "LEFT"], "did you mean left?"),
        (["--steps", "99999999999"], "steps: expected at most 10000"),
        (["--guidance", "-1e300"], "guidance: expected 1e+06 at most"),
        (["--preset", "fastwam"], 'got "fastwam"; did you mean fastwan?'),
        (["--preset", "none.json"], "none.json: expected a JSON file, found none"),
        (
            ["--lora", "x.safetensors=1e300"],
            "--lora x.safetensors=1e300: expected a finite weight, 1e+06 at most",
        ),
        (["--mask", "text.mp4"], "mask text.mp4: expected a video"),
        (["--reference", "none.png"], "reference none.png: no such file"),
        (["--reference", "none.mp4@2"], "reference none.mp4: no such file"),
        (["--reference", "x" * 300], "xxx: can't be read (file name too long)"),
    ],
)
def test_bad_controls_are_named(v2v, capsys, words, message):
    assert message in refused(v2v, capsys, ["in.mp4", "make it grey", "-o", "out.mp4", *words])


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--explain", "/proc/zz"],
            "/proc/zz: expected a folder, or a place where one can be made and written",
        ),
        (["--explain", "in.mp4"], "in.mp4: expected a folder"),
        (["--explain", "new/" + "n" * 300], "got: file name too long; choose another with --explain"),
        (["-o", "n" * 245 + ".mp4"], "output's name is too long"),
        (
            ["-o", "https://example.com/a.mp4"],
            "expected to be a file, got https://example.com/a.mp4; write a file and",
        ),
        (["-o", ""], "got an empty name"),
        (["-o", "text.mp4/a.mp4"], "text.mp4: output folder expected, got a file"),
        (["-o", "pipe.mp4", "--overwrite"], "pipe.mp4: output expected to be a file, got a device or a pipe"),
    ],
)
def test_what_cannot_be_written_is_told_before_any_work(v2v, capsys, monkeypatch, words, message):
    def work(*_):
        raise AssertionError("an edit was begun")

    monkeypatch.setattr("v2v.cli.edit_model.ModelOptions.load_editor", work)
    assert message in refused(v2v, capsys, ["in.mp4", "make it grey", "-o", "out.mp4", *words])


def refused(v2v, capsys, words) -> str:
    """Runs an edit that must not be; returns the line that says why."""
    make("in.mp4", picture(12))
    Path("empty.mp4").touch()
    Path("text.mp4").write_text("not a video\n" * 99)
    Path("cut.mp4").write_bytes(Path("in.mp4").read_bytes()[:-400])
    Path("folder").mkdir()
    os.mkfifo("pipe.mp4")
    Video.from_array(np.full((8, 8, 3), 255, np.uint8)).save("small.png")
    Video.from_array(np.full((3, 48, 64, 3), 255, np.uint8)).save("short.mp4")
    Video.from_array(np.full((13, 48, 64, 3), 255, np.uint8)).save("long.mp4")
    Video.from_array(np.zeros((48, 64, 3), np.uint8)).save("black.png")
    before = {path: path.stat().st_mtime_ns for path in Path().iterdir()}
    assert v2v("edit", *words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("v2v: error: ") and captured.err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in Path().iterdir()} == before
    return captured.err


def test_a_mask_that_is_white_all_over_is_said_to_be_none(v2v, capsys):
    Video.from_array(picture()).save("in.mp4")
    Video.from_array(np.full((48, 64, 3), 255, np.uint8)).save("white.png")
    assert v2v("edit", "in.mp4", "make it grey", "-o", "out.mp4", "--mask", "white.png") == 0
    note = capsys.readouterr().err.splitlines()[0]
    assert note == "v2v: note: mask white.png: white everywhere, which is the same as no mask"


@pytest.mark.parametrize(
    "words",
    [[], ["edit"], ["edit", "in.mp4", "x"], ["edit", "in.mp4", "x", "-o", "o.mp4", "--stepz", "3"], ["fly"]],
)
def test_wrong_words_are_exit_2(v2v, words):
    assert v2v(*words) == 2


@pytest.mark.parametrize(
    "words, line",
    [
        (
            ["--start", "abc"],
            "--start: expected seconds such as 2.5 or 0:02.5, got 'abc'; v2v edit --help shows all options",
        ),
        (
            ["--start", "9" * 400 + ":00"],
            f"--start: expected seconds such as 2.5 or 0:02.5, got '{'9' * 400}:00'; v2v edit --help shows all options",
        ),
        (["--soft", "inf"], "--soft: expected a number, got 'inf'; v2v edit --help shows all options"),
        (
            ["--end", "-inf"],
            "--end: expected seconds such as 2.5 or 0:02.5, got '-inf'; v2v edit --help shows all options",
        ),
        (["--seed", "x"], "--seed: expected a whole number, got 'x'; v2v edit --help shows all options"),
        (
            ["--stepz", "3"],
            "unrecognized arguments: --stepz 3; did you mean --steps?; v2v edit --help shows all options",
        ),
    ],
)
def test_wrong_words_are_one_line_with_the_remedy(v2v, capsys, words, line):
    assert v2v("edit", "sample", "make it grey", "-o", "out.mp4", *words) == 2
    assert capsys.readouterr().err == f"v2v edit: error: {line}\n"


def test_every_command_refuses_in_one_line(v2v, capsys):
    assert v2v("synth", "--out", "made", "--pairs", "few") == 2
    said = (
        "v2v synth: error: --pairs: expected a whole number, got 'few'; v2v synth --help shows all options\n"
    )
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "size", ["abc", "64", "64x0", "0x64", "0x0", "0x0x9", "64x64x-3", "-3x64", "64x64x9x9"]
)
def test_a_size_that_is_none(v2v, capsys, size):
    assert v2v("edit", "sample", "make it grey", "-o", "out.mp4", "--size", size) == 2
    said = capsys.readouterr().err
    assert said.startswith("v2v edit: error: --size: expected WxH or WxHxFRAMES") and said.count("\n") == 1
    assert f"got '{size}'" in said


@pytest.mark.parametrize(
    "size, message",
    [
        ("60x64", "sides divisible by 16, got 9x64x60 (frames, height, width); the nearest is 9x64x64"),
        ("1600000x1600000", "need more than 1029968 GiB"),
    ],
)
def test_a_size_the_model_cannot_work_at(v2v, capsys, size, message):
    assert message in refused(v2v, capsys, ["in.mp4", "make it grey", "-o", "out.mp4", "--size", size])


def test_readme_commands_parse():
    """Every `v2v ...` line in a block of the README is one that the parser takes."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = [part.strip() for block in blocks for part in re.split(r"\n|&&", block)]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("v2v ")]
    assert {"edit", "synth", "train"} <= {words[0] for words in commands}
    for words in commands:
        _, rest = parsers.build_parser(main.COMMANDS).parse_known_args(words)
        assert not rest or words[0] in ("train", "encode"), rest


EXPERIMENT = """
import dataclasses
import pathlib

@dataclasses.dataclass(frozen=True)
class Optim:
    peak_lr: float = 1.0

@dataclasses.dataclass(frozen=True)
class Experiment:
    optim: Optim = dataclasses.field(default_factory=Optim)

def config():
    return Experiment()

def run(config, workdir):
    workdir.mkdir(parents=True)
    (workdir / "lr").write_text(str(config.optim.peak_lr))
    return workdir / "lr"
"""


def test_train_runs_the_experiment(v2v, capsys):
    """Options after the command's own are fields of the experiment's config."""
    Path("tiny.py").write_text(EXPERIMENT)
    assert v2v("train", "tiny.py", "--workdir", "runs/a", "--json", "--optim.peak-lr", "1e-4") == 0
    assert json.loads(capsys.readouterr().out) == {"output": "runs/a/lr"}
    assert Path("runs/a/lr").read_text() == "0.0001"


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["tiny.py", "--optim.peak-ir", "1"],
            "unrecognized options: --optim.peak-ir, 1; did you mean --optim.peak-lr",
        ),
        (["tiny.py", "--optim.peak-lr", "many"], "could not convert string to float: 'many'"),
        (["none.py"], "none.py: no such experiment"),
        (["empty.py"], "empty.py: not an experiment"),
        (["cut.py"], "cut.py: expected Python, got "),
        (["other.py"], "other.py: expected config() to return an Experiment, got int"),
        (["tiny.py", "--workdir", "empty.py"], "--workdir empty.py: expected a folder"),
    ],
)
def test_bad_requests_to_train(v2v, capsys, words, message):
    Path("tiny.py").write_text(EXPERIMENT)
    Path("empty.py").touch()
    Path("cut.py").write_text("\ndef config(:\n")
    Path("other.py").write_text("def config():\n    return 3\n\n\nrun = config\n")
    assert v2v("train", "--workdir", "runs/b", *words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("v2v: error: ") and message in captured.err
    assert not Path("runs/b").exists()


def test_a_job_managers_sigterm_leaves_nothing_half_written(tmp_path, monkeypatch):
    def killed(partial, frames, **how):
        partial.write_bytes(b"half of it")
        os.kill(os.getpid(), signal.SIGTERM)

    make(tmp_path / "in.mp4", picture(4))
    monkeypatch.setattr("v2v.video.video.encode_video", killed)
    editor = EasyV2VEditor(FakePretrained())
    monkeypatch.setattr("v2v.cli.edit_model.ModelOptions.load_editor", lambda options: editor)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stopped:
            main.main(["edit", str(tmp_path / "in.mp4"), "make it grey", "-o", str(tmp_path / "out.mp4")])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert stopped.value.code == 143 and [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_the_version_and_the_help_of_a_command_by_their_usual_names(capsys):
    for words in (["--version"], ["version"]):
        with pytest.raises(SystemExit) as ended:
            main.main(words)
        assert ended.value.code == 0 and capsys.readouterr().out == f"v2v {v2v_version}\n"
    with pytest.raises(SystemExit):
        main.main(["help", "edit"])
    assert "usage: v2v edit" in capsys.readouterr().out


def test_the_help_of_an_experiment_lists_its_fields(capsys):
    assert main.main(["train", "debug", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--workdir" in out and "--weights" in out and "--edit.micro" in out
    assert main.main(["plan", "--help"]) == 0 and "--topology" in capsys.readouterr().out
    assert main.main(["train", "nothing", "--help"]) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["in.mp4", "make it night", "--out", "o.mp4"], "for one clip say -o o.mp4"),
        (["https://example.com/a.mp4", "make it night", "-o", "o.mp4"], "download it first"),
    ],
)
def test_a_slip_is_named_with_its_remedy(v2v, capsys, words, message):
    assert message in refused(v2v, capsys, words)


def test_an_unquoted_sentence_is_told_to_be_quoted(v2v, capsys):
    with pytest.raises(SystemExit):
        main.main(["edit", "in.mp4", "make", "it", "night", "-o", "o.mp4"])
    assert 'put the instruction into quotes: "make it night"' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main(["edit", __file__, __file__, __file__, "make it night", "-o", "o.mp4"])
    assert "v2v edit takes one clip; list several in a manifest" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["edt", "in.mp4"], "got 'edt'; did you mean edit?"),
        (["edit", "in.mp4", "make it night", "o.mp4"], "name the output with -o o.mp4"),
        (["edit", "-in.mp4", "make it night", "-o", "o.mp4"], "write ./-in.mp4"),
        (["edit", "make it night", "-in.mp4", "-o", "o.mp4"], "write ./-in.mp4"),
        (["edit", "make it night", "in.mp4", "-o", "o.mp4"], "v2v edit in.mp4 'make it night' -o OUT"),
        (["edit", "sampel", "make it night", "-o", "o.mp4"], "did you mean sample?"),
        (["edit", "in.mp4", "make it night", "-o", "my clips/o.mp4"], "mkdir -p 'my clips'"),
        (["edit", "in.mp4", "make it night", "-o", "o.mp4", "--codec", "h265"], "png, got 'h265'; v2v edit --help"),
        (["models", "--fetch", "lucy"], "models --fetch lucy: expected ORG/NAME"),
        (["synth", "--try", "sheet.mp4", "--recipes", "sepia"], "ends in .png"),
        (["synth", "--out", "d", "--pairs", "0"], "pairs: expected at least 1, got 0"),
        (["synth", "--out", "d", "--pairs", "1", "--height", "99999999"], "sides of at most 16384"),
        (["synth", "--out", "d", "--pairs", "1", "--recipes", "seppia"], "--recipes seppia: no such recipe; did you mean sepia?"),
        (["train", "embeded", "--workdir", "d"], "did you mean embedded?"),
        (["eval", "sweep_fim", "--out", "d"], "no such sweep; expected a Python file or one of sweep_benchmark, sweep_embedded, sweep_film; did you mean sweep_film?"),
    ],
)  # fmt: skip
def test_what_was_meant_is_told(v2v, capsys, words, message):
    for name in ("in.mp4", "-in.mp4"):
        Path(name).write_bytes(b"0")
    assert v2v(*words) == 2
    assert message in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(v2v, monkeypatch):
    read_end, write_end = os.pipe()
    os.close(read_end)
    monkeypatch.setattr(sys, "stdout", os.fdopen(write_end, "w"))
    assert v2v("train", "--list") == 0
    print("and nothing is left that would raise later", flush=True)


@pytest.mark.parametrize("words", [["train", "debug", "--help"], ["plan", "debug", "--help"]])
def test_help_without_an_extra_names_it(v2v, monkeypatch, capsys, words):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert v2v(*words) == 2
    assert f"needs the package tyro, which isn't installed; pip install 'v2v-edit[{words[0]}]'" in capsys.readouterr().err  # fmt: skip


def test_a_sweep_by_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert user_module.find_sweep("sweep_film") == ROOT / "experiments" / "sweep_film.py"
    Path("sweep_film").touch()
    assert user_module.find_sweep("sweep_film") == Path("sweep_film")


def test_a_picture_has_no_times():
    report: Any = {"prompt": "sepia", "strength": 1.0, "mask_area": 0.5, "edited_seconds": 0.04, "edited_from": 0, "edited_to": 0.04}  # fmt: skip
    assert format_report(report, is_picture=True) == '"sepia", 50.0% of the frame'
    assert format_report(report) == '"sepia", 50.0% of the frame for 0.04 s (0.00 to 0.04)'


def test_times_may_be_written_as_on_a_clock():
    parse = parsers.build_parser(main.COMMANDS).parse_args
    args = parse(["edit", "a.mp4", "b", "--start", "1:02.5", "--end", "1:00:03"])
    assert (args.start, args.end) == (62.5, 3603)


def test_a_path_that_the_terminal_cannot_print_is_printed_escaped(tmp_path):
    program = (
        "import sys\nfrom v2v.cli import main\n"
        "main.COMMANDS['words'] = lambda args: {'output': 'caf\\u00e9'}\nsys.exit(main.main(['words']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert ended.returncode == 0 and ended.stdout == b"caf\\xe9\n", ended


def test_words_lists_the_vocabulary(capsys):
    assert main.main(["words", "--json"]) == 0
    words = json.loads(capsys.readouterr().out)["words"]
    assert {"sepia", "night", "remove"} <= set(words) and words == sorted(words)
