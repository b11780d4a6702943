"""Jobs of one shape done together: who joins a batch, whose turn it is, and that each result is as if alone."""

import dataclasses
import functools
import threading

import numpy as np
import pytest

from tests.app.test_job_store import Clock
from tests.example_clips import picture
from tests.example_clips import write as make
from tests.fake_model import FakePretrained
from v2v import EasyV2VEditor, read
from v2v.app.job import Job, new_id
from v2v.app.job_files import JobFiles
from v2v.app.job_store import MOST_ATTEMPTS, JobStore
from v2v.app.worker import Worker, fitting_batch
from v2v.pipeline import batched_model
from v2v.pipeline.settings import EditRequest, EditSettings


@dataclasses.dataclass
class Counting(FakePretrained):
    """Tells the jobs of each batch that it samples."""

    rows: list = dataclasses.field(default_factory=list)

    def sample(self, request):
        self.rows.append(len(request.noise) // self.config.batch)
        return super().sample(request)


class Queue:
    """Jobs in a store, with files and a worker."""

    def __init__(self, folder, model, batch=4):
        self.files, self.clock = JobFiles(folder / "jobs"), Clock()
        self.store = JobStore(f"sqlite:///{folder / 'jobs.db'}", clock=self.clock)
        self.model = model
        self.worker = Worker(EasyV2VEditor(model), self.store, self.files, "fake", batch=batch)

    def add(self, owner="ann", clip=None, shape="5x32x48", prompt="make it grey", **settings):
        job = Job(new_id(), owner, prompt, settings, {"video": "video.mp4"}, shape=shape)
        if clip is not None:
            self.files.folder(job.id).mkdir()
            make(self.files.folder(job.id) / "video.mp4", clip)
        self.clock.now += 1
        return self.store.add(job).id

    def claim(self, most=4):
        jobs = self.store.claim_batch(self.worker.name, most)
        assert {job.batch for job in jobs} in (set(), {len(jobs)})
        return [job.id for job in jobs]

    def find(self, id):
        job = self.store.find(id)
        assert job is not None
        return job

    def frames(self, id):
        return read(self.files.output(id)).frames


@pytest.fixture
def queue(tmp_path):
    queue = Queue(tmp_path, Counting())
    yield queue
    queue.store.close()


def test_jobs_of_one_shape_are_taken_together(queue):
    first = queue.add(seed=1)
    larger, more_steps = queue.add(shape="5x64x64"), queue.add(steps=9)
    second, masked = queue.add(seed=2, amount=0.5), queue.add(mask="left")
    unknown = queue.add(shape="")
    third = queue.add(seed=3)
    assert queue.claim() == [first, second, third]
    assert [queue.claim() for _ in range(5)] == [[larger], [more_steps], [masked], [unknown], []]


def test_a_batch_has_its_limit(queue):
    ids = [queue.add() for _ in range(5)]
    assert queue.claim(2) == ids[:2] and queue.claim(1) == ids[2:3] and queue.claim(9) == ids[3:]


def test_owners_take_turns(queue):
    anns = [queue.add("ann", seed=i) for i in range(6)]
    bob, cleo = queue.add("bob"), queue.add("cleo")
    # The oldest first; then one of each who waits.
    assert queue.claim(3) == [anns[0], bob, cleo]
    dan = queue.add("dan", shape="9x64x64")
    queue.clock.now += 1
    assert queue.claim(1) == [dan] and queue.claim(2) == anns[1:3]
    late = queue.add("bob")
    assert queue.claim(1) == [late] and queue.claim(9) == anns[3:]


def test_what_has_ended_a_worker_is_done_alone(queue):
    ids = [queue.add() for _ in range(3)]
    assert queue.claim() == ids
    queue.clock.now += 61  # without a word
    for id in ids:
        assert queue.claim() == [id]
        queue.store.release(id, queue.worker.name)
        queue.store.cancel(id)
    alone = queue.add()
    for _ in range(MOST_ATTEMPTS):
        assert queue.claim() == [alone]
        queue.clock.now += 61
    assert queue.claim() == [] and queue.find(alone).status == "failed"


def test_each_result_is_as_if_alone(queue):
    clips = [picture(5, 32, 48, seed) for seed in range(3)]
    ids = [queue.add(clip=clip, seed=i) for i, clip in enumerate(clips)]
    ids.append(queue.add(clip=clips[0], prompt="negative", amount=0.5))
    jobs = queue.store.claim_batch(queue.worker.name, 4)
    queue.worker.do_together(jobs)
    assert queue.model.rows and set(queue.model.rows) == {4}
    together = [queue.frames(id) for id in ids]
    assert [(queue.find(id).status, queue.find(id).batch) for id in ids] == [("completed", 4)] * 4
    for id, frames in zip(ids, together, strict=True):
        job = queue.find(id)
        request = queue.files.request(job)
        output = queue.files.folder(id) / "alone.mp4"
        EasyV2VEditor(FakePretrained()).write(request, output)
        np.testing.assert_array_equal(read(output).frames, frames)


def test_one_is_canceled_and_one_fails_and_the_others_go_on(queue):
    entered, go_on = threading.Event(), threading.Event()
    clip = picture(5, 32, 48)
    canceled, failing, good = queue.add(clip=clip), queue.add(clip=clip), queue.add(clip=clip)
    queue.files.folder(failing).joinpath("video.mp4").write_bytes(b"nothing")

    class Waiting(Counting):
        def sample(self, request):
            entered.set()
            assert go_on.wait(60)
            return super().sample(request)

    queue.worker = Worker(EasyV2VEditor(Waiting()), queue.store, queue.files, "fake", batch=4)
    jobs = queue.store.claim_batch(queue.worker.name, 4)
    assert [job.id for job in jobs] == [canceled, failing, good]
    thread = threading.Thread(target=queue.worker.do_together, args=(jobs,))
    thread.start()
    assert entered.wait(60) and queue.store.cancel(canceled)
    go_on.set()
    thread.join(60)
    assert queue.find(canceled).status == "canceled" and not queue.files.output(canceled).exists()
    assert queue.find(failing).status == "failed" and queue.find(failing).error
    assert queue.find(good).status == "completed" and queue.files.output(good).exists()


def test_the_result_of_a_job_that_is_canceled_at_its_last_moment_is_deleted(queue):
    id = queue.add(clip=picture(5, 32, 48))
    [job] = queue.store.claim_batch(queue.worker.name, 1)
    end = queue.store.end

    def end_late(*args, **kwargs):
        assert queue.files.output(id).exists() and queue.store.cancel(id)
        return end(*args, **kwargs)

    queue.store.end = end_late
    queue.worker.do(job)
    assert queue.find(id).status == "canceled" and not queue.files.output(id).exists()


def test_a_worker_that_stops_gives_all_back(queue):
    clip = picture(5, 32, 48)
    ids = [queue.add(clip=clip) for _ in range(2)]
    jobs = queue.store.claim_batch(queue.worker.name, 4)
    queue.worker.stop()
    queue.worker.do_together(jobs)
    assert [(queue.find(id).status, queue.find(id).attempts) for id in ids] == [("queued", 0)] * 2


def test_memory_limits_a_batch():
    assert fitting_batch(FakePretrained(), 3) == 3


@pytest.mark.slow
def test_the_packaged_model_gives_each_job_its_own_result():
    """To a level of rounding: another number of rows is another program."""
    model = EasyV2VEditor().model
    assert fitting_batch(model, 4) == 4
    prompts = ["make it sepia", "make it night", "make it warmer"]
    settings = [EditSettings(seed=i) for i in range(3)]
    requests = [
        EditRequest(picture(9, 64, 64, i), prompt, settings=settings[i]) for i, prompt in enumerate(prompts)
    ]

    def edit(number, model):
        return number, EasyV2VEditor(model).edit(requests[number]).in_memory().video.frames

    tasks = [functools.partial(edit, i) for i in range(3)]
    together = dict(batched_model.run_tasks(model, None, tasks, 3))
    for i in range(3):
        difference = np.abs(together[i].astype(int) - edit(i, model)[1])
        assert difference.max() <= 1 and difference.mean() < 0.02
