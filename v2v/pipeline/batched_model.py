"""Run several jobs at a time, each as a share of one batch on a mesh of devices.

Every job runs as it does on its own, in its own thread, with a `BatchedModel` in place of its model. When all jobs that may still
call the model are waiting, their calls are computed together:

    job 0   encode(video [k, T, h, w, 3])  ┐
    job 1   encode(video [k, T, h, w, 3])  ├─ equal shapes and settings → one call of J k rows, job i on device i
    job 2   sample(noise [k, t, y, x, c])  ┘  anything else             → a separate call

A batch always has the rows of J = devices jobs (the last is repeated if fewer call), so one compilation serves any number of jobs. Without a
mesh the jobs of a batch share one device, and their number is rounded up to 1, 4, 16, ... or the most at a time: each number is a compilation
of every program, which takes time once and memory for good.
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

from v2v.array_types import AnyArray, AnyLatents, AnyPixels
from v2v.config import TransformerName
from v2v.diffusion.sampler import SampleOutput, SamplerStep, StepFunction, check_step_latents
from v2v.diffusion.windows import WindowLinks, concatenate_links
from v2v.pipeline.model import EditingModel, SampleRequest, TextEmbedding
from v2v.runtime import sharding

T = TypeVar("T")


def run_tasks(
    model: EditingModel,
    mesh: Mesh | None,
    tasks: Iterable[Callable[["BatchedModel"], T]],
    limit: int = 1,
) -> Iterator[T]:
    """Run tasks, as many at a time as the mesh has data-parallel devices, and yield what each returns, as it ends.

    Args:
      model: the model; every task gets a `BatchedModel` of it.
      mesh: devices of this process; None to leave the model where it is.
      tasks: functions of the model.
      limit: most tasks at a time, without a mesh.
    """
    queue = _BatchQueue(mesh, limit)
    replicated = model if mesh is None else model.on(mesh)

    def run(task: Callable[[BatchedModel], T], batched: BatchedModel) -> T:
        batched.join()
        try:
            return task(batched)
        finally:
            batched.release()

    with ThreadPoolExecutor(queue.capacity, "job") as pool:
        models = [(task, BatchedModel(replicated, queue, _Participant())) for task in tasks]
        # Otherwise the first task would not wait for the others' threads to start.
        for _, batched in models[: queue.capacity]:
            batched.join()
        futures = [pool.submit(run, *task_and_model) for task_and_model in models]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:  # also when the caller stops iterating
            for future in futures:
                future.cancel()
            queue.close()


class BatchedModel:
    """A model whose calls wait for those of other jobs and are computed in one batch with them."""

    def __init__(self, model: EditingModel, queue: "_BatchQueue", participant: "_Participant"):
        self._model, self._queue, self._participant = model, queue, participant
        self.config, self.conditions = model.config, model.conditions
        self.abilities, self.skipping = model.abilities, model.skipping
        self.detail_network = model.detail_network

    def join(self) -> None:
        """Make the other jobs wait for this one's calls."""
        self._queue.count(self._participant, True)

    def with_lora(
        self, adapter: Any, scale: float = 1.0, transformer: TransformerName | None = None
    ) -> "BatchedModel":
        """Return this model with an adapter, in the same batch queue."""
        model = self._queue.adapted_model(self._model, adapter, scale, transformer)
        return BatchedModel(model, self._queue, self._participant)

    def for_clip(self, height: int, width: int) -> "BatchedModel":
        """Return this model at the size for a clip, in the same batch queue."""
        model = self._queue.sized_model(self._model, height, width)
        return self if model is self._model else BatchedModel(model, self._queue, self._participant)

    def embed_text(self, texts: list[str]) -> TextEmbedding:
        """Embed instructions; one job at a time."""
        with self._queue.model_lock:
            return self._model.embed_text(texts)

    def encode(self, video: AnyPixels) -> AnyLatents:
        """Encode a video as latents."""
        return self._call("encode", video).latents

    def encode_mask(self, mask: AnyPixels) -> AnyLatents:
        """Encode a mask."""
        return self._call("encode_mask", mask).latents

    def decode(self, z: AnyLatents) -> np.ndarray:
        """Decode latents."""
        return np.asarray(self._call("decode", z).latents)

    def sample(self, request: SampleRequest) -> SampleOutput:
        """Sample together with the requests of other jobs."""
        fields = {f.name: getattr(request, f.name) for f in dataclasses.fields(request)}
        others, on_step = fields.pop("others"), fields.pop("on_step")
        return self._call("sample", on_step=on_step, **fields, **others)

    def release(self) -> None:
        """Let the others go on without this one. Calls that follow are still computed."""
        self._queue.count(self._participant, False)

    def on(self, mesh: Mesh) -> "BatchedModel":
        """Return this model: it is on its mesh already."""
        return self

    def _call(
        self,
        name: str,
        *array: AnyArray,
        links: WindowLinks | None = None,
        on_step: StepFunction | None = None,
        **options: Any,
    ) -> SampleOutput:
        """Compute a method of the model in a batch; methods other than `sample` give their array as latents."""
        arrays = dict(enumerate(array)) | {k: v for k, v in options.items() if np.ndim(v) > 1}
        arguments = {k: v for k, v in options.items() if k not in arrays}
        host_arrays = {k: np.asarray(v) for k, v in arrays.items()}
        call = _Call(self._model, name, host_arrays, arguments, links, on_step)
        return self._queue.submit(call, self._participant)


