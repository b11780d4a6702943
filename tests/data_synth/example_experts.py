"""What the tests of external experts share: clips, descriptions, answers in words."""

import numpy as np

from data_synth.experts.base import Failure

HEAD = 'name = "x"\nversion = "7"\nlicense = "MIT"\nrole = "control"\n'


def clip(value=100, T=2, H=16, W=20):
    return np.full((T, H, W, 3), value, np.uint8)


def toml(folder, body, head=HEAD):
    (folder / "x.toml").write_text(head + body)
    return folder / "x.toml"


def reasons(results):
    return [a.reason if isinstance(a, Failure) else "clip" for a in results]
