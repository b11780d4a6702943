"""The check that sends damaged files to a server: the server stands it, and what the check looks for it finds."""

import httpx
import pytest

from tests.app.test_server import Service
from tests.example_clips import picture
from tests.example_clips import write as make
from tools.checks.fuzz_server import FORMS, ROLES, Check, Upload


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    make(path, picture(3, 16, 16))
    return path.read_bytes()


def test_damaged_uploads_and_forms_are_refused_and_nothing_is_left(tmp_path, clip):
    service = Service(tmp_path)
    check = Check(service.http, clip, service.files.root)
    for role in ROLES:
        check.send(Upload("text", role, "../../a\r\nb.png", b"hello"))
        check.send(Upload("cut", role, "cut.mp4", clip[: len(clip) // 2]))
    for number in range(len(FORMS)):
        check.send_form(number)
    assert check.findings == [] and set(check.counts) == {"400"}
    check.send(Upload("whole", "video", "in.mp4", clip))
    assert check.findings == [] and check.counts["200"] == 1
    service.store.close()


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (httpx.Response(500, text="oh"), "500 'oh'"),
        (httpx.Response(400, json={"error": {"message": "two\nlines"}}), "two"),
        (httpx.Response(400, text="no"), "without an error"),
        (None, "no answer: ConnectError"),
    ],
)
def test_it_finds_what_it_looks_for(answer, finding, clip):
    def handle(request):
        if request.url.path == "/healthz":
            return httpx.Response(200, json={"status": "ok"})
        if answer is None:
            raise httpx.ConnectError("gone")
        return answer

    check = Check(httpx.Client(base_url="http://x", transport=httpx.MockTransport(handle)), clip)
    check.send(Upload("case", "video", "a.mp4", b""))
    assert len(check.findings) == 1 and finding in check.findings[0]


def test_it_finds_files_that_are_left_and_a_server_that_is_ill(tmp_path, clip):
    (tmp_path / "video_1").mkdir()

    def handle(request):
        status = {"status": "ill"} if request.url.path == "/healthz" else {"error": {"message": "no"}}
        return httpx.Response(200 if request.url.path == "/healthz" else 400, json=status)

    check = Check(httpx.Client(base_url="http://x", transport=httpx.MockTransport(handle)), clip, tmp_path)
    check.send(Upload("case", "video", "a.mp4", b""))
    assert [finding.split(": ")[1] for finding in check.findings] == [
        "files are left behind",
        "the server is not healthy afterwards",
    ]
