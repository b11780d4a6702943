"""The progress of an edit: bars on stderr, or a function that is called, which may also end the edit.

`progress` of the editor's methods is True for bars, False for nothing, or a function:

    def show(progress: EditProgress) -> None:
        print(f"{progress.stage} {progress.done:.1f} of {progress.total}")
        if stop_button.pressed:
            raise EditCanceledError

    editor.edit_file("in.mp4", "make it sepia", "out.mp4", progress=show)

`cancel`, such as a `threading.Event`, ends an edit from another thread (sampling_watch.py).

Stages follow one another: "masks" (frames searched by a mask source), "windows" or "clips" (sampled), "frames" (computed at full size).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

from v2v.runtime.progress import watch_progress

Item = TypeVar("Item")


class EditCanceledError(Exception):
    """Raised by a function of the caller's, or since `cancel` was set, to end the edit; nothing is written."""


@dataclass(frozen=True)
class EditProgress:
    """How far an edit is.

    Attributes:
      stage: "masks", "windows", "clips" or "frames".
      done: items of the stage that are done; between whole numbers while the sampler's steps are counted.
      total: items of the stage.
    """

    stage: str
    done: float
    total: int


# True shows bars, False nothing.
Progress = bool | Callable[[EditProgress], None]


def end_when_set(progress: Progress, is_set: Callable[[], bool]) -> Progress:
    """Return a progress that also ends the edit, with `EditCanceledError`, once `is_set` returns True."""
    bars: dict[str, tqdm] = {}

    def show(state: EditProgress) -> None:
        if progress is False:
            return
        if state.stage not in bars:
            bars[state.stage] = _build_bar(None, state.stage, True, state.total)
        bars[state.stage].n = state.done
        bars[state.stage].refresh()
        if state.done >= state.total:
            bars.pop(state.stage).close()

    tell = show if isinstance(progress, bool) else progress

    def report(state: EditProgress) -> None:
        if is_set():
            for bar in bars.values():
                bar.close()
            raise EditCanceledError
        tell(state)

    return report


def track(items: Iterable[Item], stage: str, progress: Progress, total: int) -> Iterator[Item]:
    """Yield items, and report each once the next is asked for."""
    if isinstance(progress, bool):
        yield from _build_bar(items, stage, progress, total)
        return
    done = 0
    for done, item in enumerate(items, 1):
        progress(EditProgress(stage, done - 1, total))
        yield item
    progress(EditProgress(stage, done, total))


def track_steps(items: list[Item], stage: str, progress: Progress) -> Iterator[Item]:
    """Yield items, and report the sampler's steps within each as well (on CPUs: runtime/progress.py)."""
    if isinstance(progress, bool):
        yield from _show_steps(items, stage, progress)
        return
    for i, item in enumerate(items):
        progress(EditProgress(stage, i, len(items)))
        # What a watcher raises is dropped: it is raised once the sampler has returned.
        canceled: list[EditCanceledError] = []

        def report(done: int, total: int, i: int = i, canceled: list[EditCanceledError] = canceled) -> None:
            try:
                progress(EditProgress(stage, round(i + done / total, 2), len(items)))
            except EditCanceledError as error:
                canceled.append(error)

        with watch_progress(report):
            yield item
        if canceled:
            raise canceled[0]
    progress(EditProgress(stage, len(items), len(items)))


def _show_steps(items: list[Item], stage: str, is_shown: bool) -> Iterator[Item]:
    with _build_bar(None, stage, is_shown, len(items)) as bar:
        for i, item in enumerate(items):

            def report(done: int, total: int, i: int = i) -> None:
                bar.n = round(i + done / total, 2)
                bar.refresh()

            with watch_progress(report) if is_shown else nullcontext():
                yield item
            bar.n = i + 1
            bar.refresh()


def _build_bar(items: Iterable[Item] | None, stage: str, is_shown: bool, total: int) -> tqdm:
    return tqdm(
        items, total=total, unit=f" {stage}", desc=f"editing {stage}", disable=not is_shown, leave=False
    )
