"""The mask source `person`, and `background`, everything else.

frame → network on 256 x 256 pixels → steadied over time → connected parts, each followed from frame to frame → drawn again as a figure
(person_outline.py) → steadied → refined to full size → parts that show a human figure → mask. Parts are judged by all the frames that they
are seen in, so the mask of a clip is ready when the last frame has been seen; until then it lies on disk.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from v2v.errors import InputError
from v2v.video.segmentation.base import ClipMask, StoredMask
from v2v.video.segmentation.model_files import POSE, SUBJECT, ModelFiles
from v2v.video.segmentation.networks import SIDE, PoseNetwork, SubjectNetwork
from v2v.video.segmentation.person_outline import Box, find_box, has_second_figure, replace_part
from v2v.video.segmentation.refinement import refine
from v2v.video.segmentation.steadying import Steadier

# Share of the frame below which a part counts as none.
MIN_PART = 0.002
# Mean presence of a figure from which a part is a person, and the same for parts below `SMALL_PART` of the frame, where the network
# errs more.
MIN_PRESENCE = 0.62
MIN_SMALL_PRESENCE = 0.75
SMALL_PART = 0.015
# Ages of a part in frames at which it is checked; from the last on every so many frames.
CHECKED_AGES = (0, 2, 5, 10, 20)


@dataclass
class _Part:
    """A connected part of the mask, followed over time.

    Attributes:
      age: frames since it was first seen.
      largest: share of the frame that it covered at most.
      presences: what the pose network said at its checks.
      doubles: whether more than one person was seen at its checks.
      box: where its figure was seen last.
    """

    age: int = 0
    largest: float = 0.0
    presences: list[float] = field(default_factory=list)
    doubles: list[bool] = field(default_factory=list)
    box: Box | None = None

    @property
    def is_due(self) -> bool:
        """Return whether it is checked in this frame."""
        return self.age in CHECKED_AGES or self.age % CHECKED_AGES[-1] == 0

    @property
    def is_person(self) -> bool:
        """Return whether it shows a person."""
        least = MIN_SMALL_PRESENCE if self.largest < SMALL_PART else MIN_PRESENCE
        return float(np.mean(self.presences)) >= least

    @property
    def is_group(self) -> bool:
        """Return whether it shows several people."""
        return float(np.mean(self.doubles)) >= 0.5


@dataclass(frozen=True)
class PersonMask(ClipMask):
    """The people of a clip, or everything but them.

    Attributes:
      masks: every frame's subjects, uint8 [H, W].
      parts: the numbers of their parts, uint16 [256, 256]: each pixel has that of the nearest; 0 where a frame has none.
      people: numbers of the parts that are people.
      is_inverted: the mask is everything else.
    """

    masks: StoredMask
    parts: StoredMask
    people: frozenset[int]
    is_inverted: bool

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[np.ndarray]:
        for mask, parts in zip(self.masks, self.parts, strict=True):
            selection = np.isin(parts, list(self.people)).astype(np.uint8)
            if not selection.all():
                mask = mask * cv2.resize(selection, mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
            yield 255 - mask if self.is_inverted else mask


class PersonSource:
    """Finds the people of a clip, or its background."""

    def __init__(self, files: ModelFiles, is_inverted: bool = False):
        """Load the networks.

        Args:
          files: where their files are.
          is_inverted: find the background instead.

        Raises:
          InputError: the extra isn't installed, or a file can't be had.
        """
        self._find_subject = SubjectNetwork(files.resolve(SUBJECT))
        self._pose = PoseNetwork(files.resolve(POSE))
        self._is_inverted = is_inverted

    def find(self, frames: Iterable[np.ndarray]) -> PersonMask:
        """Find the people; see `MaskSource.find`.

        Raises:
          InputError: no frame shows a person.
        """
        steadier, figure_steadier = Steadier(), Steadier()
        masks, stored_parts = StoredMask(), StoredMask()
        parts: dict[int, _Part] = {}
        previous, count = np.zeros((SIDE, SIDE), np.uint16), 0
        for frame in frames:
            small = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            coarse, is_cut = steadier.add(small, self._find_subject(small))
            numbers, count = _follow(coarse > 0.5, previous * (not is_cut), count)
            present = [int(number) for number in np.unique(numbers) if number]
            outline = coarse
            for number in present:
                part, where = parts.setdefault(number, _Part()), numbers == number
                part.largest = max(part.largest, float(where.mean()))
                if part.is_due:
                    part.presences.append(self._pose.find_presence(frame, find_box(where, frame)))
                    part.doubles.append(has_second_figure(frame, where, self._pose))
                part.age += 1
                if not part.is_group:
                    outline, part.box = replace_part(frame, outline, where, self._pose, part.box)
            outline, _ = figure_steadier.add(small, outline)
            masks.append(refine(frame, outline) if present else np.zeros(frame.shape[:2], np.uint8))
            stored_parts.append(_spread(numbers))
            previous = numbers
        people = frozenset(number for number, part in parts.items() if part.is_person)
        if not people:
            name = "background" if self._is_inverted else "person"
            where = "the frame" if len(masks) == 1 else f"any of the {len(masks)} frames"
            raise InputError(
                f"mask {name}: no person found in {where}; people far away are often missed: paint a mask and name its file with --mask"
            )
        return PersonMask(masks, stored_parts, people, self._is_inverted)


def _follow(is_subject: np.ndarray, previous: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Number the parts of a frame's mask as in the previous frame.

    Args:
      is_subject: bool [h, w].
      previous: the previous frame's numbers, uint16 [h, w], 0 outside of parts.
      count: parts numbered so far.

    Returns:
      The numbers, uint16 [h, w], and the count.
    """
    total, labels, stats, _ = cv2.connectedComponentsWithStats(is_subject.astype(np.uint8), connectivity=8)
    numbers = np.zeros(labels.shape, np.uint16)
    for label in range(1, total):
        if stats[label, cv2.CC_STAT_AREA] < MIN_PART * labels.size:
            continue
        where = labels == label
        shared = np.bincount(previous[where])
        shared[0] = 0
        if shared.any():
            number = int(shared.argmax())
        else:
            count += 1
            number = count
        numbers[where] = number
    return numbers, count


def _spread(numbers: np.ndarray) -> np.ndarray:
    """Return the number of the nearest part at every pixel, uint16 of the same shape, so that soft edges belong to one too."""
    if not numbers.any():
        return numbers
    _, labels = cv2.distanceTransformWithLabels(
        (numbers == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    number_of_label = np.zeros(int(labels.max()) + 1, np.uint16)
    number_of_label[labels[numbers > 0]] = numbers[numbers > 0]
    return number_of_label[labels]
