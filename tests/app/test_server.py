"""The HTTP interface: an edit from upload to result, other people's jobs, limits, and bad input."""

import functools
import http.server
import io
import json
import tempfile
import threading
import time

import av
import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.app.documented import check_documented, read_routes
from tests.example_clips import picture
from tests.example_clips import write as make
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor, InputError, read
from v2v.app.access import DEFAULT_LIMITS, Limits, Tokens, read_tokens
from v2v.app.job_files import JobFiles
from v2v.app.job_store import JobStore
from v2v.app.server import build_server
from v2v.app.worker import Worker, WorkerThread

ANN, BOB = "a" * 20, "b" * 20
HEADERS = {"Authorization": f"Bearer {ANN}"}


@functools.cache
def describe_routes():
    """Return what the interface says of itself, which is the same for every server."""
    with tempfile.TemporaryDirectory() as folder:
        store = JobStore("sqlite://")
        server = build_server(store, JobFiles(folder), model="fake", tokens=Tokens())
        store.close()
        return read_routes(server.openapi())


class Service:
    """A server, its store and files, and a worker that is started on demand."""

    def __init__(self, folder, limits=DEFAULT_LIMITS, **options):
        self.files = JobFiles(folder / "jobs")
        self.store = JobStore(f"sqlite:///{folder / 'jobs.db'}")
        self.worker = Worker(EasyV2VEditor(FakePretrained()), self.store, self.files, "fake")
        tokens = Tokens({ANN: "ann", BOB: "bob"})
        server = build_server(self.store, self.files, model="fake", tokens=tokens, limits=limits, **options)
        self.http = TestClient(server, headers=HEADERS)
        self.http.event_hooks["response"].append(lambda answer: check_documented(describe_routes(), answer))

    def send(self, clip, prompt="make it grey", files=None, **fields):
        uploads = {"video": ("in.mp4", clip)} | (files or {})
        return self.http.post("/v1/videos", files=uploads, data={"prompt": prompt} | fields)

    def work(self):
        """Do all jobs that wait."""
        while (job := self.store.claim(self.worker.name)) is not None:
            self.worker.do(job)

    def tell(self, id):
        return self.http.get(f"/v1/videos/{id}").json()


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    yield service
    service.store.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    make(path, picture(6, 48, 64))
    return path.read_bytes()


def test_an_edit_from_upload_to_result(service, clip, tmp_path):
    created = service.send(clip, seed="5", start="0.04", preserve="true")
    assert created.status_code == 200, created.text
    job = created.json()
    assert (
        job["object"] == "video"
        and job["status"] == "queued"
        and job["settings"] == {"seed": 5, "start": 0.04, "preserve": True}
    )
    content = service.http.get(f"/v1/videos/{job['id']}/content")
    assert content.status_code == 409 and content.headers["Retry-After"]
    service.work()
    done = service.tell(job["id"])
    assert done["status"] == "completed" and done["progress"] == 100 and done["report"]["seed"] == 5, done
    content = service.http.get(f"/v1/videos/{job['id']}/content")
    assert content.headers["content-type"] == "video/mp4"
    (tmp_path / "in.mp4").write_bytes(clip)
    (tmp_path / "out.mp4").write_bytes(content.content)
    expected = tmp_path / "expected.mp4"
    EasyV2VEditor(FakePretrained()).edit_file(
        tmp_path / "in.mp4", "make it grey", expected, seed=5, start=0.04
    )
    np.testing.assert_array_equal(read(tmp_path / "out.mp4").frames, read(expected).frames)
    assert service.http.get("/v1/videos").json()["data"][0]["id"] == job["id"]
    deleted = service.http.delete(f"/v1/videos/{job['id']}")
    assert deleted.json()["deleted"] and not service.files.folder(job["id"]).exists()
    assert service.http.get(f"/v1/videos/{job['id']}").status_code == 404


