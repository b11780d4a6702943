"""Clips that lie on the server: previews, masks, jobs made of them, the command line, and what is closed to others."""

import base64
import dataclasses
import shlex
import time

import cv2
import numpy as np
import pytest

from tests.app.test_server import BOB, Service
from tests.example_clips import picture, write
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor, InputError, read
from v2v.app.access import Limits
from v2v.app.clip_files import ClipFiles
from v2v.app.edit_command import format_command
from v2v.app.job import Job
from v2v.app.mask_tasks import MaskTasks, read_order
from v2v.app.model_choice import AdapterFile, EditorShelf, read_adapter
from v2v.app.page_info import PageInfo
from v2v.app.page_routes import read_page_files
from v2v.cli import parsers
from v2v.cli.app import name_adapters
from v2v.cli.edit import _settings
from v2v.cli.main import COMMANDS
from v2v.config import debug
from v2v.language.abilities import Abilities, LookAbility
from v2v.pipeline.settings import EditSettings

BOB_HEADERS = {"Authorization": f"Bearer {BOB}"}


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    with service.http:  # the end of the server ends the thread of masks
        yield service
    service.store.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    write(path, picture(6, 48, 64))
    return path.read_bytes()


def add(service, clip, name="film.mp4"):
    answer = service.http.post("/v1/clips", files={"video": (name, clip)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def keyframe(frame, columns=32, height=48, width=64):
    """The left columns painted."""
    mask = np.zeros((height, width), bool)
    mask[:, :columns] = True
    bits = base64.b64encode(np.packbits(mask)).decode()
    return {"frame": frame, "width": width, "height": height, "bits": bits}


def make_mask(service, clip_id, **order):
    task = service.http.post(f"/v1/clips/{clip_id}/masks", json=order).json()
    for _ in range(6000):
        task = service.http.get(f"/v1/clips/{clip_id}/masks/{task['id']}").json()
        if task["status"] not in ("queued", "in_progress"):
            break
        time.sleep(0.02)
    return task


def test_a_clip_and_its_views(service, clip, tmp_path):
    told = add(service, clip)
    assert (told["width"], told["height"], told["frames"], told["fps"]) == (64, 48, 6, 25)
    assert told["times"] == pytest.approx([n / 25 for n in range(6)]) and told["duration"] == pytest.approx(
        6 / 25
    )
    assert service.http.get(f"/v1/clips/{told['id']}").json() == told
    preview = service.http.get(f"/v1/clips/{told['id']}/preview")
    (tmp_path / "preview.mp4").write_bytes(preview.content)
    (tmp_path / "in.mp4").write_bytes(clip)
    shown, source = read(tmp_path / "preview.mp4"), read(tmp_path / "in.mp4")
    assert preview.headers["content-type"] == "video/mp4" and shown.times == pytest.approx(source.times)
    assert np.abs(shown.frames.astype(int) - source.frames).mean() < 4
    part = service.http.get(f"/v1/clips/{told['id']}/preview", headers={"Range": "bytes=4-7"})
    assert part.status_code == 206 and part.content == b"ftyp"
    strip = cv2.imdecode(
        np.frombuffer(service.http.get(f"/v1/clips/{told['id']}/strip").content, np.uint8), 1
    )
    assert strip.shape == (54, 72 * told["thumbnails"], 3)
    assert service.http.delete(f"/v1/clips/{told['id']}").json()["deleted"]
    assert list(service.files.root.iterdir()) == []


def test_a_painted_mask_and_a_box_edit_alike_and_the_command_too(service, clip, tmp_path):
    id = add(service, clip)["id"]
    task = make_mask(service, id, follow=False, keyframes=[keyframe(2), keyframe(0, 8)])
    assert task["status"] == "completed" and task["area"] == pytest.approx(0.5) and not task["moves"], task
    content = service.http.get(f"/v1/clips/{id}/masks/{task['id']}/content")
    assert content.headers["content-type"] == "image/png"
    jobs = [service.http.post("/v1/videos", data={"prompt": "make it grey", "clip": id, "mask": mask}).json() for mask in (task["id"], "0,0,32,48")]  # fmt: skip
    # What was painted is told again, to its owner.
    facts = [service.http.get(f"/v1/videos/{job['id']}/clip").json() for job in jobs]
    assert [told["painted"] for told in facts] == [True, False]
    painted = service.http.get(f"/v1/videos/{jobs[0]['id']}/painted")
    assert painted.json() == {"follow": False, "keyframes": [keyframe(2), keyframe(0, 8)]}
    assert service.http.get(f"/v1/videos/{jobs[1]['id']}/painted").status_code == 404
    assert service.http.get(f"/v1/videos/{jobs[0]['id']}/painted", headers=BOB_HEADERS).status_code == 404
    assert service.http.delete(f"/v1/clips/{id}").status_code == 200  # jobs have files of their own
    service.work()
    results = []
    for job in jobs:
        assert service.tell(job["id"])["status"] == "completed", service.tell(job["id"])
        (tmp_path / "out.mp4").write_bytes(service.http.get(f"/v1/videos/{job['id']}/content").content)
        results.append(read(tmp_path / "out.mp4").frames)
    np.testing.assert_array_equal(*results)
    told = service.http.get(f"/v1/videos/{jobs[0]['id']}/command").json()
    assert told["command"] == "v2v edit video.mp4 'make it grey' -o edited.mp4 --model fake --mask mask.png"
    for role, name in told["files"].items():
        (tmp_path / name).write_bytes(service.http.get(f"/v1/videos/{jobs[0]['id']}/files/{role}").content)
    again = EasyV2VEditor(service.worker._editor.model).edit_video(tmp_path / "video.mp4", "make it grey", tmp_path / "mask.png")  # fmt: skip
    again.save(tmp_path / "again.mp4")
    np.testing.assert_array_equal(read(tmp_path / "again.mp4").frames, results[0])


def test_a_picture_stays_a_picture(service, tmp_path):
    cv2.imwrite(str(tmp_path / "in.png"), picture(1, 48, 64)[0])
    told = add(service, (tmp_path / "in.png").read_bytes(), "photo.PNG")
    assert told["frames"] == 1
    mask = make_mask(service, told["id"], follow=True, keyframes=[keyframe(0)])
    data = {"prompt": "make it grey", "clip": told["id"], "mask": mask["id"]}
    job = service.http.post("/v1/videos", data=data).json()["id"]
    service.work()
    content = service.http.get(f"/v1/videos/{job}/content")
    assert content.headers["content-type"] == "image/png" and service.tell(job)["status"] == "completed"
    edited, source = (
        cv2.imdecode(np.frombuffer(content.content, np.uint8), 1),
        cv2.imread(str(tmp_path / "in.png")),
    )
    np.testing.assert_array_equal(edited[:, 32:], source[:, 32:])
    assert (
        np.ptp(edited[:, 8:24].astype(int), axis=-1).max()
        < 8
        < np.ptp(source[:, 8:24].astype(int), axis=-1).max()
    )
    command = service.http.get(f"/v1/videos/{job}/command").json()["command"]
    assert "video.png" in command and "-o edited.png" in command and "mask.png" in command


def test_masks_that_follow_and_masks_by_name(service, clip, tmp_path):
    id = add(service, clip)["id"]
    tracked = make_mask(service, id, follow=True, keyframes=[keyframe(0), keyframe(5, 48)])
    assert tracked["status"] == "completed" and tracked["moves"] and 0.5 < tracked["area"] < 0.75, tracked
    (tmp_path / "mask.mp4").write_bytes(
        service.http.get(f"/v1/clips/{id}/masks/{tracked['id']}/content").content
    )
    mask = read(tmp_path / "mask.mp4")
    assert len(mask.frames) == 6 and mask.times == pytest.approx([n / 25 for n in range(6)])
    assert (
        mask.frames[0, :, :30].min() > 224
        and mask.frames[0, :, 34:].max() < 32
        and mask.frames[5, :, :46].min() > 224
    )
    half = make_mask(service, id, source="left")
    assert half["status"] == "completed" and half["area"] == 0.5 and not half["moves"]
    for name in ("person", "text"):
        missing = make_mask(service, id, source=name)
        assert missing["status"] == "failed" and (
            "pip install" in missing["error"]["message"] or "no " in missing["error"]["message"]
        )
    empty = make_mask(service, id, keyframes=[keyframe(0, 0)])
    assert empty["status"] == "failed" and "expected a painted place" in empty["error"]["message"]


def test_masks_wait_and_are_canceled(service, clip):
    id = add(service, clip)["id"]

    def wait(frames, keyframes, report):
        for _ in range(30000):
            report(0, 1)
            time.sleep(0.01)
        raise AssertionError("was not canceled")

    tasks = MaskTasks(wait)
    stored_clip = ClipFiles(service.files.root).find(id, "ann")
    order = read_order({"keyframes": [keyframe(0)]}, stored_clip)
    first, second = tasks.start(stored_clip, order), tasks.start(stored_clip, order)
    while first.status == "queued":
        time.sleep(0.01)
    assert (
        tasks.count_waiting("ann") == 2
        and tasks.count_waiting("bob") == 0
        and tasks.find(first.id, "bob") is None
    )
    tasks.cancel(first)
    tasks.close()
    assert first.status == second.status == "canceled" and not list(stored_clip.folder.glob("mask_*"))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([], "JSON object"),
        ({}, "keyframes: expected a list"),
        ({"source": "/etc/passwd"}, "source: expected the name"),
        ({"source": 5}, "source: expected the name"),
        ({"keyframes": [keyframe(6)]}, "out of range"),
        ({"keyframes": [keyframe(0) | {"width": 10**6}]}, "out of range"),
        ({"keyframes": [keyframe(0) | {"width": True}]}, "no whole numbers"),
        ({"keyframes": [keyframe(0) | {"width": 63}]}, "not as many bits"),
        ({"keyframes": [keyframe(0) | {"bits": "?"}]}, "keyframes: expected frame"),
        ({"keyframes": [keyframe(0), keyframe(0)]}, "each frame once"),
        ({"keyframes": [7]}, "keyframes: expected frame"),
        ({"keyframes": [keyframe(0)] * 65}, "1 to 64"),
    ],
)  # fmt: skip
def test_bad_masks_are_answered_in_one_line(service, clip, order, message):
    id = add(service, clip)["id"]
    answer = service.http.post(f"/v1/clips/{id}/masks", json=order)
    assert answer.status_code == 400 and message in answer.json()["error"]["message"], answer.text


