"""Experts that write: captions and nouns of clips, instructions of pairs, verdicts; through every connection, and one endpoint for all."""

import dataclasses
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from data_synth import footage, generate, worker
from data_synth.dataset import build, estimate, trial
from data_synth.dataset.request import SynthRequest
from data_synth.experts import answers, protocol, wire
from data_synth.experts import spec as spec_lib
from data_synth.experts.base import Failure, FailureKind
from data_synth.generate import PairOptions
from data_synth.recipes import connections, registry
from data_synth.recipes.sources import Sources
from data_synth.rejection import Rejected
from tests.data_synth.example_experts import clip, toml
from tests.data_synth.outcomes import pairs_of, reason_of
from v2v.errors import InputError
from v2v.video import video as codec

HEAD = 'name = "scribe"\nversion = "1"\nlicense = "MIT"\n'
SCRIPT = """import json, sys
def write(jobs):
    answers = []
    for job in jobs:
        role = job.about["role"]
        if role == "caption":
            answers.append({"caption": "A red square glides over a grey wall.", "nouns": ["red square"]})
        elif role == "instruct":
            answers.append(["make the red square go darker as it glides", "improve it", f"seed {job.seed} at {job.fps:g} frames, please: darken the wall"])
        else:
            answers.append({"keep": job.seed % 2 == 0, "reason": "the square is odd"})
    return answers
if __name__ == "__main__":
    from pathlib import Path
    from data_synth.experts import wire
    Path(sys.argv[2]).write_text(json.dumps(write(wire.unpack_jobs(Path(sys.argv[1]).read_bytes()))))
"""
SIZE = {"T": 6, "H": 32, "W": 48, "transition": 0.0}