def test_masks_as_a_file_and_by_name(service, clip, tmp_path):
    mask = np.zeros((48, 64, 3), np.uint8)
    mask[:, :32] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    ids = [
        service.send(clip, files={"mask": ("m.png", (tmp_path / "mask.png").read_bytes())}).json()["id"],
        service.send(clip, mask="0,0,32,48").json()["id"],
    ]
    service.work()
    results = []
    for id in ids:
        assert service.tell(id)["status"] == "completed", service.tell(id)
        (tmp_path / "out.mp4").write_bytes(service.http.get(f"/v1/videos/{id}/content").content)
        results.append(read(tmp_path / "out.mp4").frames)
    np.testing.assert_array_equal(*results)
    assert (
        np.ptp(results[0][..., :20, :].mean((0, 1, 2))) < 3 < np.ptp(results[0][..., 44:, :].mean((0, 1, 2)))
    )


def test_jobs_of_others_are_closed(service, clip):
    id = service.send(clip).json()["id"]
    bob = {"Authorization": f"Bearer {BOB}"}
    for method, path in (("GET", ""), ("GET", "/content"), ("POST", "/cancel"), ("DELETE", "")):
        assert service.http.request(method, f"/v1/videos/{id}{path}", headers=bob).status_code == 404
    assert service.http.get("/v1/videos", headers=bob).json()["data"] == []
    for wrong in ("Bearer nonsense", "Basic x", "", f"Bearer {ANN} x"):
        answer = service.http.get("/v1/videos", headers={"Authorization": wrong})
        assert answer.status_code == 401 and "Bearer TOKEN" in answer.json()["error"]["message"]
    assert service.tell(id)["status"] == "queued"
    assert service.http.get("/healthz", headers={"Authorization": ""}).json()["status"] == "ok"


def test_jobs_are_listed_page_by_page(service, clip):
    ids = [service.send(clip).json()["id"] for _ in range(3)]
    first = service.http.get("/v1/videos", params={"limit": 2, "order": "asc"}).json()
    assert [job["id"] for job in first["data"]] == ids[:2] and first["has_more"]
    second = service.http.get(
        "/v1/videos", params={"limit": 2, "order": "asc", "after": first["last_id"]}
    ).json()
    assert [job["id"] for job in second["data"]] == ids[2:] and not second["has_more"]
    for wrong in ({"limit": 0}, {"limit": 1000}, {"order": "up"}):
        assert service.http.get("/v1/videos", params=wrong).status_code == 400


def test_pages_of_other_origins(tmp_path, clip):
    service = Service(tmp_path, origins=["https://friend.example"])
    answers = {
        origin: service.http.get("/v1/videos", headers={"Origin": origin})
        for origin in ("https://evil.example", "https://friend.example", "http://testserver", "null")
    }
    assert [answer.status_code for answer in answers.values()] == [403, 200, 200, 403]
    assert (
        answers["https://friend.example"].headers["access-control-allow-origin"] == "https://friend.example"
    )
    service.store.close()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "  "}, "prompt: expected the edit"),
        ({"prompt": "x" * 5000}, "at most 4000"),
        ({"prompt": "a\x00b"}, "control characters"),
        ({"steps": "0"}, "steps: expected at least 1"),
        ({"seed": "1.5"}, "seed: expected"),
        ({"strength": "nan"}, "strength: expected"),
        ({"sead": "1"}, "did you mean seed"),
        ({"size": "1280x720"}, "own size is kept"),
        ({"mask": "/etc/passwd"}, "mask: expected a file, a box"),
        ({"mask": "../x.png"}, "mask: expected a file, a box"),
        ({"reference": "/etc/passwd"}, "reference: expected a file, got a text"),
        ({"model": "other"}, "model: this server has fake"),
        ({"webhook": "http://169.254.169.254/x"}, "webhook: this server tells no such"),
        ({"webhook": "file:///etc/passwd"}, "webhook: this server tells no such"),
    ],
)
def test_bad_fields_are_answered_in_one_line(service, clip, fields, message):
    answer = service.send(clip, **{"prompt": "make it grey"} | fields)
    error = answer.json()["error"]
    assert answer.status_code == 400 and message in error["message"] and "\n" not in error["message"]
    assert str(service.files.root) not in answer.text
    assert list(service.files.root.iterdir()) == [] and service.store.count(("queued",)) == 0


