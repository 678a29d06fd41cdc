"""The vocabulary: what crosses the boundaries between the parts, with shape, dtype and range.

b batch, t frames in time, c channels, H W pixels, h w code grid, d width, k codebook size; in the dynamics n patches of
a frame and links, the codes of a patch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

# RGB images in 0..255: NumPy outside the model, tensors inside.
Frames = UInt8[np.ndarray, "b t H W 3"]
FrameTensor = UInt8[Tensor, "b t H W 3"]
# Codebook entries in 0..k-1.
Codes = Int64[Tensor, "b t h w"]
FrameCodes = Int64[Tensor, "b h w"]
# Indices into the action names; UNKNOWN_ACTION (-1): the model is not told.
Actions = Int64[Tensor, "b t"]
ActionsBetween = Int64[Tensor, "b t-1"]  # of t frames
FrameActions = Int64[Tensor, "b"]
# The encoder's output before (latents) and after (quantized) the nearest code.
Latents = Float[Tensor, "n d h w"]

UNKNOWN_ACTION = -1

Report = Callable[[int, int], None]  # called with how much of something is done, of how much