def test_clips_of_others_are_closed(service, clip):
    id = add(service, clip)["id"]
    mask = make_mask(service, id, source="left")["id"]
    job = service.http.post("/v1/videos", data={"prompt": "make it grey", "clip": id}).json()["id"]
    paths = [("GET", f"/v1/clips/{id}"), ("DELETE", f"/v1/clips/{id}"), ("POST", f"/v1/clips/{id}/masks")]
    paths += [("GET", f"/v1/clips/{id}/{view}") for view in ("preview", "strip", "thumbnail")]
    paths += [("GET", f"/v1/clips/{id}/masks/{mask}"), ("GET", f"/v1/clips/{id}/masks/{mask}/content"), ("POST", f"/v1/clips/{id}/masks/{mask}/cancel")]  # fmt: skip
    paths += [
        ("GET", f"/v1/videos/{job}/{part}") for part in ("clip", "command", "files/video", "files/preview")
    ]
    for method, path in paths:
        body = {"source": "left"} if method == "POST" else None
        assert service.http.request(method, path, headers=BOB_HEADERS, json=body).status_code == 404, path
        assert (
            service.http.request(method, path, headers={"Authorization": ""}, json=body).status_code == 401
        ), path
    for fields in (
        {"clip": id},
        {"clip": "clip_" + "0" * 32},
        {"clip": f"../{id}"},
        {"clip": id, "mask": mask},
    ):
        answer = service.http.post("/v1/videos", data={"prompt": "x"} | fields, headers=BOB_HEADERS)
        assert answer.status_code == 400 and "clip: no clip" in answer.json()["error"]["message"]
    assert service.http.post("/v1/clips", data={"job": job}, headers=BOB_HEADERS).status_code == 404
    assert service.http.get(f"/v1/clips/{id}").status_code == 200


