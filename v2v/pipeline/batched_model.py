"""Several jobs at a time, each a share of one batch over a mesh of devices. jobs.py → **together** → weights/pretrained.py

Every job runs as it would alone, in a thread of its own, with a `BatchedModel` where its model was. When all who may still ask for the
model wait for it, what they ask is answered at once:

    job 0   encode(video [k, T, h, w, 3])  ┐
    job 1   encode(video [k, T, h, w, 3])  ├─ equal shapes and settings → one call of J k rows, job i on device i
    job 2   sample(noise [k, t, y, x, c])  ┘  anything else             → a call of its own

A batch always has J = devices jobs' rows (the last repeated where fewer ask), so one compilation serves any number of jobs, and no
row sees another job's: noise depends on seed and place in the clip alone, windows agree within their own clip (`windows.Links`).
So a job's result is that of the job alone, to the rounding of the compiler. Weights lie whole on every device.
"""

import copy
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from v2v.diffusion.windows import WindowLinks
from v2v.runtime import sharding

T = TypeVar("T")


def run_tasks(model, mesh: Mesh, tasks: Iterable[Callable[["BatchedModel"], T]]) -> Iterator[T]:
    """Runs tasks, as many at a time as the mesh has data-parallel devices, and yields what each returns, as it ends.

    Args:
      model: a `Pretrained`; every task gets a `BatchedModel` that stands for it.
      mesh: devices of this process.
    """
    table = _Table(mesh)
    placed = model.on(mesh)

    def one(task: Callable[[BatchedModel], T], seat: BatchedModel) -> T:
        seat.join()
        try:
            return task(seat)
        finally:
            seat.leave()

    with ThreadPoolExecutor(table.seats, "job") as pool:
        tasks = [(task, BatchedModel(placed, table, _Place())) for task in tasks]
        for _, seat in tasks[: table.seats]:  # or the first would ask alone while the others' threads start
            seat.join()
        waiting = [pool.submit(one, *task) for task in tasks]
        try:
            for ended in as_completed(waiting):
                yield ended.result()
        finally:  # also when nobody wants the rest any more
            for task in waiting:
                task.cancel()
            table.close()


class BatchedModel:
    """A model at a table: what it is asked waits for what others ask, and is answered with it."""

    def __init__(self, model, table: "_Table", place: "_Place"):
        self._model, self._table, self._place = model, table, place

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def join(self) -> None:
        """From now on the others wait for what this one asks."""
        self._table.count(self._place, True)

    def leave(self) -> None:
        """The others needn't wait any more. What is asked nevertheless is answered."""
        self._table.count(self._place, False)

    def with_lora(self, adapter, scale: float = 1.0) -> "BatchedModel":
        return BatchedModel(self._table.adapted(self._model, adapter, scale), self._table, self._place)

    def embed_text(self, texts: list[str]):
        with self._table.model:
            return self._model.embed_text(texts)

    def encode(self, video: np.ndarray) -> np.ndarray:
        return self._ask("encode", video)

    def encode_mask(self, mask: np.ndarray) -> np.ndarray:
        return self._ask("encode_mask", mask)

    def decode(self, z: np.ndarray) -> np.ndarray:
        return self._ask("decode", z)

    def sample(
        self, z_src, z_msk, z_ref, text, *, noise, begin=None, links: WindowLinks | None = None, **how
    ):
        rows = {"z_src": z_src, "z_msk": z_msk, "z_ref": z_ref, "text": text, "noise": noise, "begin": begin}
        return self._ask("sample", links=links, **how, **rows)

    def _ask(self, name: str, *array, links: WindowLinks | None = None, **asked):
        arrays = dict(enumerate(array)) | {k: v for k, v in asked.items() if np.ndim(v) > 1}
        rest = {k: v for k, v in asked.items() if k not in arrays}
        arrays = {k: np.asarray(v) for k, v in arrays.items()}
        return self._table.ask(_Question(self._model, name, arrays, rest, links), self._place)


@dataclass
class _Place:
    """Whether a thread is waited for."""

    taken: bool = False


