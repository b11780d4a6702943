"""The two networks that find people: MediaPipe's selfie segmentation and pose landmarks (Apache-2.0), run by LiteRT.

The first gives a mask, but of any subject: a cup or a cat before a background has one too. The second is asked whether a
part of that mask shows a human figure: the presence that it tells beside the landmarks is 0.6 to 1 for photographs of people, an
astronaut in her suit or an animated figure, and below 0.4 for cups, fruits, cats, dogs and houses.
"""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v2v.errors import InputError, install_hint

# Pixels of either network's input.
SIDE = 256
# How much larger than the figure the second's view is. It is sure of people from near and far and in the mirror, but of other things
# only by chance, so several views are averaged.
MARGINS = (1.05, 1.25, 1.6)


class SubjectNetwork:
    """Selfie segmentation: where the subject of a picture is."""

    def __init__(self, path: Path):
        """Load the network.

        Args:
          path: of selfie_segmentation.tflite.

        Raises:
          InputError: LiteRT isn't installed, or the file is no such network.
        """
        self._interpreter = _load(path, (1, SIDE, SIDE, 3))

    def __call__(self, small: np.ndarray) -> np.ndarray:
        """Return the mask of a frame squeezed into a square, float32 [256, 256] in 0..1, of uint8 [256, 256, 3] RGB."""
        output = _run(self._interpreter, small)
        return next(values for values in output if values.shape == (1, SIDE, SIDE, 1))[0, ..., 0].copy()


class PoseNetwork:
    """Pose landmarks, of which the presence of a figure is all that is used."""

    def __init__(self, path: Path):
        """Load the network.

        Args:
          path: of pose_landmark_lite.tflite.

        Raises:
          InputError: LiteRT isn't installed, or the file is no such network.
        """
        self._interpreter = _load(path, (1, SIDE, SIDE, 3))

    def find_presence(self, frame: np.ndarray, box: tuple[int, int, int, int]) -> float:
        """Return how sure it is, 0..1, that a box of a frame shows a human figure.

        Args:
          frame: uint8 [H, W, 3] RGB.
          box: x, y, width and height in pixels.
        """
        views = [_cut_square(frame, box, margin) for margin in MARGINS]
        return float(np.mean([self._measure(view) for image in views for view in (image, image[:, ::-1])]))

    def _measure(self, view: np.ndarray) -> float:
        return float(next(values for values in _run(self._interpreter, view) if values.size == 1).item())


def _cut_square(frame: np.ndarray, box: tuple[int, int, int, int], margin: float) -> np.ndarray:
    """Return the square around a box, `margin` times its longer side, uint8 [256, 256, 3]; black beyond the frame."""
    x, y, w, h = box
    scale = SIDE / (margin * max(w, h, 1))
    if scale < 0.5:  # warpAffine doesn't average
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        x, y, w, h, scale = x * scale, y * scale, w * scale, h * scale, 1.0
    shift = SIDE / 2 - scale * np.array([x + w / 2, y + h / 2])
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
    return cv2.warpAffine(frame, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def _load(path: Path, shape: tuple[int, ...]) -> Any:
    # TensorFlow's log line about its delegate is no news.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(
            f"mask person: needs the package ai-edge-litert ({error}); {install_hint('subject')}"
        ) from None
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: expected a TFLite network, got what LiteRT can't read ({' '.join(str(error).split())[:80]})"
        ) from None
    if tuple(interpreter.get_input_details()[0]["shape"]) != shape:
        raise InputError(
            f"{path}: expected a network with an input of {shape}, got {tuple(interpreter.get_input_details()[0]['shape'])}"
        )
    return interpreter


def _run(interpreter: Any, picture: np.ndarray) -> list[np.ndarray]:
    """Return all outputs for a picture, uint8 [256, 256, 3]."""
    interpreter.set_tensor(
        interpreter.get_input_details()[0]["index"], picture[None].astype(np.float32) / 255
    )
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
