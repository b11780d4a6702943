"""Clocks that jump: joined recordings, streams that were interrupted, counters that began anew.

Picture and sound that follow a jump are shifted by one and the same offset, so that the stream which reaches it first goes on one
packet later. This holds for formats whose clocks may be discontinuous (MPEG-TS and -PS, Ogg), and backward for FLV, which is joined
as easily. In others a gap of any length is meant, and decoding times are FFmpeg's guesses.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import Container, InputContainer
from av.format import Flags

# Seconds that a clock may stand still, or leave out, in formats whose clocks may be discontinuous.
LARGEST_GAP = 10
# Seconds by which packets may come late, in order of decoding; and in order of appearance, where no other is known.
LARGEST_STEP_BACK = Fraction(1, 10)
LARGEST_REORDERING = Fraction(2)


@dataclass
class _StreamClock:
    """Where a stream is.

    Attributes:
      epoch: number of jumps before.
      time: decoding time of the last packet as stored, in seconds.
      length: seconds from the packet before to it.
    """

    epoch: int
    time: Fraction
    length: Fraction = Fraction(0)


class ClockCorrection:
    """A correction of packets' times in the order in which a file gives them.

    Attributes:
      jumps: the jumps found so far: second of the clip, and seconds by which the file's clock jumps there.
    """

    def __init__(self, container: InputContainer, origin: Fraction):
        """Begin a pass over a file.

        Args:
          container: the open file.
          origin: the second of its clock that is the clip's 0.
        """
        self._origin = origin
        self.jumps: list[tuple[float, float]] = []
        self._closes_gaps = is_discontinuous(container)
        self._is_active = self._closes_gaps or container.format.name == "flv"
        self._offsets = [Fraction(0)]
        self._clocks: dict[int, _StreamClock] = {}

    def apply(self, packet: av.Packet) -> None:
        """Shift the times of a packet by the jumps that its stream has passed."""
        stored = packet.pts if packet.dts is None else packet.dts
        if stored is None or not self._is_active:
            return
        time, index = stored * packet.time_base, packet.stream.index
        step_back = LARGEST_REORDERING if packet.dts is None else LARGEST_STEP_BACK
        clock = self._clocks.get(index)
        if clock is None:
            clock = self._clocks[index] = _StreamClock(self._first_epoch(time), time)
        elif not -step_back <= time - clock.time <= LARGEST_GAP:
            self._pass_jump(index, time, (packet.duration or 0) * packet.time_base)
        else:
            clock.length = time - clock.time
        clock.time = time
        shift = round(self._offsets[clock.epoch] / packet.time_base)
        if packet.pts is not None:
            packet.pts += shift
        if packet.dts is not None:
            packet.dts += shift

    def describe(self) -> str:
        """Return where the clock jumps; "" where it doesn't."""
        if not self.jumps:
            return ""
        second, step = self.jumps[0]
        count = (
            f"its clock jumps {len(self.jumps)} times, first" if len(self.jumps) > 1 else "its clock jumps"
        )
        return f"{count} by {step:+.2f} s near {second:.2f} s"

    def _pass_jump(self, index: int, time: Fraction, duration: Fraction) -> None:
        """Put a stream whose time isn't the expected one into a later epoch, unless it has a gap."""
        clock = self._clocks[index]
        others = [other for number, other in self._clocks.items() if number != index]
        if time > clock.time:
            near = [other.epoch for other in others if abs(time - other.time) <= LARGEST_GAP]
            if clock.epoch in near or not self._closes_gaps:
                # The stream has a gap.
                return
            later = [epoch for epoch in near if epoch > clock.epoch]
        else:
            later = [other.epoch for other in others if other.epoch > clock.epoch]
        if later:
            clock.epoch = min(later)
            return
        length = clock.length or duration
        expected = clock.time + self._offsets[clock.epoch] + length
        self.jumps.append((float(expected - self._origin), float(time - clock.time)))
        clock.epoch = len(self._offsets)
        self._offsets.append(expected - time)

    def _first_epoch(self, time: Fraction) -> int:
        """Return the epoch of a stream's first packet: that of the nearest stream, as some begin late."""
        nearest = min(self._clocks.values(), key=lambda clock: abs(clock.time - time), default=None)
        return nearest.epoch if nearest else 0


def is_discontinuous(container: Container) -> bool:
    """Return whether the clock of a file's format may jump, so that its duration can't be told from its times."""
    return bool(container.format.flags & Flags.ts_discont.value)