@dataclass
class _Question:
    model: Any
    name: str
    arrays: dict[Any, np.ndarray]  # rows first
    rest: dict[str, Any]
    links: WindowLinks | None
    answer: Any = None
    error: BaseException | None = None
    done: bool = False

    def alike(self) -> tuple:
        """Questions that agree in this are one call."""
        shapes = tuple((k, a.shape, str(a.dtype)) for k, a in self.arrays.items())
        return id(self.model), self.name, shapes, tuple(sorted(self.rest.items())), self.links is None


class _Table:
    """Gathers questions until everybody waits."""

    def __init__(self, mesh: Mesh):
        self.mesh, self.seats = mesh, mesh.shape["data"] * mesh.shape["fsdp"]
        self.model = threading.RLock()  # held by who uses it
        self._turn = threading.Condition()
        self._expected, self._asked, self._busy, self._closed = 0, [], False, False
        self._adapted: dict[tuple, Any] = {}

    def count(self, place: _Place, taken: bool) -> None:
        with self._turn:
            self._expected += int(taken) - int(place.taken)
            place.taken = taken
            self._turn.notify_all()

    def close(self) -> None:
        """Nothing is answered any more."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def adapted(self, model, adapter, scale: float):
        """One model for all jobs with the same adapters, so that they can share a call."""
        with self.model:
            key = id(model), str(adapter), scale
            if key not in self._adapted:
                self._adapted[key] = model.with_lora(adapter, scale)
            return self._adapted[key]

    def ask(self, question: _Question, place: _Place):
        was = place.taken
        self.count(place, True)
        with self._turn:
            self._asked.append(question)
            while not question.done:
                if self._closed:
                    raise RuntimeError("jobs were stopped")
                if self._busy or len(self._asked) < self._expected:
                    self._turn.wait()
                else:
                    self._serve()
        self.count(place, was)
        if question.error is not None:
            raise question.error
        return question.answer

    def _serve(self) -> None:
        """Answers what has been asked; called, and left, with the turn held."""
        asked, self._asked, self._busy = self._asked, [], True
        self._turn.release()
        try:
            groups = defaultdict(list)
            for question in asked:
                groups[question.alike()].append(question)
            for group in groups.values():
                try:
                    with self.model:
                        self._answer(group)
                except BaseException as error:
                    for question in group:
                        question.error = copy.copy(error)
        finally:
            self._turn.acquire()
            self._busy = False
            for question in asked:
                question.done = True
            self._turn.notify_all()

    def _answer(self, group: list[_Question]) -> None:
        first, full = group[0], [*group, *group[-1:] * (self.seats - len(group))]
        arrays = {key: self._spread([q.arrays[key] for q in full]) for key in first.arrays}
        words = [a for key, a in arrays.items() if isinstance(key, int)]
        named = {key: a for key, a in arrays.items() if not isinstance(key, int)}
        if first.name == "sample":
            named = {"z_msk": None, "z_ref": None} | named
        if first.links is not None:
            named["links"] = _joined([q.links for q in full])
        rest = {k: v for k, v in first.rest.items() if v is not None}
        out = getattr(first.model, first.name)(*words, **named, **rest)
        rows, past = out if first.links is not None else (out, None)
        rows = np.asarray(rows)
        past = None if past is None else np.asarray(past)
        k = len(rows) // self.seats
        for i, question in enumerate(group):
            mine = rows[i * k : (i + 1) * k]
            question.answer = mine if first.links is None else (mine, past[:, i : i + 1])

    def _spread(self, arrays: list[np.ndarray]) -> jax.Array:
        rows = np.concatenate(arrays)
        return jax.device_put(rows, sharding.batch_sharding(self.mesh, len(rows)))


def _joined(links: list[WindowLinks]) -> WindowLinks:
    """Of several clips, the windows of each side by side."""
    pasts = [link.past for link in links if link.past is not None]
    past = None
    if pasts:  # a clip at its beginning looks at nothing
        blank = np.zeros_like(pasts[0])
        past = np.concatenate([blank if link.past is None else link.past for link in links], 1)
    own, shift = (np.concatenate([getattr(link, name) for link in links]) for name in ("own", "shift"))
    return WindowLinks(own, shift, past, len(links))
