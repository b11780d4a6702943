"""The two networks that find people: MediaPipe's selfie segmentation and pose landmarks (Apache-2.0), run by LiteRT.

The first gives a mask, but of any subject: a cup or a cat before a background has one too. The second is asked whether a
part of that mask shows a human figure: the presence that it tells beside the landmarks is 0.7 to 1 for photographs of people, also of
several, and below 0.6 for cups, fruits, cats, butterflies and houses; some dogs, bears and crabs pass for people. It also draws the
figure that is in the middle of its view.
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
# The views in which a figure is drawn, one after the other until one is sure, and the presence that it takes at least.
DRAWING_MARGINS = (1.25, 1.6)
SURE_PRESENCE = 0.95
LEAST_PRESENCE = 0.6


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
    """Pose landmarks, of which the presence of a figure and its outline are used."""

    def __init__(self, path: Path):
        """Load the network.

        Args:
          path: of pose_landmark_heavy.tflite.

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

    def draw_figure(self, frame: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray | None:
        """Return the mask of the figure in a box of a frame, float32 [256, 256] of the frame squeezed into a square; None for no figure.

        Args:
          frame: uint8 [H, W, 3] RGB.
          box: x, y, width and height in pixels.
        """
        presence, margin, logits = 0.0, 1.0, np.empty(0)
        for view_margin in DRAWING_MARGINS:
            view_presence, view_logits = self._look(_cut_square(frame, box, view_margin))
            if view_presence >= presence:
                presence, margin, logits = view_presence, view_margin, view_logits
            if presence >= SURE_PRESENCE:
                break
        if presence < LEAST_PRESENCE:
            return None
        figure = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        # From the squeezed frame's pixels to the view's.
        matrix = _view_matrix(box, margin) @ np.diag([frame.shape[1] / SIDE, frame.shape[0] / SIDE, 1.0])
        return cv2.warpAffine(figure, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    def _measure(self, view: np.ndarray) -> float:
        return self._look(view)[0]

    def _look(self, view: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the presence of a figure in a view, and the logits of its mask, float32 [256, 256]."""
        output = _run(self._interpreter, view)
        presence = next(values for values in output if values.size == 1)
        mask = next(values for values in output if values.shape == (1, SIDE, SIDE, 1))
        return float(presence.item()), mask[0, ..., 0]


def _cut_square(frame: np.ndarray, box: tuple[int, int, int, int], margin: float) -> np.ndarray:
    """Return the square around a box, `margin` times its longer side, uint8 [256, 256, 3]; black beyond the frame."""
    matrix = _view_matrix(box, margin)
    scale = matrix[0, 0]
    if scale < 0.5:  # warpAffine doesn't average
        height, width = frame.shape[:2]
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([width / frame.shape[1], height / frame.shape[0], 1.0])
    return cv2.warpAffine(frame, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def _view_matrix(box: tuple[int, int, int, int], margin: float) -> np.ndarray:
    """Return the matrix [2, 3] from a frame's pixels to those of the square around a box."""
    x, y, w, h = box
    scale = SIDE / (margin * max(w, h, 1))
    shift = SIDE / 2 - scale * np.array([x + w / 2, y + h / 2])
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


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
