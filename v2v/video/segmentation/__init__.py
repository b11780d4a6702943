"""Where masks come from when nobody painted one: the people in a clip, its background, its text, a half of the frame.

frames → **MaskSource** → `StoredMask` → `video/mask.py`. `registry.py` lists the sources by the names that `--mask` takes; `base.py`
tells how to add one. Networks are small, run on one core and are fetched at their first use (`model_files.py`).
"""