@pytest.fixture
def clips(tmp_path):
    """Two clips of a red square on a wall at ten frames a second, one with texts beside it."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, step in (("plain", 2), ("told", 3)):
        film = np.zeros((14, 32, 48, 3), np.uint8)
        film[:] = np.linspace(40, 200, 48)[None, None, :, None]
        for t in range(14):
            film[t, 8:20, step * t % 36 : step * t % 36 + 10] = (250, 10, 10)
        codec.write_video(codec.Video.from_array(film, 10), folder / f"{name}.mp4")
    (folder / "told.txt").write_text("A bright square\nslides along a wall. It is red.")
    (folder / "told.prompts.txt").write_text("make it snow over the {object}\n\n")
    (folder / "told.nouns.txt").write_text("bright square\n")
    return folder


def seeds_of(folder, name, count=2):
    """Return seeds that draw a clip."""
    source = footage.read_clip_folder(folder)
    return [seed for seed in range(200) if source.choose(seed) == name][:count]


def python_expert(folder, roles):
    (folder / "scribe.py").write_text(SCRIPT)
    path = folder / "scribe.toml"
    path.write_text(f'{HEAD}role = {json.dumps(roles)}\nkind = "python"\ncall = "scribe:write"\nbatch = 4\n')
    return str(path)


def test_captions_instructions_and_verdicts_of_one_expert(tmp_path, clips):
    path = python_expert(tmp_path, ["caption", "instruct", "filter"])
    options = PairOptions(edits=("from-canny",), **SIZE, sources=Sources(clips=str(clips), experts=(path,)))
    (told, *_), plain = seeds_of(clips, "told.mp4"), seeds_of(clips, "plain.mp4", 8)
    even, odd = next(s for s in plain if s % 2 == 0), next(s for s in plain if s % 2)
    pair, turned_down = generate.make_block([even, odd], options)
    assert (
        pair.target_caption == "a red square glides over a grey wall"
    )  # tidied so that it fits into sentences
    assert pair.provenance["fps"] == 10 and pair.provenance["captioner"]["license"] == "MIT"
    assert pair.instructions[:2] == (
        "make the red square go darker as it glides",
        f"seed {even} at 10 frames, please: darken the wall",
    )
    assert any("in which a red square glides" in s or "edge" in s for s in pair.instructions[2:])
    assert turned_down == Rejected("from-canny: filter scribe: the square is odd")
    facts = build.collect_facts(pair)
    assert facts.license == "unknown + MIT" and facts.makers == ("scribe 1",)
    without = dataclasses.replace(options, sources=Sources(clips=str(clips)))
    assert (
        generate.make_pair(told, without).target_caption == "a bright square slides along a wall. It is red"
    )
    assert generate.make_pair(plain[0], without).target_caption == "a video"
    connections.connect(path).expert.close()


def test_prompts_belong_to_the_clip(tmp_path, clips):
    """A prompt from the file beside a clip, or what an expert proposes; {object} is filled with its noun."""
    writer = python_expert(tmp_path, ["instruct"])
    (tmp_path / "invert.py").write_text("def f(jobs):\n    return [255 - j.clip for j in jobs]\n")
    edit = tmp_path / "edit.toml"
    edit.write_text(
        'name = "inverter"\nversion = "2"\nlicense = "MIT"\nrole = "edit"\nprompts = ["turn the {object} into a ball", "invert it all"]\n'
        'kind = "python"\ncall = "invert:f"\n'
    )
    told, plain = seeds_of(clips, "told.mp4", 1)[0], seeds_of(clips, "plain.mp4", 1)[0]
    alone = PairOptions(edits=("inverter",), **SIZE, sources=Sources(clips=str(clips), experts=(str(edit),)))
    pair = generate.make_pair(told, alone)
    assert pair.instructions == ("make it snow over the bright square",)
    assert generate.make_pair(plain, alone).instructions == (
        "invert it all",
    )  # the clip has no noun for the other
    helped = dataclasses.replace(alone, sources=Sources(clips=str(clips), experts=(str(edit), writer)))
    assert "make the red square go darker" in " ".join(generate.make_pair(plain, helped).instructions)
    edit.write_text(
        edit.read_text().replace('prompts = ["turn the {object} into a ball", "invert it all"]\n', "")
    )
    assert generate.make_pair(told, alone).instructions == ("make it snow over the bright square",)
    assert reason_of(generate.make_pair(plain, alone)) == "inverter: no prompt for the clip"
    (clips / "told.prompts.txt").unlink()
    with pytest.raises(InputError, match="prompts: expected some, or NAME.prompts.txt beside clips"):
        registry.build_recipe("inverter", alone.sources, "other")
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'name = "chain"\nrole = "composition"\nlicense = "MIT"\n[[step]]\nexpert = "edit.toml"\nclip = "source"\nmakes = "target"\n'
    )
    with pytest.raises(InputError, match="plan.toml: prompts: expected some"):
        registry.build_recipe("chain", Sources(clips=str(clips), experts=(str(plan),)))
    chain = dataclasses.replace(
        alone, edits=("chain",), sources=Sources(clips=str(clips), experts=(str(plan), writer))
    )
    assert "make the red square go darker" in " ".join(generate.make_pair(plain, chain).instructions)
    for path in (writer, str(edit)):
        connections.connect(path).expert.close()


def test_masks_are_asked_for_what_the_clip_shows(tmp_path, clips):
    """The name in NAME.object.txt first, then the expert's own noun, then the clip's; experts in turn until one finds something."""
    (tmp_path / "seg.py").write_text(
        "import numpy as np\n"
        "def red(jobs):\n"
        "    found = [(j.clip[..., 0].astype(int) - j.clip[..., 1] > 120) & ('square' in j.prompt) for j in jobs]\n"
        "    return [np.repeat(m[..., None], 3, -1).astype(np.uint8) * 255 for m in found]\n"
    )
    described = 'version = "1"\nlicense = "MIT"\nkind = "python"\nrole = "mask"\ncall = "seg:red"\n'
    (tmp_path / "open.toml").write_text(f'name = "open"\n{described}')
    (tmp_path / "dogs.toml").write_text(f'name = "dogs"\n{described}noun = "dog"\n')
    experts = tuple(str(tmp_path / name) for name in ("open.toml", "dogs.toml"))
    options = PairOptions(edits=("highlight",), **SIZE, sources=Sources(clips=str(clips), experts=experts))
    told, plain = seeds_of(clips, "told.mp4", 6), seeds_of(clips, "plain.mp4", 6)
    pairs = pairs_of(generate.make_block(told, options))
    assert len(pairs) == 6 and all("bright square" in " ".join(pair.instructions) for pair in pairs)
    reasons = {reason_of(outcome) for outcome in generate.make_block(plain, options)}
    assert reasons <= {"highlight: expert dogs found no dog", "highlight: no noun of the clip to look for"}
    (clips / "plain.object.txt").write_text("red square")
    assert "red square" in generate.make_pair(plain[0], options).instructions[0]
    for path in experts:
        connections.connect(path).expert.close()


def halo(T=8, H=96, W=128):
    """Return a clip of a ball with a soft rim and a shadow, its exact mask, and the clean plate with a network's small errors."""
    rng = np.random.default_rng(3)
    plate = cv2.resize(
        rng.integers(90, 170, (24, 32, 3)).astype(np.float32), (W, H), interpolation=cv2.INTER_CUBIC
    )
    clip, mask = np.zeros((T, H, W, 3), np.uint8), np.zeros((T, H, W), bool)
    for k in range(T):
        ball = cv2.circle(np.zeros((H, W), np.float32), (30 + 8 * k, 44), 14, 1.0, -1)
        alpha = cv2.GaussianBlur(ball, (0, 0), 1.5)[..., None]
        shadow = cv2.ellipse(np.zeros((H, W), np.float32), ((30 + 8 * k, 62), (44, 12), 0), 1.0, -1)
        dark = plate * (1 - 0.4 * cv2.GaussianBlur(shadow, (0, 0), 1.0)[..., None])
        clip[k] = (alpha * np.array([200, 40, 40]) + (1 - alpha) * dark).round()
        mask[k] = alpha[..., 0] > 0.5
    clean = np.repeat(plate[None], T, 0)
    return clip, mask, np.clip(clean + rng.normal(0, 1.5, clean.shape), 0, 255).astype(np.uint8)


