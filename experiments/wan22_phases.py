"""The whole recipe on Wan2.2-TI2V-5B in one run: pictures first, then 81x480x832, then 81x704x1280.

    v2v train wan22_phases --workdir runs/whole --model Wan-AI/Wan2.2-TI2V-5B-Diffusers --sets data/pictures data/clips

Run it again to resume: each phase lies in a folder of its own, runs/whole/pictures, 480p and 720p, and one that is done is passed over.
`--phases.0.steps 0` leaves the first out, `--phases.1.steps 20000 --phases.1.batch 16` changes the second, `--phases.2.mixture 0.2 0.8`
weights the sets of the third; `--data.mixture 0.5 0.5 --data.mixture-changes 2000:0.2,0.8` changes weights within every phase. The sets
need pictures for the first phase, and clips of 720 lines for the last. `v2v report runs/whole` shows all phases.
The paper tells of no steps but the 40,000 at 480p and of "few training steps" at 720p; those of pictures are chosen here. Not run on
accelerators; `v2v plan wan22_ti2v_5b` and `wan22_ti2v_5b_720p` plan the memory of the phases.
"""

import dataclasses

from v2v.train.phases import Phase, PhasedExperiment, run_phases

from . import wan22_ti2v_5b

run = run_phases


def config() -> PhasedExperiment:
    """Return the three phases."""
    base = wan22_ti2v_5b.config()
    fields = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    return PhasedExperiment(
        **fields
        | {
            "name": "wan22_phases",
            "phases": (
                Phase("pictures", steps=5_000, size=(1, 480, 832), batch=128),
                Phase("480p", steps=40_000, size=(81, 480, 832)),
                Phase("720p", steps=2_000, size=(81, 704, 1280)),
            ),
        }
    )
