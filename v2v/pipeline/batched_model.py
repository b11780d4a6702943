"""Run several jobs at a time, each as a share of one batch on a mesh of devices.

Every job runs as it does on its own, in its own thread, with a `BatchedModel` in participant of its model. When all jobs that may still
call the model are waiting, their calls are computed together:

    job 0   encode(video [k, T, h, w, 3])  ┐
    job 1   encode(video [k, T, h, w, 3])  ├─ equal shapes and settings → one call of J k rows, job i on device i
    job 2   sample(noise [k, t, y, x, c])  ┘  anything else             → a separate call

A batch always has the rows of J = devices jobs (the last is repeated if fewer call), so one compilation serves any number of jobs.
No row depends on another job's: noise depends only on the seed and the position in the clip, and windows are blended within their
own clip (`windows.WindowLinks`). A job's result therefore equals that of the job on its own, up to the compiler's rounding. Weights are
replicated on every device.
"""

import copy
import dataclasses
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from v2v.config import ModelConfig
from v2v.diffusion.sampler import SampleOutput
from v2v.diffusion.step_skipping import StepSkipper
from v2v.diffusion.windows import WindowLinks, concatenate_links
from v2v.pipeline.model import EditingModel, SampleRequest, TextEmbedding
from v2v.runtime import sharding

T = TypeVar("T")


def run_tasks(model: EditingModel, mesh: Mesh, tasks: Iterable[Callable[["BatchedModel"], T]]) -> Iterator[T]:
    """Runs tasks, as many at a time as the mesh has data-parallel devices, and yields what each returns, as it ends.

    Args:
      model: a `Pretrained`; every task gets a `BatchedModel` of it.
      mesh: devices of this process.
      tasks: functions of the model.
    """
    table = _BatchQueue(mesh)
    placed = model.on(mesh)

    def one(task: Callable[[BatchedModel], T], seat: BatchedModel) -> T:
        seat.join()
        try:
            return task(seat)
        finally:
            seat.release()

    with ThreadPoolExecutor(table.seats, "job") as pool:
        tasks = [(task, BatchedModel(placed, table, _Participant())) for task in tasks]
        for _, seat in tasks[
            : table.seats
        ]:  # otherwise the first task would not wait for the others' threads to start
            seat.join()
        waiting = [pool.submit(one, *task) for task in tasks]
        try:
            for ended in as_completed(waiting):
                yield ended.result()
        finally:  # also when the caller stops iterating
            for task in waiting:
                task.cancel()
            table.close()


class BatchedModel:
    """A model whose calls wait for those of other jobs and are computed in one batch with them."""

    def __init__(self, model, table: "_BatchQueue", participant: "_Participant"):
        self._model, self._table, self._participant = model, table, participant

    def join(self) -> None:
        """Make the other jobs wait for this one's calls."""
        self._table.count(self._participant, True)

    def with_lora(self, adapter, scale: float = 1.0) -> "BatchedModel":
        """Return this model with an adapter, in the same batch queue."""
        return BatchedModel(self._table.adapted(self._model, adapter, scale), self._table, self._participant)

    def embed_text(self, texts: list[str]) -> TextEmbedding:
        """Embed instructions; one job at a time."""
        with self._table.model:
            return self._model.embed_text(texts)

    def encode(self, video: np.ndarray) -> np.ndarray:
        """Encode a video as latents."""
        return self._call("encode", video)

    def encode_mask(self, mask: np.ndarray) -> np.ndarray:
        """Encode a mask."""
        return self._call("encode_mask", mask)

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Decode latents."""
        return self._call("decode", z)

    def sample(self, request: SampleRequest) -> SampleOutput:
        """Sample together with the requests of other jobs."""
        fields = {f.name: getattr(request, f.name) for f in dataclasses.fields(request)}
        return self._call("sample", **fields)

    def release(self) -> None:
        """Let the others go on without this one. Calls that follow are still computed."""
        self._table.count(self._participant, False)

    @property
    def config(self) -> ModelConfig:
        """Return the model's configuration."""
        return self._model.config

    @property
    def tokenizer(self):
        """Return the model's tokenizer."""
        return self._model.tokenizer

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return what the model can be shown."""
        return self._model.conditions

    @property
    def skipping(self) -> StepSkipper | None:
        """Return the model's step skipping."""
        return self._model.skipping

    def on(self, mesh: Mesh) -> "BatchedModel":
        """Return this model: it is on its mesh already."""
        return self

    def _call(self, name: str, *array, links: WindowLinks | None = None, **options):
        arrays = dict(enumerate(array)) | {k: v for k, v in options.items() if np.ndim(v) > 1}
        rest = {k: v for k, v in options.items() if k not in arrays}
        arrays = {k: np.asarray(v) for k, v in arrays.items()}
        return self._table.submit(_Call(self._model, name, arrays, rest, links), self._participant)


