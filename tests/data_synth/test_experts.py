"""External experts: three kinds that agree, what is checked of an answer and of a description, and their recipes."""

import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import data_synth.experts
from data_synth import generate
from data_synth.dataset import build, shards
from data_synth.dataset.request import SynthRequest
from data_synth.experts import protocol, wire
from data_synth.experts import spec as spec_lib
from data_synth.experts.base import ExpertError, FailureKind
from data_synth.experts.examples import sketch
from data_synth.experts.wire import Job
from data_synth.generate import PairOptions
from data_synth.recipes import connections, external, registry
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from tests.data_synth.example_experts import clip, reasons, toml
from tests.data_synth.outcomes import pairs_of, reason_of
from v2v.errors import InputError
from v2v.video import video as codec

EXAMPLES = Path(data_synth.experts.__file__).parent / "examples"


def test_wire_round_trip_and_no_pickle():
    jobs = [Job(clip(1)), Job(clip(2, H=8), "make it “blue”", clip(3)[..., 0], clip(4)[0])]
    back = wire.unpack_jobs(wire.pack_jobs(jobs))
    for a, b in zip(jobs, back, strict=True):
        assert a.prompt == b.prompt
        for name in ("clip", "mask", "reference"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None and y is None) or np.array_equal(x, y)
    assert np.array_equal(wire.unpack_clips(wire.pack_clips([clip(9)]), 1)[0], clip(9))
    for bad in (b"", b"hello", wire.pack_clips([clip()])[:-40]):
        with pytest.raises(ValueError, match="no .npz"):
            wire.unpack_clips(bad, 1)
    with pytest.raises(ValueError, match="1 of 2"):
        wire.unpack_clips(wire.pack_clips([clip()]), 2)


