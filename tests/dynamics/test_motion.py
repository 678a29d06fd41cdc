"""Motion compensation: what is compared, what is carried, and that motion is found without being told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models import tiny_dynamics
from worldmodel.dynamics.motion import SHARPNESS, STRANGER, UNRELATED, Motion, Origins, mismatches

GENERATOR = torch.Generator().manual_seed(0)
FRAMES = torch.randn(3, 8, 8, 5, generator=GENERATOR)
FOLLOWING = torch.randn(3, 8, 8, 5, generator=GENERATOR)


def tiny_motion() -> Motion:
    return tiny_dynamics().context.motion


def certain(displacement: Tensor, *, way: int = 0) -> Origins:
    """Patches that come from their displacement (m n 2) for sure, or by another way for sure."""
    shares = torch.full((*displacement.shape[:-1], 3), -50.0)
    shares[..., way] = 0.0
    return Origins(displacement, shares)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (3, 2), (9, 0)])
def test_mismatches_compare_each_place_with_each_displaced_one(rows: int, columns: int) -> None:
    """Every entry is the mean squared difference of two vectors; a place outside differs as unrelated ones do."""
    found = mismatches(FRAMES, FOLLOWING, rows, columns)
    assert found.shape == (3, 8, 2 * rows + 1, 8, 2 * columns + 1)
    for dy in range(-rows, rows + 1):
        for dx in range(-columns, columns + 1):
            for y in range(8):
                for x in range(8):
                    inside = 0 <= y + dy < 8 and 0 <= x + dx < 8
                    there = FRAMES[:, (y + dy) % 8, (x + dx) % 8]
                    wanted = (FOLLOWING[:, y, x] - there).square().mean(-1) if inside else torch.full((3,), UNRELATED)
                    torch.testing.assert_close(found[:, y, dy + rows, x, dx + columns], wanted)


def test_what_is_carried_are_the_codes_at_the_displaced_place() -> None:
    """The codes themselves, also where the displacement lies between two; outside nothing, and unmarked."""
    motion, frames = tiny_motion(), torch.randn(1, 8, 8, 8, generator=GENERATOR)

    def carried(x: float, y: float) -> tuple[Tensor, Tensor]:
        """The inner codes of the patch at row 1, column 1: (rows columns c+1), and what is left of the displacement."""
        read = motion.carry(frames, torch.tensor([x, y]).expand(1, 16, 2))[0, 5]
        return read[:-2].view(6, 6, 9)[2:-2, 2:-2], read[-2:]

    for x, y in ((0.0, 0.0), (3.0, -2.0), (2.7, -1.6)):
        codes, rest = carried(x, y)
        row, column = 2 + round(y), 2 + round(x)
        torch.testing.assert_close(codes[..., :-1], frames[0, row : row + 2, column : column + 2])
        assert torch.equal(codes[..., -1], torch.ones(2, 2))
        torch.testing.assert_close(rest, torch.tensor([x - round(x), y - round(y)]))
    assert torch.equal(carried(-20, 0)[0], torch.zeros(2, 2, 9))


def test_the_loss_is_least_at_the_true_displacement() -> None:
    """The frame moved by two columns is explained best by two columns, worse by its neighbours."""
    motion, frames = tiny_motion(), torch.randn(1, 8, 8, 8, generator=GENERATOR)
    moved = frames.roll(-2, dims=2)
    inner = torch.arange(16).view(4, 4)[:, :2].flatten()  # patches whose origin and its ring lie in the frame

    def loss(x: float, y: float) -> float:
        origins = certain(torch.tensor([x, y]).expand(1, 16, 2))
        pooled = motion._pool
        motion._pool = lambda differences: pooled(differences)[:, inner]  # type: ignore[method-assign]
        try:
            some = Origins(origins.displacement[:, inner], origins.shares[:, inner])
            return float(motion.loss(some, frames, moved))
        finally:
            motion._pool = pooled  # type: ignore[method-assign]

    losses = {(x, y): loss(x, y) for x in range(-3, 4) for y in range(-2, 3)}
    assert min(losses, key=lambda place: losses[place]) == (2, 0)


def test_a_frame_unlike_the_one_before_comes_from_nowhere() -> None:
    """Nothing matches: what says so is better than any displacement, and costs what a stranger costs."""
    motion = tiny_motion()
    frames, other = 3 * torch.randn(2, 1, 8, 8, 8, generator=GENERATOR)
    nowhere = motion.loss(certain(torch.zeros(1, 16, 2), way=2), frames, other)
    assert nowhere < motion.loss(certain(torch.zeros(1, 16, 2)), frames, other)
    torch.testing.assert_close(nowhere, torch.tensor(SHARPNESS * STRANGER), rtol=1e-3, atol=1e-2)


def test_the_last_actions_are_told() -> None:
    """The features depend on the action before the last, and on none that is older than the history."""
    dynamics = tiny_dynamics(action_history=2, window=1)
    codes = torch.randint(16, (1, 4, 8, 8), generator=GENERATOR)
    actions = torch.tensor([[0, 1, 2, 3]])
    usual = dynamics.features(codes, actions)[:, -1]
    for place, matters in ((1, False), (2, True), (3, True)):
        other = actions.clone()
        other[0, place] = (other[0, place] + 1) % 4
        assert torch.equal(dynamics.features(codes, other)[:, -1], usual) is not matters
