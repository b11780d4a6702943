"""How a pair comes to be.

    seed ─ rendered.py   scenes/ (draw, render, edit → twin, mask, reference), experts/photometric.py  ┐  the default mix
         ─ controls.py   clips.py → experts/control.py or scenes/truth.py, both directions             │
         ─ lifted.py     picture pairs → lifting.py                                                    ├─ transition.py
         ─ removal.py    static shots + masks → background plate                                       │  filters.py
         ─ captions.py   timed captions of long videos → captions_writer.py                            │     │
         ─ importers/    published sets                                                                │    Pair
         ─ plugged.py    external experts: experts/protocol.py, remote.py, wire.py                     ┘
                         recipes.py names them all, pipeline.py holds it together
    Pair ─ shards.py ─ synth.py ─ v2v_pairs/ (TFDS, array_record) + report.py ─ v2v.data.loader

Read pipeline.py first, then recipes.py. Nothing here imports JAX or the model.
"""
