"""How fast a model trains: FLOPs a frame, the frames/s its machine would allow, and the parts of a step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..benchmark.roofline import count_flops, now, product_speed
from ..config import TrainingConfig
from ..dynamics.expectation import Expectation
from ..dynamics.model import Dynamics
from ..runtime import autocast, use_bfloat16
from ..tokenizer.model import Tokenizer
from .optimizer import averaged, make_optimizers

PARTS = ("data", "forward", "backward", "optimizer")


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the matrix products of training with `precision`."""
    return torch.bfloat16 if use_bfloat16(precision, device) else torch.float32


def random_clips(model: Dynamics | Tokenizer, batch: int, clip: int, *, generator: torch.Generator) -> dict[str, Any]:
    """Return what the model's training step takes, of the right shapes, filled at random."""
    if isinstance(model, Tokenizer):
        size = model.config.frame_size
        frames = torch.randint(256, (batch, clip, size, size, 3), dtype=torch.uint8, generator=generator)
        return {"frames": frames, "restart": False, "generator": generator}
    config = model.config
    codes = torch.randint(config.codebook_size, (batch, clip, *[config.code_grid] * 2), generator=generator)
    actions = torch.randint(len(config.action_names), (batch, clip - 1), generator=generator)
    clips = {"codes": codes, "actions": actions, "generator": generator}
    if config.expectation:
        size = config.code_grid * config.code_pixels
        image = torch.randn(batch, clip - 1, 3, size, size, generator=generator)
        clips["expectation"] = Expectation(image, torch.ones(batch, clip - 1))
    return clips


def frame_flops(model: Dynamics | Tokenizer, clip: int) -> float:
    """Return the FLOPs of the forward and the backward pass for each frame of clips of `clip` frames.

    What makes an expectation does not count. The model itself is left alone, and so are the generators of randomness.
    """
    probe = copy.deepcopy(model)
    if isinstance(probe, Tokenizer):  # it looks at values, so one frame is really computed; no codebook moves in `eval`
        clip, device = 1, probe.device
        probe.eval()
    else:  # nothing is computed
        device = torch.device("meta")
        probe.to(device).train()
    inputs = _to(device, random_clips(probe, 1, clip, generator=torch.Generator()))
    return count_flops(lambda: probe(**inputs).total.backward()) / clip


def frames_ceiling(model: nn.Module, config: TrainingConfig, *, processes: int = 1) -> float | None:
    """Return the frames/s of training that spends no moment on anything but matrix products at the machine's best.

    frames/s over this is the model FLOPs utilisation. Measured in a fraction of a second with this process's threads,
    device and dtype. Of several processes each has to call this at the same time: the best that one reaches beside the
    others counts `processes` times, so sharing a machine is not held against the training.

    None where the FLOPs of the model are not known.
    """
    if not isinstance(model, Dynamics | Tokenizer):
        return None
    speed = product_speed(compute_dtype(config.precision, model.device), model.device)
    return processes * speed / frame_flops(model, config.clip)


class Steps:
    """Training steps on random clips, as the loop takes them, each part timed."""

    def __init__(self, model: Dynamics | Tokenizer, config: TrainingConfig) -> None:
        self.model, self.config, self.device = model, config, model.device
        self.mean = averaged(model, config.ema_decay)
        self.optimizers = make_optimizers(model, config)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.compute: Callable[..., Any] = torch.compile(model.train()) if config.compile else model.train()

    def step(self) -> dict[str, float]:
        """Take one step; return the seconds of each of PARTS."""
        marks = [now(self.device)]
        clips = random_clips(self.model, self.config.batch, self.config.clip, generator=self.generator)
        inputs = _to(self.device, clips)
        marks.append(now(self.device))
        with autocast(self.device, precision=self.config.precision):
            total = self.compute(**inputs).total
        marks.append(now(self.device))
        total.backward()
        marks.append(now(self.device))
        self._update()
        marks.append(now(self.device))
        return {part: end - start for part, start, end in zip(PARTS, marks[:-1], marks[1:], strict=True)}

    def _update(self) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.mean.update_parameters(self.model)


def _to(device: torch.device, inputs: dict[str, Any]) -> dict[str, Any]:
    def move(value: Any) -> Any:
        if isinstance(value, Expectation):
            return Expectation(*(part.to(device) for part in value))
        return value.to(device) if isinstance(value, Tensor) else value

    return {name: move(value) for name, value in inputs.items()}