def test_the_three_examples_agree(tmp_path, monkeypatch):
    jobs = [Job(np.random.default_rng(s).integers(0, 256, (2, 24, 32, 3), np.uint8)) for s in range(5)]
    want = sketch.sketch(jobs)
    root = str(Path(data_synth.experts.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for path in EXAMPLES.glob("*.toml"):
        shutil.copy(path, tmp_path)
    shutil.copy(EXAMPLES / "sketch.py", tmp_path)
    server = sketch.service(0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    service = tmp_path / "sketch_service.toml"
    service.write_text(service.read_text().replace("8765", str(server.server_address[1])))
    for name in ("sketch", "sketch_command", "sketch_service"):
        spec = spec_lib.load_spec(tmp_path / f"{name}.toml")
        expert = protocol.connect_expert(spec)
        clips = protocol.run_expert(expert, jobs)
        expert.close()
        assert reasons(clips) == ["clip"] * 5, (name, reasons(clips))
        for a, b in zip(clips, want, strict=True):
            np.testing.assert_array_equal(a, b)
    server.shutdown()
    server.server_close()


def test_a_poisoned_clip_fails_alone_and_batches_are_bounded():
    sizes = []

    def function(jobs):
        sizes.append(len(jobs))
        if any(job.clip[0, 0, 0, 0] == 7 for job in jobs):
            raise RuntimeError("bad clip")
        return [255 - job.clip for job in jobs]

    expert = protocol.FunctionExpert("x", "1", function, batch=4, retries=1)
    results = protocol.run_expert(expert, [Job(clip(v)) for v in (1, 2, 7, 4, 5, 6)], pause=0.001)
    assert reasons(results) == ["clip", "clip", "raised RuntimeError: bad clip", "clip", "clip", "clip"]
    assert np.array_equal(results[3], clip(251))
    assert sizes == [
        4,
        4,
        1,
        1,
        1,
        1,
        1,
        2,
    ]  # two tries together, then alone (the poisoned one twice), then the rest


def test_a_passing_fault_is_retried_a_bounded_number_of_times():
    calls = []

    def function(jobs):
        calls.append(1)
        if len(calls) < 3:
            raise OSError("busy")
        return [job.clip for job in jobs]

    assert reasons(
        protocol.run_expert(
            protocol.FunctionExpert("x", "1", function, retries=2), [Job(clip())], pause=0.001
        )
    ) == ["clip"]
    calls.clear()
    results = protocol.run_expert(
        protocol.FunctionExpert("x", "1", function, retries=1), [Job(clip())], pause=0.001
    )
    assert reasons(results) == ["raised OSError: busy"] and len(calls) == 2


@pytest.mark.parametrize(
    "answer, reason",
    [
        ("[j.clip[:, :8] for j in jobs]", "answered another size: 2x8x20 for 2x16x20"),
        (
            "[j.clip.astype(float) for j in jobs]",
            "answered float64 of 4 dimensions, expected uint8 [T, H, W, 3]",
        ),
        ("jobs[0].clip[..., 0][None]", "answered uint8 of 3 dimensions, expected uint8 [T, H, W, 3]"),
    ],
)
def test_wrong_sizes_are_named(answer, reason):
    expert = protocol.FunctionExpert("x", "1", eval(f"lambda jobs: {answer}"))
    assert reasons(protocol.run_expert(expert, [Job(clip())])) == [reason]


@pytest.mark.parametrize(
    "body, message",
    [
        ('kind = "python"\n', "expected call; add it"),
        ('kind = "ftp"\n', "kind: expected one of python, command, http"),
        ('kind = "http"\nurl = 3\n', "url: expected str, got 3"),
        ('kind = "http"\nurl = "u"\nbatch = 0\n', "batch >= 1"),
        ('kind = "http"\nurl = "u"\nspeed = 1\n', "speed: expected one of"),
        ("kind = \n", "expected a TOML file"),
        ('kind = "command"\ncommand = ["a", 1]\n', "command: expected list of strings"),
        ('kind = "command"\ncommand = ["a", "{clip}"]\n', "{jobs} and {answers}, or {clip} and {answer}"),
        ('kind = "python"\ncall = "mine"\n', "call: expected package.module:function, got 'mine'"),
        ('kind = "http"\nurl = "localhost/x"\n', "url: expected http://HOST:PORT/PATH"),
        ('kind = "http"\nurl = "http://127.0.0.1:port/x"\n', "url: expected http://HOST:PORT/PATH"),
    ],
)
def test_descriptions_are_checked(tmp_path, body, message):
    with pytest.raises(InputError, match=message):
        spec_lib.load_spec(toml(tmp_path, body))


def test_recipes_of_an_expert(tmp_path):
    (tmp_path / "inv_expert.py").write_text(
        "def f(jobs):\n    if any(j.clip[0, 0, 0, 0] % 4 == 0 for j in jobs): raise ValueError('dislikes it')\n"
        "    return [255 - j.clip for j in jobs]\n"
    )
    control = toml(
        tmp_path, 'noun = "inverted"\nkind = "python"\ncall = "inv_expert:f"\nbatch = 3\nretries = 0\n'
    )
    edit = tmp_path / "edit.toml"
    edit.write_text(
        'name = "inverter"\nversion = "2"\nlicense = "MIT"\nrole = "edit"\nprompts = ["invert it all"]\n'
        'kind = "python"\ncall = "inv_expert:f"\nretries = 0\n'
    )
    remover = tmp_path / "remove.toml"
    remover.write_text(
        'name = "eraser"\nversion = "3"\nlicense = "MIT"\nrole = "remove"\n'
        'kind = "python"\ncall = "inv_expert:f"\nretries = 0\n'
    )
    sources = Sources(experts=(str(control), str(edit), str(remover)))
    assert external.expert_recipe_names(sources.experts) == [
        "to-x",
        "from-x",
        "inverter",
        "eraser",
        "eraser-insertion",
    ]
    size = {"T": 3, "H": 32, "W": 32, "transition": 0.0, "sources": sources}
    for name in external.expert_recipe_names(sources.experts):
        outcomes = generate.make_block(range(8), PairOptions(edits=(name,), **size))
        pairs = pairs_of(outcomes)
        assert pairs and Rejected(f"{name}: expert raised ValueError: dislikes it", True) in outcomes
        for seed in (0, 5):  # the same alone as in a batch
            outcome = generate.make_pair(seed, PairOptions(edits=(name,), **size))
            if isinstance(outcome, Rejected):
                assert outcome == outcomes[seed]
            else:
                assert np.array_equal(outcome.target, outcomes[seed].target)
        pair = pairs[0]
        assert pair.provenance["expert"]["version"] in "723" and pair.provenance["expert"]["license"] == "MIT"
        on = pair.mask > 0
        inverted = pair.target == 255 - pair.source
        # What a remover changes is mixed with the clip along its border.
        assert inverted[on].all() if "eraser" not in name else inverted[on].mean() > 0.5
        np.testing.assert_array_equal(pair.target[~on], pair.source[~on])
        if name == "eraser-insertion":
            assert any("add" in line or "put" in line for line in pair.instructions)
            assert "without" not in pair.target_caption
        assert name != "to-x" or any("inverted" in i for i in pair.instructions)
    for path in sources.experts:
        connections.connect(path).expert.close()


def test_a_name_of_ours_is_refused(tmp_path):
    path = tmp_path / "canny.toml"
    path.write_text(toml(tmp_path, 'kind = "python"\ncall = "a:f"\n').read_text().replace('"x"', '"canny"'))
    with pytest.raises(InputError, match="to-canny, from-canny: expected names that no recipe of ours has"):
        registry.recipe_names(Sources(experts=(str(path),)))


def test_what_an_expert_prints_is_not_our_output(tmp_path, capfd):
    (tmp_path / "loud.py").write_text(
        "def f(jobs):\n    print('loud', flush=True)\n    return [j.clip for j in jobs]\n"
    )
    expert = protocol.connect_expert(spec_lib.load_spec(toml(tmp_path, 'kind = "python"\ncall = "loud:f"\n')))
    assert reasons(protocol.run_expert(expert, [Job(clip())])) == ["clip"]
    expert.close()
    captured = capfd.readouterr()
    assert "loud" not in captured.out


def test_an_expert_that_hangs_is_not_waited_for_clip_by_clip():
    class Hanging:
        name, version, batch, retries, batch_sizes = "x", "1", 6, 0, []

        def __call__(self, jobs):
            self.batch_sizes.append(len(jobs))
            raise ExpertError("took more than 1 s", FailureKind.TIMEOUT)

        def close(self):
            pass

    assert reasons(protocol.run_expert(Hanging(), [Job(clip())] * 6)) == ["took more than 1 s"] * 6
    assert Hanging.batch_sizes == [6, 1, 1]


@pytest.mark.slow
def test_a_service_that_is_down_stops_the_build_and_is_asked_again(tmp_path, monkeypatch):
    """A number of failures in a row is enough; when it is back the same command makes what it would have made."""
    (tmp_path / "down.py").write_text(
        f"import pathlib\ndef f(jobs):\n    if not pathlib.Path({str(tmp_path / 'up')!r}).exists(): raise SystemExit(1)\n"
        "    return [255 - j.clip for j in jobs]\n"
    )
    path = toml(tmp_path, 'noun = "x"\nkind = "python"\ncall = "down:f"\nretries = 0\n')
    how = {
        "edits": ("to-x",),
        "frames": 3,
        "height": 32,
        "width": 32,
        "transition": 0.0,
        "sources": Sources(experts=(str(path),)),
    }
    # Each crash is a process that starts.
    monkeypatch.setattr(build, "MAX_CONSECUTIVE_FAILURES", 3)
    with pytest.raises(
        InputError, match=r"crashed \(exit 1\), 3 times in a row; see that the expert of .*x.toml works"
    ):
        build.build_dataset(SynthRequest(tmp_path / "out", 4, **how))
    (tmp_path / "up").touch()
    resumed_report, fresh_report = (
        build.build_dataset(SynthRequest(tmp_path / "out", 4, **how)),
        build.build_dataset(SynthRequest(tmp_path / "fresh", 4, **how)),
    )
    assert resumed_report == fresh_report and not any(
        "crashed" in reason for reason in resumed_report["dropped"]
    )
    assert resumed_report["licenses"] == {"Apache-2.0 + MIT": 4}


def test_an_expert_that_answers_another_size_is_told_after_eight_clips(tmp_path):
    asked = tmp_path / "asked"
    (tmp_path / "wrong.py").write_text(
        f"def f(jobs):\n    open({str(asked)!r}, 'a').write('x' * len(jobs))\n    return [j.clip[:-1] for j in jobs]\n"
    )
    path = toml(tmp_path, 'noun = "x"\nkind = "python"\ncall = "wrong:f"\nretries = 0\n')
    how = {"edits": ("to-x",), "frames": 3, "height": 32, "width": 32, "transition": 0.0}
    sources = Sources(experts=(str(path),))
    with pytest.raises(InputError, match="answered another size: 2x32x32 for 3x32x32, 8 times in a row"):
        build.build_dataset(SynthRequest(tmp_path / "out", 40, sources=sources, **how))
    assert len(asked.read_text()) <= 32


def test_batches_stay_whole_however_large_the_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "PIXELS_PER_BLOCK", 1)  # one seed a shard for what needs no expert
    (tmp_path / "count.py").write_text(
        f"def f(jobs):\n    open({str(tmp_path / 'asked')!r}, 'a').write(f'{{len(jobs)}} ')\n    return [255 - j.clip for j in jobs]\n"
    )
    path = toml(tmp_path, 'noun = "x"\nkind = "python"\ncall = "count:f"\nbatch = 4\n')
    how = {
        "frames": 2,
        "height": 16,
        "width": 16,
        "transition": 0.0,
        "sources": Sources(experts=(str(path),)),
    }
    build.build_dataset(SynthRequest(tmp_path / "out", 3, edits=("to-x",), **how))
    assert (tmp_path / "asked").read_text().split()[0] == "4"


def test_masks_may_come_from_an_expert(tmp_path):
    """Clips without masks beside them are cut by an expert, for the built-in recipes and for experts that remove."""
    (tmp_path / "clips").mkdir()
    film = np.zeros((12, 32, 48, 3), np.uint8)
    film[:] = np.linspace(40, 200, 48)[None, None, :, None]
    for t in range(12):
        film[t, 8:20, 2 * t : 2 * t + 10] = (250, 10, 10)
    codec.write_video(codec.Video.from_array(film, 10), tmp_path / "clips" / "walk.mp4")
    (tmp_path / "seg.py").write_text(
        "import numpy as np\n"
        "def red(jobs):\n"
        "    assert all(j.prompt == 'red square' for j in jobs)\n"
        "    found = [(j.clip[..., 0].astype(int) - j.clip[..., 1] > 120) for j in jobs]\n"
        "    return [np.repeat(m[..., None], 3, -1).astype(np.uint8) * 255 for m in found]\n"
        "def fill(jobs):\n    return [np.where(j.mask[..., None] > 0, 90, j.clip).astype(np.uint8) for j in jobs]\n"
    )
    mask, fill = tmp_path / "mask.toml", tmp_path / "fill.toml"
    head = 'version = "1"\nlicense = "MIT"\nkind = "python"\n'
    mask.write_text(head + 'name = "seg"\nrole = "mask"\nnoun = "red square"\ncall = "seg:red"\n')
    fill.write_text(head + 'name = "fill"\nrole = "remove"\ncall = "seg:fill"\n')
    sources = Sources(clips=str(tmp_path / "clips"), experts=(str(mask), str(fill)))
    how = {"T": 12, "H": 32, "W": 48, "transition": 0.0, "sources": sources}
    for name in ("removal", "insertion", "fill", "fill-insertion"):
        pair = generate.make_pair(0, PairOptions(edits=(name,), **how))
        assert reason_of(pair) == ""
        assert "red square" in pair.instructions[0] and pair.provenance["mask"]["name"] == "seg"
        with_thing = pair.target if "insertion" in name else pair.source
        assert with_thing[6, 14, 16, 0] > 200 and pair.mask[6, 14, 16] == 255 and pair.mask[6, 30, 2] == 0
    assert (
        registry.find_unused_sources(("removal",), Sources(clips=sources.clips, experts=(str(mask),))) == []
    )
    assert registry.find_unused_sources(
        ("to-canny",), Sources(clips=sources.clips, experts=(str(mask),))
    ) == [f"--expert {mask}"]