def test_bad_uploads_are_answered_in_one_line(service, clip):
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    concat = b"ffconcat version 1.0\nfile /etc/passwd\n"
    bad = {
        "empty.mp4": b"", "text.mp4": b"hello " * 50, "cut.mp4": clip[: len(clip) // 3], "list.m3u8": playlist,
        "list.ffconcat": concat, "zeros.mp4": bytes(4000), "../../x.mp4": b"nothing",
    }  # fmt: skip
    for name, data in bad.items():
        answer = service.http.post(
            "/v1/videos", files={"video": (name, data)}, data={"prompt": "make it grey"}
        )
        assert answer.status_code == 400, (name, answer.text)
        message = answer.json()["error"]["message"]
        assert message.startswith("video") and str(service.files.root) not in message and "\n" not in message
    assert list(service.files.root.iterdir()) == []
    no_clip = service.http.post("/v1/videos", data={"prompt": "make it grey"})
    other = service.http.post("/v1/videos", files={"movie": ("a", clip)}, data={"prompt": "make it grey"})
    twice = service.http.post(
        "/v1/videos", files=[("video", ("a", clip)), ("video", ("b", clip))], data={"prompt": "x"}
    )
    assert [answer.status_code for answer in (no_clip, other, twice)] == [400] * 3
    assert (
        service.http.post(
            "/v1/videos",
            content=b"--x\r\nbroken",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        ).status_code
        == 400
    )


def test_names_of_uploads_are_no_paths(service, clip):
    id = service.http.post(
        "/v1/videos", files={"video": ("../../../evil.MP4", clip)}, data={"prompt": "make it grey"}
    ).json()["id"]
    assert [path.name for path in service.files.folder(id).iterdir()] == ["video.mp4"]
    for name in ("..", "%2e%2e%2fjobs.db", "video_" + "0" * 31, "video_" + "g" * 32):
        assert service.http.get(f"/v1/videos/{name}/content").status_code == 404


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        (Limits(upload_bytes=1000), 413, "too_large"),
        (Limits(seconds=0.05), 413, "too_large"),
        (Limits(frames=3), 413, "too_large"),
        (Limits(pixels=1000), 413, "too_large"),
        (Limits(disk_bytes=1000), 507, "disk_full"),
    ],
)
def test_limits_of_a_clip(tmp_path, clip, limits, status, code):
    service = Service(tmp_path, limits)
    answer = service.send(clip)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert list(service.files.root.iterdir()) == []
    service.store.close()


def test_a_body_without_a_length_is_counted(tmp_path, clip):
    service = Service(tmp_path, Limits(upload_bytes=1000))

    def pieces():
        yield b'--x\r\nContent-Disposition: form-data; name="video"; filename="a"\r\n\r\n'
        for _ in range(10):
            yield bytes(500)
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert service.http.post("/v1/videos", content=pieces(), headers=headers).status_code == 413
    service.store.close()


def test_limits_of_an_owner(tmp_path, clip):
    service = Service(tmp_path, Limits(waiting=2, per_minute=3))
    assert [service.send(clip).status_code for _ in range(3)] == [200, 200, 429]
    service.work()
    answers = [service.send(clip) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].json()["error"]["code"] == "too_fast" and int(answers[1].headers["Retry-After"]) > 0
    assert (
        service.http.post(
            "/v1/videos",
            files={"video": ("a.mp4", clip)},
            data={"prompt": "x"},
            headers={"Authorization": f"Bearer {BOB}"},
        ).status_code
        == 200
    )
    service.store.close()


def test_an_edit_that_fails_says_why_and_the_next_is_done(service, clip):
    class Broken(FakePretrained):
        def sample(self, request):
            raise RuntimeError("secret detail")

    bad = service.send(clip, end="0.02", start="0.03").json()["id"]
    service.work()
    failed = service.tell(bad)
    assert (
        failed["status"] == "failed"
        and failed["error"]["message"]
        and str(service.files.root) not in json.dumps(failed)
    )
    service.worker._editor = EasyV2VEditor(Broken())
    broken = service.send(clip).json()["id"]
    service.work()
    assert service.tell(broken)["status"] == "failed" and "secret" not in json.dumps(service.tell(broken))
    assert not service.files.output(broken).exists()
    service.worker._editor = EasyV2VEditor(FakePretrained())
    good = service.send(clip).json()["id"]
    service.work()
    assert service.tell(good)["status"] == "completed"


