"""The light field: a column is painted from its own ray, and from nothing else."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.models import tiny_dynamics
from worldmodel.dynamics.light_field import HINT_DIM, OCTAVES, LightField

GENERATOR = torch.Generator().manual_seed(0)
SIDEWAYS = 8 * OCTAVES + 20  # the two features that say in which column a ray is


def tiny_field() -> LightField:
    belief = tiny_dynamics().belief
    assert belief is not None
    return belief.light_field


def without_column(rays: Tensor) -> Tensor:
    return torch.cat([rays[..., :SIDEWAYS], rays[..., SIDEWAYS + 2 :]], dim=-1)


def test_a_turned_camera_sees_the_same_ray_in_another_column() -> None:
    """Turned by the angle between two columns, and full circle: every feature but the column's own is the same."""
    field = tiny_field()
    sideways = torch.atan(field.spread * field.middles).detach()
    here = torch.tensor([[0.3, -0.4, 1.0]])
    left, right = torch.tensor([[1]]), torch.tensor([[6]])
    for turn in (0.0, 2 * math.pi):
        turned = here + torch.tensor([0.0, 0.0, float(sideways[6] - sideways[1]) + turn])
        one, other = field._rays(here, left), field._rays(turned, right)
        torch.testing.assert_close(without_column(one), without_column(other), atol=2e-4, rtol=2e-4)
        assert not torch.allclose(one, other, atol=1e-3)


def test_headings_are_counterclockwise() -> None:
    """Turning left, what was in the middle moves to the right: its column's number is greater."""
    field = tiny_field()
    sideways = torch.atan(field.spread * field.middles).detach()
    assert (sideways.diff() > 0).all()
    middle, right = field._rays(torch.tensor([[0.0, 0.0, float(sideways[4])], [0.0, 0.0, float(sideways[6])]]),
                                torch.tensor([[4], [6]]))  # fmt: skip
    torch.testing.assert_close(without_column(middle), without_column(right), atol=1e-5, rtol=1e-5)


def test_a_view_is_its_columns_side_by_side() -> None:
    """Each in its place, whatever else is painted; other poses and other hints paint another one."""
    field = tiny_field()
    poses = torch.rand(2, 3, generator=GENERATOR)
    hints = torch.randn(2, HINT_DIM, generator=GENERATOR)
    view = field.view(poses, hints)
    assert view.shape == (2, 3, 32, 32)
    columns = torch.tensor([[5, 0], [3, 3]])
    some = field(poses, hints, columns)
    for row in range(2):
        for i, column in enumerate(columns[row].tolist()):
            torch.testing.assert_close(some[row, i], view[row, :, :, 4 * column : 4 * column + 4])
    for changed in (field.view(poses + 0.05, hints), field.view(poses, -hints)):
        assert (changed - view).abs().amax((1, 2, 3)).min() > 1e-3


def test_the_field_of_view_is_learnt() -> None:
    """Its error has a gradient in the spread, which begins at 90 degrees."""
    field = tiny_field()
    field.requires_grad_(True)
    field.view(torch.rand(1, 3, generator=GENERATOR), torch.zeros(1, HINT_DIM)).square().mean().backward()
    assert field.spread.grad is not None
    assert field.spread.grad.abs() > 0