def test_what_is_no_clip_and_what_is_no_view(service, clip):
    id = add(service, clip)["id"]
    for data in (b"", b"hello " * 50, clip[: len(clip) // 3], b"#EXTM3U\nfile:///etc/passwd\n"):
        answer = service.http.post("/v1/clips", files={"video": ("x.mp4", data)})
        assert answer.status_code == 400 and answer.json()["error"]["message"].startswith("video"), (
            answer.text
        )
        assert str(service.files.root) not in answer.text
    assert [path.name for path in service.files.root.iterdir()] == [id]
    for path in (
        "video",
        "clip.json",
        "..%2fjobs.db",
        "%2e%2e",
        "masks/../clip.json",
        "masks/mask_" + "0" * 32 + "/content",
    ):
        assert service.http.get(f"/v1/clips/{id}/{path}").status_code == 404, path
    job = service.http.post("/v1/videos", data={"prompt": "make it grey", "clip": id}).json()["id"]
    for role in ("mask", "missing", "output.mp4", "..%2f..%2fjobs.db", "clip.json"):
        assert service.http.get(f"/v1/videos/{job}/files/{role}").status_code == 404, role
    both = service.http.post("/v1/videos", data={"prompt": "x", "clip": id}, files={"video": ("a", clip)})
    assert both.status_code == 400 and "none or both" in both.json()["error"]["message"]
    assert (
        service.http.post("/v1/videos", data={"prompt": "x", "clip": id, "mask": "mask_1"}).status_code == 400
    )


def test_limits_and_age_of_clips(tmp_path, clip):
    service = Service(tmp_path, Limits(per_minute=2, keep_seconds=100))
    for _ in range(2):
        add(service, clip)
    answer = service.http.post("/v1/clips", files={"video": ("a", clip)})
    assert answer.status_code == 429 and answer.json()["error"]["code"] == "too_fast"
    clips = ClipFiles(service.files.root)
    clips.delete_unused(time.time() - 100)
    assert clips.count("ann") == 2 and clips.count("bob") == 0
    clips.new_folder()  # of an upload that was broken off
    clips.delete_unused(time.time() + 1)
    assert list(service.files.root.iterdir()) == []
    (tmp_path / "full").mkdir()
    full = Service(tmp_path / "full", Limits(disk_bytes=10))
    assert full.http.post("/v1/clips", files={"video": ("a", clip)}).status_code == 507
    for each in (service, full):
        each.store.close()


def test_the_source_and_the_result_of_a_job_become_clips(service, clip):
    job = service.send(clip).json()["id"]  # as any client sends it, without a preview
    facts = service.http.get(f"/v1/videos/{job}/clip").json()
    assert (
        facts["frames"] == 6 and service.http.get(f"/v1/videos/{job}/files/preview").content[4:8] == b"ftyp"
    )
    early = service.http.post("/v1/clips", data={"job": job, "part": "result"})
    assert early.status_code == 400 and "job: expected one" in early.json()["error"]["message"]
    service.work()
    source, result = (
        service.http.post("/v1/clips", data={"job": job, "part": part}).json()
        for part in ("source", "result")
    )
    assert source["frames"] == result["frames"] == 6


def test_what_the_page_is_told(tmp_path):
    abilities = Abilities(
        {"sepia": LookAbility("make the video sepia", 32, 28, 18), "winter": LookAbility("x", 20, 20, 18)}
    )
    info = PageInfo("small", abilities, 12)
    service = Service(tmp_path, info=info)
    told = service.http.get("/v1/page").json()
    assert told["looks"] == [{"title": "sepia", "say": "make the video sepia"}] and told["steps"] == 12
    assert {mask["name"]: mask["extra"] for mask in told["masks"]}["person"] == "subject"
    good = service.http.post(
        "/v1/instructions", json={"prompt": "make it a bit sepia in the left half"}
    ).json()
    assert len(good["edits"]) == 1 and "sepia" in good["edits"][0] and "left" in good["edits"][0]
    refused = service.http.post("/v1/instructions", json={"prompt": "make the sky dance"})
    assert refused.status_code == 400 and "\n" not in refused.json()["error"]["message"]
    for body in ("[]", "{", '{"prompt": 5}', "[" * 100_000):
        assert service.http.post("/v1/instructions", content=body).status_code == 400
    assert PageInfo("any").plan("whatever one says", False, False, False) == []
    service.store.close()


def test_the_page_and_nothing_else_is_sent_without_a_token(service):
    http = service.http
    page = http.get("/", headers={"Authorization": ""})
    assert page.status_code == 200 and "What should change?" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in read_page_files():
        assert http.get(f"/page/{name}", headers={"Authorization": ""}).status_code == 200
    assert "http" not in page.text  # nothing of others
    for path in (
        "/page/../server.py",
        "/page/%2e%2e/server.py",
        "/page/",
        "/page/missing.js",
        "/page/page_routes.py",
    ):
        assert http.get(path).status_code == 404, path


def test_adapters_of_the_command_line_by_their_names():
    high, low = ["a/style_high_noise.safetensors", "b=yellow.safetensors"], ["style-LOW.safetensors"]
    adapters = name_adapters(["x.safetensors", "y=highlands.safetensors"], high, low)
    assert {name: [(part.file, part.transformer) for part in parts] for name, parts in adapters.items()} == {
        "x": [("x.safetensors", None)],
        "y": [("highlands.safetensors", None)],
        "style": [(high[0], "high"), (low[0], "low")],
        "b": [("yellow.safetensors", "high")],
    }
    assert [*name_adapters([], ["yellow.safetensors"])] == ["yellow"]
    for arguments in ((["x=1", "x=2"],), (["=f"],), ([], ["s=1", "s=2"]), (["s=1"], ["s=2"])):
        with pytest.raises(InputError, match="expected NAME=FILE, each name once"):
            name_adapters(*arguments)


@pytest.mark.parametrize(
    ("settings", "files", "words"),
    [
        ({}, {}, []),
        ({"seed": 0, "preserve": True, "strength": 1.0}, {}, []),
        ({"seed": 7, "num_inference_steps": 4, "start": 0.5, "end": 1.25}, {}, ["--seed", "7", "--steps", "4"]),
        ({"preserve": False, "anyway": True, "amount": 0.5}, {}, ["--no-preserve", "--anyway"]),
        ({"mask": "text:IT'S $HOME", "guidance": -1.5}, {}, ["text:IT'S $HOME", "--guidance=-1.5"]),
        ({"invert_mask": True}, {"mask": "mask.png", "reference": "reference.jpg", "first_frame": "first_frame.png"}, ["--invert-mask"]),
    ],
)  # fmt: skip
def test_the_command_line_says_what_the_job_does(settings, files, words):
    for prompt in ("make it sepia", '-anyway `rm` it\'s "quoted"'):
        job = Job("video_0", "ann", prompt, settings, {"video": "video.mov"} | files)
        line = shlex.split(format_command(job, PageInfo("embedded")))
        assert all(word in line for word in words), line
        args = parsers.build_parser(COMMANDS).parse_args(line[1:])
        assert (args.video, args.instruction, args.output) == ("video.mov", prompt, "edited.mp4")
        assert args.mask == files.get("mask", settings.get("mask")) and args.first_frame == files.get(
            "first_frame"
        )
        assert (args.reference or [None])[0] == files.get("reference")
        asked = {name: value for name, value in settings.items() if name != "mask"}
        assert _settings(args) == EditSettings.of(**asked)


@pytest.mark.slow
def test_a_job_chooses_its_model_and_adapter(tmp_path, clip):
    info = PageInfo(
        "fake",
        others=("other",),
        adapters={
            "soft": (AdapterFile("a/soft.safetensors"),),
            "x=1": (AdapterFile("x.safetensors"),),
            "pair": (AdapterFile("h.safetensors", "high"), AdapterFile("l.safetensors", "low")),
        },
    )
    service, loaded = Service(tmp_path, info=info), []

    class Adapted(FakePretrained):
        def with_lora(self, adapter, scale=1.0, transformer=None):
            loaded.append((self.config.name, adapter, scale, *([transformer] if transformer else [])))
            return self

    def load(name):
        loaded.append(name)
        return EasyV2VEditor(Adapted(dataclasses.replace(debug(), name=name)))

    shelf = EditorShelf(load("fake"), "fake", load, info.adapters)
    service.worker._shelf = shelf
    for fields in (
        {"lora": "soft"},
        {"lora": "soft=0.5", "model": "other"},
        {"model": "other"},
        {"model": "fake"},
    ):
        job = service.send(clip, **fields).json()
        assert job["model"] == fields.get("model", "fake")
        service.work()
        assert service.tell(job["id"])["status"] == "completed", service.tell(job["id"])
        if fields.get("lora") == "soft=0.5":
            command = service.http.get(f"/v1/videos/{job['id']}/command").json()["command"]
            assert command.endswith("--model other --lora a/soft.safetensors=0.5")
    adapted = [("fake", "a/soft.safetensors", 1.0), ("other", "a/soft.safetensors", 0.5)]
    assert loaded == ["fake", adapted[0], "other", adapted[1]]
    loaded.clear()
    job = service.send(clip, lora="pair=0.5").json()
    service.work()
    assert loaded == [("fake", "h.safetensors", 0.5, "high"), ("fake", "l.safetensors", 0.5, "low")]
    command = service.http.get(f"/v1/videos/{job['id']}/command").json()["command"]
    assert command.endswith("--lora-high h.safetensors=0.5 --lora-low l.safetensors=0.5")
    for fields in ({"lora": "/etc/passwd"}, {"lora": "soft=x"}, {"lora": "soft=inf"}, {"model": "third"}):
        answer = service.send(clip, **fields)
        assert answer.status_code == 400 and answer.json()["error"]["message"].startswith(tuple(fields)), (
            answer.text
        )
    assert read_adapter("x=1", info.adapters) == ("x=1", 1.0) and read_adapter("x=1=2", info.adapters) == (
        "x=1",
        2.0,
    )
    service.store.close()