@dataclass
class _Participant:
    """A job, and whether the others wait for it."""

    is_awaited: bool = False


@dataclass
class _Call:
    """A call that waits to be computed: its arrays, whose leading axis is rows, its other arguments, and its result."""

    model: EditingModel
    name: str
    arrays: dict[Any, np.ndarray]
    arguments: dict[str, Any]
    links: WindowLinks | None
    on_step: StepFunction | None = None
    result: SampleOutput | None = None
    error: BaseException | None = None
    is_done: bool = False

    def batch_key(self) -> tuple:
        """Return the key by which calls are grouped into one batch."""
        shapes = tuple((k, a.shape, str(a.dtype)) for k, a in self.arrays.items())
        arguments = tuple(sorted((k, v) for k, v in self.arguments.items() if v is not None))
        return id(self.model), self.name, shapes, arguments, self.links is None


class _BatchQueue:
    """Collects calls until every participant is waiting, then computes them.

    Attributes:
      mesh: the devices; None for where the model is.
      capacity: number of jobs in a batch.
      model_lock: held while a model is used.
    """

    def __init__(self, mesh: Mesh | None, limit: int = 1):
        self.mesh = mesh
        self.capacity = limit if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]
        self.model_lock = threading.RLock()
        self._turn = threading.Condition()
        self._expected, self._is_busy, self._is_closed = 0, False, False
        self._pending: list[_Call] = []
        self._adapted: dict[tuple, EditingModel] = {}

    def count(self, participant: _Participant, is_awaited: bool) -> None:
        """Let the others wait for a participant, or not."""
        with self._turn:
            self._expected += int(is_awaited) - int(participant.is_awaited)
            participant.is_awaited = is_awaited
            self._turn.notify_all()

    def close(self) -> None:
        """Compute no more calls; waiting ones fail."""
        with self._turn:
            self._is_closed = True
            self._turn.notify_all()

    def adapted_model(
        self, model: EditingModel, adapter: Any, scale: float, transformer: TransformerName | None
    ) -> EditingModel:
        """Return one model for all jobs with the same adapters, so that they can share a batch."""
        with self.model_lock:
            key = id(model), str(adapter), scale, transformer
            if key not in self._adapted:
                self._adapted[key] = model.with_lora(adapter, scale, transformer)
            return self._adapted[key]

    def sized_model(self, model: EditingModel, height: int, width: int) -> EditingModel:
        """Return one model for all jobs whose clips are edited at the same size."""
        with self.model_lock:
            sized = model.for_clip(height, width)
            key = id(model), sized.config.height, sized.config.width
            return model if sized is model else self._adapted.setdefault(key, sized)

    def submit(self, call: _Call, participant: _Participant) -> SampleOutput:
        """Wait until a call is computed, and return its result."""
        was_awaited = participant.is_awaited
        self.count(participant, True)
        with self._turn:
            self._pending.append(call)
            while not call.is_done:
                if self._is_closed:
                    raise RuntimeError("jobs were stopped")
                if self._is_busy or len(self._pending) < self._expected:
                    self._turn.wait()
                else:
                    self._compute_pending()
        self.count(participant, was_awaited)
        if call.error is not None:
            raise call.error
        assert call.result is not None
        return call.result

    def _compute_pending(self) -> None:
        """Compute the waiting calls; the lock is held on entry and on return."""
        calls, self._pending, self._is_busy = self._pending, [], True
        self._turn.release()
        try:
            groups = defaultdict(list)
            for call in calls:
                groups[call.batch_key()].append(call)
            for group in groups.values():
                try:
                    with self.model_lock:
                        self._compute(group)
                except BaseException as error:
                    for call in group:
                        call.error = call.error or copy.copy(error)
        finally:
            self._turn.acquire()
            self._is_busy = False
            for call in calls:
                call.is_done = True
            self._turn.notify_all()

    def _compute(self, group: list[_Call]) -> None:
        """Compute equal calls in one batch; the last call is repeated if there are fewer than the batch has places."""
        # On one device places cost time, on a mesh they are there anyway.
        places = self.capacity if self.mesh is not None else count_places(len(group), self.capacity)
        first, batch = group[0], [*group, *group[-1:] * (places - len(group))]
        arrays = {key: self._spread([call.arrays[key] for call in batch]) for key in first.arrays}
        if first.name == "sample":
            links = None
            if first.links is not None:
                links = concatenate_links([call.links for call in batch if call.links is not None])
            fields = {f.name for f in dataclasses.fields(SampleRequest)}
            others = {name: z for name, z in arrays.items() if name not in fields}
            fields_of_batch = {name: z for name, z in arrays.items() if name in fields}
            output = first.model.sample(
                SampleRequest(
                    **{**first.arguments, **fields_of_batch},
                    links=links,
                    others=others,
                    on_step=_join_step_functions(group),
                )
            )
        elif first.name == "encode":
            output = SampleOutput(first.model.encode(arrays[0]))
        elif first.name == "encode_mask":
            output = SampleOutput(first.model.encode_mask(arrays[0]))
        else:
            output = SampleOutput(first.model.decode(arrays[0]))
        rows = np.asarray(output.latents)
        past = None if output.past is None else np.asarray(output.past)
        k = len(rows) // places
        for i, call in enumerate(group):
            call.result = SampleOutput(
                rows[i * k : (i + 1) * k], None if past is None else past[:, i : i + 1]
            )

    def _spread(self, arrays: list[np.ndarray]) -> AnyArray:
        """Join the rows of jobs and lay them out over the mesh."""
        rows = np.concatenate(arrays)
        if self.mesh is None:
            return rows
        return jax.device_put(rows, sharding.batch_sharding(self.mesh, len(rows)))


def count_places(calls: int, capacity: int) -> int:
    """Return how many places a batch of so many calls has on one device: 1, 4, 16, ..., at most its capacity."""
    places = 1
    while places < calls:
        places *= 4
    return max(calls, min(places, capacity))


def _join_step_functions(group: list[_Call]) -> StepFunction | None:
    """Return one function after each step for the calls of a batch, each of which sees its own rows; None where none wants to.

    What one of them raises ends its own call alone, once the batch is computed; the batch ends early where all have ended.
    """
    if all(call.on_step is None for call in group):
        return None
    rows = len(group[0].arrays["noise"])

    def on_step(step: SamplerStep) -> AnyLatents | None:
        changed = None
        for i, call in enumerate(group):
            if call.on_step is None or call.error is not None:
                continue
            part = slice(i * rows, (i + 1) * rows)
            try:
                latents = call.on_step(dataclasses.replace(step, latents=step.latents[part]))
                if latents is not None:
                    changed = step.latents if changed is None else changed
                    changed = changed.at[part].set(check_step_latents(latents, step.latents[part].shape))
            except BaseException as error:
                call.error = error
        errors = [call.error for call in group]
        if errors[0] is not None and None not in errors:
            raise errors[0]
        return changed

    return on_step
