"""One vocabulary of dimensions, as jaxtyping aliases, for every annotation, einsum and sharding rule.

    b batch   T H W pixel frames, height, width   t y x latent frames, height, width   c latent channels
    s source tokens   n target tokens   l joint tokens   m text tokens   d width   h heads   k head dim
    f MLP width   r rank   L layers
Flow time is `tau`: 1 is noise, 0 is data.
"""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32

# Of the device or of the host: what functions take that hand arrays on to a compiled program.
AnyArray = jax.Array | np.ndarray

Pixels = UInt8[Array, "b T H W 3"]  # what people see, 0..255
Video = Float[Array, "b T H W 3"]  # what the VAE sees, -1..1
Latents = Float[Array, "b t y x c"]  # normalised per channel
Tokens = Float[Array, "b l d"]
Text = Float[Array, "b m w"]  # text embeddings of width w, zero beyond the true length
Tau = Float[Array, "b"]
Positions = Int[Array, "l 3"]  # (t, y, x) of every token
Phases = Float[Array, "l k2"]  # RoPE angles, one for each pair of head channels
Noisy = Bool[Array, "b l"]  # True where a token carries flow time tau, False where it is clean (time 0)
Seeds = UInt32[AnyArray, "b"]  # one for each job
# Latents of the visual conditions by name, source, mask and reference, each optional. A reference is one latent frame.
Conditions = Mapping[str, Float[AnyArray, "_ _ _ _ _"]]
