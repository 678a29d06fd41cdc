"""What a simulator imagines: a future of frames, or one step of games with its reward and end."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .types import Codes, FrameCodes, Frames


@dataclass(frozen=True, kw_only=True)
class Imagined:
    """An imagined future."""

    frames: Frames  # uint8 (b n H W 3)
    codes: Codes  # (b n h w)
    seconds_dynamics: float
    seconds_decode: float

    @property
    def frames_per_second(self) -> float:
        """Imagined frames of one video a second, decoding included."""
        return self.codes.shape[1] / (self.seconds_dynamics + self.seconds_decode)


@dataclass(frozen=True, kw_only=True)
class ImaginedStep:
    """What a step of b imagined games brings."""

    codes: FrameCodes  # (b h w), of the next frame
    reward: Tensor  # float32 (b), drawn from the reward head
    terminated: Tensor  # bool (b), whether the episode ends with this step
    expected_reward: Tensor  # float32 (b)
    end_probability: Tensor  # float32 (b), whatever the reward
    nats: Tensor  # float32 (b), -log p of the codes at temperature 1