def test_what_a_remover_takes_away_stays_away(tmp_path):
    """Neither the object's rim, which lies outside of a tight mask, nor its shadow comes back; elsewhere the clip is untouched."""
    from data_synth.operators.object_removal import grow_mask, take_over

    clip, mask, clean = halo()
    found = take_over(clip, clean, mask)
    np.testing.assert_array_equal(found.target[~found.mask], clip[~found.mask])
    error = np.abs(found.target.astype(int) - clean).max(-1)
    assert error.max() < 24, "the rim or the shadow is left"
    assert (found.effect & ~mask).sum() > 0.5 * mask.sum() and not (found.effect & mask).any()
    assert found.mask.mean() < 0.3
    assert grow_mask(mask)[mask].all() and grow_mask(mask).sum() > 1.1 * mask.sum()
    # A program that repaints everything does not make everything part of the edit.
    everything = take_over(clip, 255 - clean, mask)
    assert everything.mask.mean() < 0.3


class Endpoint(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that sees pictures; `faults` are HTTP statuses that it answers first."""

    faults: list = []
    requests: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).requests.append((self.path, self.headers.get("Authorization"), body))
        if self.faults:
            self.send_response(self.faults.pop(0))
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        task, parts = body["messages"][0]["content"], body["messages"][1]["content"]
        pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        if task.startswith("You see frames"):
            text = '```json\n{"caption": "A red square glides.", "nouns": ["red square"]}\n```'
        elif task.startswith("You write"):
            text = f'Here you are: ["darken the red square in all {len(pictures)} pictures"]'
        else:
            text = '{"keep": true, "reason": ""}'
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": text}}]}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRIBE_KEY", "secret")
    monkeypatch.setattr(Endpoint, "requests", [])
    monkeypatch.setattr(Endpoint, "faults", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        path = tmp_path / "vlm.toml"
        path.write_text(
            f'{HEAD}role = ["caption", "instruct", "filter"]\nkind = "chat"\nurl = "http://127.0.0.1:{server.server_address[1]}/v1"\n'
            'model = "seer"\ntoken = "SCRIBE_KEY"\nframes = 2\nbatch = 4\nprice = 0.5\n'
        )
        yield str(path)
        server.shutdown()


def test_one_endpoint_serves_all_three_roles(tmp_path, clips, endpoint):
    sources = Sources(clips=str(clips), experts=(endpoint,))
    options = PairOptions(edits=("to-canny",), **SIZE, sources=sources)
    seed = seeds_of(clips, "plain.mp4", 1)[0]
    Endpoint.faults.extend([429, 503])  # asks to come back at once
    pair = generate.make_pair(seed, options)
    assert pair.source_caption == "a red square glides"
    assert pair.instructions[0] == "darken the red square in all 4 pictures"  # two before, two after
    assert pair.provenance["filter"]["name"] == "scribe"
    path, key, body = Endpoint.requests[-1]
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "seer")
    asked = len(Endpoint.requests)
    assert asked == 5
    assert generate.make_pair(seed, options).instructions == pair.instructions
    assert len(Endpoint.requests) == asked  # everything comes from the cache
    assert "secret" not in json.dumps(pair.provenance) + "".join(
        p.read_text() for p in (tmp_path / "chat-cache").rglob("*.json")
    )


def test_requests_and_cost_are_told_beforehand(tmp_path, clips, endpoint):
    sources = Sources(clips=str(clips), experts=(endpoint,))
    assert registry.count_requests(("to-canny",), sources, 10) == [("scribe", 30, 15.0)]
    how = {"edits": ("to-canny",), "frames": 6, "height": 32, "width": 48, "sources": sources}
    told = estimate.estimate_build(SynthRequest(tmp_path / "o", 2, **how))
    assert told.requests >= 6 and f"cost about {told.cost:,.2f}" in told.format(1)


def test_what_is_wrong_with_an_answer_is_named(tmp_path, clips, endpoint, monkeypatch):
    expert = protocol.connect_expert(dataclasses.replace(spec_lib.load_spec(endpoint), retries=0, cache=""))
    job = wire.Job(clip(), about={"role": "caption"})
    Endpoint.faults.extend([401])
    (failure,) = protocol.ask_expert(expert, [job], answers.parse_caption)
    assert failure == Failure("answered HTTP 401", FailureKind.ACCESS) and failure.outage
    (failure,) = protocol.ask_expert(expert, [job], answers.parse_verdict)
    assert failure.kind is FailureKind.ANSWER and failure.reason.startswith("answered no verdict")
    monkeypatch.delenv("SCRIBE_KEY")
    with pytest.raises(InputError, match="expected an environment variable SCRIBE_KEY"):
        protocol.ask_expert(expert, [job], answers.parse_caption)


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (
            answers.parse_caption,
            ["a dog", {"caption": "a dog", "nouns": ["dog"]}],
            [[], {"caption": 3}, {"caption": "a", "nouns": "dog"}, None],
        ),
        (
            answers.parse_instructions,
            [["a b"], {"instructions": []}],
            ["a b", {"instructions": [1]}, None, 3],
        ),
        (answers.parse_verdict, [True, {"keep": False}], ["yes", {"keep": "no"}, None]),
    ],
)
def test_forms_of_answers(parse, good, bad):
    for answer in good:
        parse(answer)
    for answer in [*bad, {"caption": "\ud800", "instructions": ["\ud800"], "keep": 1}]:
        with pytest.raises(ValueError, match="answered"):
            parse(answer)


@pytest.mark.parametrize("kind", ["batch", "single"])
def test_commands_write_too(tmp_path, kind):
    """A program that takes a whole batch as .npz, and one that takes a clip as a file and reads numbers from its arguments."""
    (tmp_path / "scribe.py").write_text(SCRIPT)
    one = (
        "import json, sys; info = json.load(open(sys.argv[2])); "
        "json.dump({'caption': ' '.join([info['about']['role'], *sys.argv[3:]])}, open(sys.argv[1], 'w'))"
    )
    (tmp_path / "one.py").write_text(one)
    command = {
        "batch": [sys.executable, "scribe.py", "{jobs}", "{answers}"],
        "single": [
            sys.executable,
            "one.py",
            "{answer}",
            "{info}",
            "{clip}",
            "{seed}",
            "{fps}",
            "{frames}",
            "{width}",
            "{height}",
        ],
    }[kind]
    path = tmp_path / "c.toml"
    path.write_text(f'{HEAD}role = "caption"\nkind = "command"\ncommand = {json.dumps(command)}\nbatch = 2\n')
    expert = protocol.connect_expert(spec_lib.load_spec(path))
    jobs = [wire.Job(clip(), seed=7, fps=12.5, about={"role": "caption"})] * 2
    results = protocol.ask_expert(expert, jobs, answers.parse_caption)
    if kind == "batch":
        assert [result.nouns for result in results] == [("red square",)] * 2
    else:
        assert results[0].caption.startswith("caption ") and results[0].caption.endswith(
            ".mp4 7 12.5 2 20 16"
        )


def test_each_worker_has_a_device(tmp_path):
    (tmp_path / "where.py").write_text(
        "import os\ndef f(jobs):\n    return [os.environ['GPU'] for _ in jobs]\n"
    )
    body = (
        'role = "caption"\nkind = "python"\ncall = "where:f"\ndevices = ["a", "b"]\ndevice_variable = "GPU"\n'
    )
    path = toml(tmp_path, body, HEAD)
    seen = []
    for index in (0, 1, 2):
        worker.set_worker_index(index)
        expert = protocol.connect_expert(spec_lib.load_spec(path))
        seen += protocol.ask_expert(expert, [wire.Job(clip())], answers.parse_caption)
        expert.close()
    worker.set_worker_index(0)
    assert [caption.caption for caption in seen] == ["a", "b", "a"]


def test_a_trial_shows_one_pair_of_each_recipe(tmp_path, clips):
    (tmp_path / "invert.py").write_text(
        "def f(jobs):\n    assert jobs[0].seed and jobs[0].fps == 10\n    return [255 - j.clip for j in jobs]\n"
    )
    body = 'role = "edit"\nprompts = ["invert it all"]\nkind = "python"\ncall = "invert:f"\n'
    path = str(toml(tmp_path, body, 'name = "inverter"\nversion = "2"\nlicense = "MIT"\n'))
    request = SynthRequest(
        "", 0, seed=1, frames=6, height=32, width=48, sources=Sources(clips=str(clips), experts=(path,))
    )
    (attempt,) = trial.try_request(request, tmp_path / "sheet.png")
    assert attempt.recipe == "inverter" and attempt.pair and "a pair in" in attempt.format()
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] > 300
    (tmp_path / "invert.py").write_text("def f(jobs):\n    raise ValueError('no weights')\n")
    connections.connect(path).expert.close()
    with pytest.raises(InputError, match="--try: expected a pair of some recipe, got none .*no weights"):
        trial.try_request(request, tmp_path / "sheet.png")
    writer = python_expert(tmp_path, ["instruct", "filter"])
    assert trial.choose_recipes(dataclasses.replace(request, sources=Sources(experts=(writer,)))) == (
        "from-canny",
        "to-canny",
    )
    connections.connect(path).expert.close()


def test_wrong_sizes_of_any_kind_stop_a_build(tmp_path):
    """An expert whose answers have another size each time is told after eight clips, too."""
    (tmp_path / "wrong.py").write_text(
        "def f(jobs):\n    return [j.clip[:, : 8 + int(j.seed) % 7] for j in jobs]\n"
    )
    path = toml(tmp_path, 'noun = "x"\nkind = "python"\ncall = "wrong:f"\nretries = 0\n')
    how = {"edits": ("to-x",), "frames": 3, "height": 32, "width": 32, "transition": 0.0}
    with pytest.raises(InputError, match=r"answered another size: 3x\d+x32 for 3x32x32, 8 times in a row"):
        build.build_dataset(SynthRequest(tmp_path / "out", 40, sources=Sources(experts=(str(path),)), **how))


def test_clips_at_another_rate(tmp_path, clips):
    """At five frames a second every second frame of a clip of ten is left out, of its mask too, and the rate is recorded."""
    seed = seeds_of(clips, "plain.mp4", 1)[0]
    slow = footage.read_clip_folder(clips, fps=5.0)(seed, 6, 32, 48)
    assert np.diff(slow.numbers).tolist() == [2] * 5 and slow.fps == slow.origin["fps"] == 5
    quick = footage.read_clip_folder(clips, fps=20.0)(seed, 6, 32, 48)
    assert set(np.diff(quick.numbers).tolist()) == {0, 1} or np.diff(quick.numbers).sum() in (2, 3)
    outcome = footage.read_clip_folder(clips, fps=2.0)(seed, 6, 32, 48)
    assert outcome == Rejected("clip plain.mp4 is shorter than 6 frames at 2 frames a second")
    with pytest.raises(InputError, match="--fps: expected --clips"):
        SynthRequest(tmp_path / "o", 1, sources=Sources(fps=5.0)).check()


def test_references_of_targets_from_elsewhere(tmp_path, clips):
    (tmp_path / "invert.py").write_text("def f(jobs):\n    return [255 - j.clip for j in jobs]\n")
    body = 'role = "edit"\nprompts = ["invert it all"]\nkind = "python"\ncall = "invert:f"\n'
    path = str(toml(tmp_path, body, 'name = "inverter"\nversion = "2"\nlicense = "MIT"\n'))
    options = PairOptions(
        edits=("inverter",), **SIZE, sources=Sources(clips=str(clips), experts=(path,)), references=0.5
    )
    pairs = pairs_of(generate.make_block(range(16), options))
    shapes = {pair.reference.shape for pair in pairs if pair.reference is not None}
    assert len(shapes) > 2 and 4 <= sum(pair.reference is None for pair in pairs) <= 12
    assert all(
        pair.reference is None
        for pair in generate.make_block(range(4), dataclasses.replace(options, references=0.0))
    )
    connections.connect(path).expert.close()


def test_rendered_recipes_beside_footage_are_told(clips):
    assert registry.find_rendered(("control",), Sources(clips=str(clips))) == [
        f"{way}-{name}" for way in ("to", "from") for name in ("depth", "segmentation", "motion")
    ]
    assert registry.find_rendered(("control",), Sources()) == []