@dataclass
class _Participant:
    """Whether the other jobs wait for a job."""

    taken: bool = False


@dataclass
class _Call:
    """A call that waits to be computed: its arrays, whose leading axis is rows, its other arguments, and its result."""

    model: EditingModel
    name: str
    arrays: dict[Any, np.ndarray]
    rest: dict[str, Any]
    links: WindowLinks | None
    answer: Any = None
    error: BaseException | None = None
    done: bool = False

    def batch_key(self) -> tuple:
        """Return the key by which calls are grouped into one batch."""
        shapes = tuple((k, a.shape, str(a.dtype)) for k, a in self.arrays.items())
        return (
            id(self.model),
            self.name,
            shapes,
            tuple(sorted((k, v) for k, v in self.rest.items() if v is not None)),
            self.links is None,
        )


class _BatchQueue:
    """Collects calls until every participant is waiting, then computes them."""

    def __init__(self, mesh: Mesh):
        self.mesh, self.seats = mesh, mesh.shape["data"] * mesh.shape["fsdp"]
        self.model = threading.RLock()  # held by who uses it
        self._turn = threading.Condition()
        self._expected, self._pending, self._busy, self._closed = 0, [], False, False
        self._adapted: dict[tuple, Any] = {}

    def count(self, participant: _Participant, taken: bool) -> None:
        with self._turn:
            self._expected += int(taken) - int(participant.taken)
            participant.taken = taken
            self._turn.notify_all()

    def close(self) -> None:
        """Compute no more calls; waiting ones fail."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def adapted(self, model, adapter, scale: float):
        """Return one model for all jobs with the same adapters, so that they can share a batch."""
        with self.model:
            key = id(model), str(adapter), scale
            if key not in self._adapted:
                self._adapted[key] = model.with_lora(adapter, scale)
            return self._adapted[key]

    def submit(self, call: _Call, participant: _Participant):
        was = participant.taken
        self.count(participant, True)
        with self._turn:
            self._pending.append(call)
            while not call.done:
                if self._closed:
                    raise RuntimeError("jobs were stopped")
                if self._busy or len(self._pending) < self._expected:
                    self._turn.wait()
                else:
                    self._serve()
        self.count(participant, was)
        if call.error is not None:
            raise call.error
        return call.answer

    def _serve(self) -> None:
        """Compute the waiting calls; the lock is held on entry and on return."""
        calls, self._pending, self._busy = self._pending, [], True
        self._turn.release()
        try:
            groups = defaultdict(list)
            for call in calls:
                groups[call.batch_key()].append(call)
            for group in groups.values():
                try:
                    with self.model:
                        self._answer(group)
                except BaseException as error:
                    for call in group:
                        call.error = copy.copy(error)
        finally:
            self._turn.acquire()
            self._busy = False
            for call in calls:
                call.done = True
            self._turn.notify_all()

    def _answer(self, group: list[_Call]) -> None:
        first, full = group[0], [*group, *group[-1:] * (self.seats - len(group))]
        arrays = {key: self._spread([q.arrays[key] for q in full]) for key in first.arrays}
        if first.name == "sample":
            links = None if first.links is None else concatenate_links([q.links for q in full])
            output = first.model.sample(SampleRequest(**{**first.rest, **arrays}, links=links))
        else:
            output = SampleOutput(getattr(first.model, first.name)(arrays[0]))
        rows = np.asarray(output.latents)
        past = None if output.past is None else np.asarray(output.past)
        k = len(rows) // self.seats
        for i, call in enumerate(group):
            part = rows[i * k : (i + 1) * k]
            if first.name != "sample":
                call.answer = part
            else:
                call.answer = SampleOutput(part, None if past is None else past[:, i : i + 1])

    def _spread(self, arrays: list[np.ndarray]) -> jax.Array:
        rows = np.concatenate(arrays)
        return jax.device_put(rows, sharding.batch_sharding(self.mesh, len(rows)))
