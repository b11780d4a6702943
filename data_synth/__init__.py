"""How a pair comes to be.

    seed ─ scenes/ (draw, render, edit → twin, mask, reference)   ┐
         ─ experts/ (photometric truth on rendered clips)         ├─ instruct.py ─ transition.py ─ filters.py ─ Pair
                                                                  ┘       pipeline.py holds it together
    Pair ─ v2v_pairs/ (TFDS, array_record) ─ v2v.data.loader

Read pipeline.py first. Nothing here imports JAX or the model.
"""
