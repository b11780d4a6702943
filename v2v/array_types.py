"""Array types: jaxtyping aliases in the one vocabulary of dimensions of every annotation, einsum and sharding rule.

    b batch   T H W pixel frames, height, width   t y x latent frames, height, width   c latent channels
    s source tokens   n target tokens   l joint tokens   m text tokens   d width   h heads   k head dim
    f MLP width   r rank   L layers

Flow time is `tau`: 1 is noise, 0 is data.
"""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32

# On a device or the host: accepted by functions that pass arrays on to a compiled program.
AnyArray = jax.Array | np.ndarray

# RGB levels 0..255, as displayed.
Pixels = UInt8[Array, "b T H W 3"]
AnyPixels = UInt8[AnyArray, "b T H W 3"]
# RGB -1..1, as the autoencoder takes and returns them.
Video = Float[Array, "b T H W 3"]
# Normalised per channel.
Latents = Float[Array, "b t y x c"]
AnyLatents = Float[AnyArray, "b t y x c"]
Tokens = Float[Array, "b l d"]
# Text embeddings of width w, zero beyond the true length.
Text = Float[Array, "b m w"]
AnyText = Float[AnyArray, "b m w"]
# Flow times.
Tau = Float[Array, "b"]
# (t, y, x) of every token.
Positions = Int[Array, "l 3"]
# RoPE angles, one for each pair of head channels.
Phases = Float[Array, "l k2"]
# True where a token has flow time tau, False where it is clean (flow time 0).
Noisy = Bool[Array, "b l"]
# Where fresh noise comes from, for each latent frame (`v2v.diffusion.windows.noise_seeds`).
Seeds = UInt32[AnyArray, "b t 4"]
# Clean latents of a visual condition: those of a reference are one frame, those of a mask may have one channel.
ConditionLatents = Float[AnyArray, "b _ _ _ _"]
# By name: source, mask and reference, each optional.
Conditions = Mapping[str, ConditionLatents]
