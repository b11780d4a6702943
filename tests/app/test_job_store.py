"""The queue: a job has one worker at a time, none is lost when a worker ends without a word, and owners see their own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from v2v import InputError
from v2v.app.job import Job, new_id
from v2v.app.job_store import MOST_ATTEMPTS, JobStore
from v2v.runtime.database import LostDatabaseError


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}", lease=60, clock=clock)
    yield store
    store.close()


def job(owner="ann", **fields):
    return Job(new_id(), owner, "make it blue", {"seed": 3}, {"video": "video.mp4"}, **fields)


def test_a_job_survives_the_process(tmp_path, clock):
    address = f"sqlite:///{tmp_path / 'jobs.db'}"
    first = JobStore(address, clock=clock)
    stored = first.add(job(notes=("a", "b"), webhook="http://x/y"))
    first.close()
    again = JobStore(address, clock=clock)
    assert again.find(stored.id) == stored and stored.created == 1000
    again.close()


def test_the_oldest_job_is_claimed_first_and_once(store, clock):
    ids = []
    for second in range(6):
        clock.now = 1000.0 + second
        ids.append(store.add(job()).id)
    claimed, lock = [], threading.Lock()

    def work(name):
        while (mine := store.claim(name)) is not None:
            with lock:
                claimed.append(mine.id)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(ids) and len(claimed) == 6
    assert store.claim("w9") is None


def test_a_job_whose_worker_is_silent_is_taken_again(store, clock):
    id = store.add(job()).id
    first = store.claim("a")
    assert first is not None and first.attempts == 1 and store.claim("b") is None
    clock.now += 50
    assert store.report(id, "a", 30, "windows 1 of 3")
    clock.now += 50  # the lease was renewed at 50
    assert store.claim("b") is None
    store.renew(id, "a")
    running = store.find(id)
    assert running is not None and (running.progress, running.stage) == (30, "windows 1 of 3")
    clock.now += 50
    assert store.claim("b") is None
    clock.now += 20
    second = store.claim("b")
    assert second is not None and second.attempts == 2 and second.progress == 0
    # What the first one still says counts no more.
    assert not store.report(id, "a", 90, "") and store.end(first, "a") is None
    assert store.end(second, "b", report={"seed": 3}) is not None
    done = store.find(id)
    assert done is not None and (done.status, done.progress, done.report) == ("completed", 100, {"seed": 3})


def test_notes_of_the_upload_and_of_the_edit_are_told(store):
    stored = store.add(job(notes=("the file is cut short",)))
    claimed = store.claim("a")
    assert claimed is not None
    store.end(claimed, "a", notes=("the file is cut short", "a word is unknown"))
    ended = store.find(stored.id)
    assert ended is not None and ended.notes == ("the file is cut short", "a word is unknown")


def test_a_job_that_ends_its_workers_fails(store, clock):
    id = store.add(job()).id
    clock.now += 1
    other = store.add(job()).id
    for _ in range(MOST_ATTEMPTS):
        claimed = store.claim("a")
        assert claimed is not None and claimed.id == id
        clock.now += 61
    claimed = store.claim("a")
    failed = store.find(id)
    assert claimed is not None and claimed.id == other
    assert failed is not None and failed.status == "failed" and "without a word" in failed.error


def test_a_released_job_waits_again_as_if_untouched(store):
    stored = store.add(job())
    assert store.claim("a") is not None
    store.release(stored.id, "a")
    assert store.find(stored.id) == stored


def test_a_canceled_job_is_nobodys(store):
    queued, running = store.add(job()), store.add(job())
    assert store.cancel(queued.id) and not store.cancel(queued.id)
    claimed = store.claim("a")
    assert claimed is not None and claimed.id == running.id
    assert store.cancel(running.id) and not store.report(running.id, "a", 50, "")
    assert store.end(claimed, "a") is None
    after = store.find(running.id)
    assert after is not None and after.status == "canceled" and store.claim("a") is None


def test_owners_see_their_own_page_by_page(store, clock):
    ids = []
    for second in range(5):
        clock.now = 1000.0 + second // 2  # two at the same moment
        ids.append(store.add(job()).id)
    other = store.add(job("bob"))
    assert store.find(other.id, "ann") is None and store.find(other.id, "bob") == other
    whole = [entry.id for entry in store.list("ann")]
    assert sorted(whole) == sorted(ids)
    pages, after = [], ""
    while page := store.list("ann", 2, after):
        pages += [entry.id for entry in page]
        after = page[-1].id
    assert pages == whole
    assert [entry.id for entry in store.list("ann", newest_first=False)] == whole[::-1]
    assert store.list("ann", 2, other.id) == []
    assert store.count(("queued",)) == 6 and store.count(("queued",), "ann", since=1001) == 3


def test_ended_jobs_expire(store, clock):
    waiting, ended = store.add(job()), store.add(job())
    store.cancel(ended.id)
    assert store.find_expired(deadline=clock.now + 1) == [ended.id]
    store.delete(ended.id)
    assert store.find(ended.id) is None and store.find(waiting.id) is not None


@pytest.mark.parametrize("address", ["nonsense", "sqlite:////no/such/folder/x.db", "unknown://host/name"])
def test_an_address_that_is_no_database(address):
    with pytest.raises(InputError, match="--store"):
        JobStore(address)


def test_an_end_is_told_by_the_next_worker(store, clock):
    """Where the one that was to tell it was killed; never by two while its lease lasts."""
    store.add(job(webhook="http://x/y"))
    silent = store.add(job())
    for _ in range(2):
        store.end(store.claim("first"), "first")
    assert store.find(silent.id).stage == ""
    assert store.claim_untold("second", 10) == []
    clock.now += 61
    (left,) = store.claim_untold("second", 10)
    assert left.status == "completed" and left.webhook == "http://x/y"
    assert store.claim_untold("third", 10) == []
    assert not store.begin_telling(left.id, "first") and store.begin_telling(left.id, "second")
    store.end_telling(left.id, "first")
    assert store.find(left.id).stage == "webhook"
    store.end_telling(left.id, "second")
    clock.now += 600
    assert store.find(left.id).stage == "" and store.claim_untold("third", 10) == []


def test_a_database_that_is_deleted_while_it_is_open(store, tmp_path):
    """What were written to it would be gone with the process: it is refused, also when another lies in its place."""
    stored, path = store.add(job()), tmp_path / "jobs.db"
    aside = path.rename(tmp_path / "aside.db")
    for _ in range(2):
        with pytest.raises(
            LostDatabaseError, match="was deleted or replaced while it was open; start v2v again"
        ):
            store.add(job())
        path.write_bytes(b"")
    aside.replace(path)
    assert store.find(stored.id) is not None


def test_servers_that_start_at_the_same_moment(tmp_path):
    for attempt in range(5):
        start = threading.Barrier(6)

        def open_store(_, attempt=attempt, start=start):
            start.wait()
            return JobStore(f"sqlite:///{tmp_path / f'{attempt}.db'}")

        with ThreadPoolExecutor(6) as executor:
            for store in executor.map(open_store, range(6)):
                store.close()