def test_notes_name_no_folder_of_the_server(service, clip):
    tagged = io.BytesIO()
    with av.open(io.BytesIO(clip)) as source, av.open(tagged, "w", format="matroska") as target:
        target.metadata["weather"] = "fair"  # which MP4 has no place for
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    id = service.send(tagged.getvalue()).json()["id"]
    service.work()
    assert any(note.startswith("output.mp4: can't keep") for note in service.tell(id)["notes"])
    assert str(service.files.root) not in json.dumps(service.tell(id))


def test_cancel_while_it_runs_and_stop(service, clip):
    """The model waits in `sample` until it is told to go on: what happens meanwhile is then seen by the worker."""
    entered, go_on = threading.Event(), threading.Event()

    class Waiting(FakePretrained):
        def sample(self, request):
            entered.set()
            assert go_on.wait(300)
            return super().sample(request)

    service.worker._editor = EasyV2VEditor(Waiting())
    first, second = (service.send(clip).json()["id"] for _ in range(2))
    running = WorkerThread.start(service.worker)
    assert entered.wait(300) and service.tell(first)["status"] == "in_progress"
    assert service.http.post(f"/v1/videos/{first}/cancel").json()["status"] == "canceled"
    time.sleep(0.4)  # reports are at least 0.3 s apart
    entered.clear()
    go_on.set()
    assert entered.wait(300)  # the second has begun
    service.worker.stop()
    running.stop(300)
    assert service.tell(first)["status"] == "canceled" and not service.files.output(first).exists()
    assert service.tell(second)["status"] in ("queued", "completed")
    restarted = Worker(EasyV2VEditor(FakePretrained()), service.store, service.files, "fake")
    while (job := service.store.claim("restarted")) is not None:
        restarted.name = "restarted"
        restarted.do(job)
    assert service.tell(second)["status"] == "completed"


def test_a_webhook_is_told_of_the_end(tmp_path, clip):
    told = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    receiver = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, args=(0.01,), daemon=True).start()
    service = Service(tmp_path, webhook_hosts=["127.0.0.1"])
    id = service.send(clip, webhook=f"http://127.0.0.1:{receiver.server_port}/done").json()["id"]
    service.work()
    for _ in range(2400):
        if told:
            break
        time.sleep(0.05)
    receiver.shutdown()
    assert [(event["type"], event["data"]["id"]) for event in told] == [("video.completed", id)]
    service.store.close()


def test_head_is_answered_as_get_without_a_body(service, clip):
    id = service.send(clip).json()["id"]
    service.work()
    paths = (
        "/",
        "/healthz",
        "/page/app.js",
        f"/v1/videos/{id}",
        f"/v1/videos/{id}/content",
        f"/v1/videos/{id}/files/video",
        "/v1/videos/x",
    )
    for path in paths:
        head, get = service.http.head(path), service.http.get(path)
        assert (head.status_code, dict(head.headers)) == (get.status_code, dict(get.headers)), path
        assert head.content == b"" and int(head.headers["content-length"]) == len(get.content) > 0
    part = service.http.head(f"/v1/videos/{id}/content", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"], part.content) == (206, "10", b"")
    assert service.http.head(f"/v1/videos/{id}/cancel").status_code == 405
    assert service.http.head("/v1/videos", headers={"Authorization": ""}).status_code == 401


def test_tokens_are_read_and_bad_files_refused(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who\nann {ANN}\n\nbob {BOB}\n")
    tokens = read_tokens(path)
    assert (
        tokens.find_owner(f"bearer {BOB}") == "bob"
        and tokens.find_owner(None) is None
        and ANN not in repr(tokens)
    )
    assert Tokens().find_owner(None) == "anyone"
    for text in (
        "",
        "ann short\n",
        f"ann {ANN} x\n",
        f"ann {ANN}\nann {BOB}\n",
        f"a/b {ANN}\n",
        f"ann {ANN}\nbob {ANN}\n",
    ):
        path.write_text(text)
        with pytest.raises(InputError, match="--tokens"):
            read_tokens(path)
    with pytest.raises(InputError, match="expected a text file"):
        read_tokens(tmp_path / "missing")
