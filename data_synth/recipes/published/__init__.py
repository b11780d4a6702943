"""Published editing sets as recipes: `v2v synth --recipes NAME --set NAME=FOLDER`.

One file a set: where its layout is documented, and the rows it has. `rows.py` turns a row into a pair.
"""

from data_synth.recipes.published.ditto import ditto
from data_synth.recipes.published.gpt_image_edit import gpt_image_edit
from data_synth.recipes.published.insvie import insvie
from data_synth.recipes.published.openve import openve
from data_synth.recipes.published.refvie import refvie
from data_synth.recipes.published.senorita import senorita

PUBLISHED = {
    "senorita": senorita,
    "ditto": ditto,
    "insvie": insvie,
    "openve": openve,
    "refvie": refvie,
    "gpt-image-edit": gpt_image_edit,
}
"""Recipe name → function (folder) → `rows.Imported`."""
