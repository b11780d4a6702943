"""Questions about published editors on tiny random models: asked of their own code by tools/checks/compare_editors.py, and of ours by tests.

The weights are those of tiny.py. Sizes are odd on purpose: sources and references of other grids than the target's, contexts of other
lengths than the text's.
"""

import numpy as np

from tests.parity import tiny

STEPS, SHIFT = 4, 5.0
# Of guidance, as published for Bernini-R: scales, the projection's share and limit, and the factor of the low-noise expert.
SCALES = {"prompt": 4.0, "reference": 4.5, "source": 1.25}
PARALLEL, LIMIT, LOW_NOISE = 0.5, 50.0, 0.8
GRID = (3, 4, 6)

# Bernini-R: by name, the mode and what it is shown.
BERNINI_CASES = {
    "v2v_apg": ("v2v_apg", ("source",)),
    "v2v_chain": ("v2v_chain", ("source",)),
    "rv2v": ("rv2v", ("source", "reference", "reference_2")),
    "r2v_apg": ("r2v_apg", ("reference", "reference_2")),
    "t2v_apg": ("t2v_apg", ()),
    "two sources": ("v2v_chain", ("source", "source_2")),
    # More than were trained, whose numbers are spread.
    "six": ("v2v", ("source", *(f"reference_{i}" if i > 1 else "reference" for i in range(1, 6)))),
}  # fmt: skip
# Kiwi-Edit: by name, whether the reference comes first, and what it is shown.
KIWI_CASES = {
    "source": (False, ("source",)),
    "after": (False, ("source", "reference")),
    "before": (True, ("source", "reference", "reference_2")),
}


def latents(name: str, editor: str) -> np.ndarray:
    """Return clean latents, [1, t, y, x, Z]; Kiwi-Edit's have the target's height and width."""
    t, y, x = GRID
    if editor == "kiwi":
        shape = GRID if name == "source" else (1, y, x)
    else:
        shapes = {"source": GRID, "source_2": (2, 4, 4), "reference": (1, 2, 6), "reference_2": (1, 6, 4)}
        shape = shapes.get(name, (1, 2, 2))
    return tiny.normal(f"{editor} {name}", 1, *shape, tiny.Z)


def texts() -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings of the prompt and of what guidance leads away from, [1, 9, 20], the latter with zeros at its end."""
    negative = tiny.normal("editor negative", 1, 9, 20)
    negative[:, 6:] = 0
    return tiny.normal("editor prompt", 1, 9, 20), negative


def context(length: int = 13) -> np.ndarray:
    """Return what a connector made, [1, length, width]."""
    return tiny.normal("kiwi context", 1, length, tiny.config().dit.width)


def embedder(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of Kiwi-Edit's embedding of the source or of references."""
    d, c, patch = tiny.config().dit.width, tiny.Z, tiny.config().dit.patch
    weight = tiny.normal(f"kiwi {name} weight", d, c, *patch) / np.sqrt(c * np.prod(patch), dtype=np.float32)
    return weight, 0.3 * tiny.normal(f"kiwi {name} bias", d)
