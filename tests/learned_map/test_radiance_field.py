"""The radiance field: what stands where it stands is seen from everywhere, as perspective has it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models import tiny_dynamics, tiny_map
from worldmodel.learned_map.radiance_field import (
    DENSITY_SCALE,
    GRID_SCALE,
    REACH,
    SIZE_STEP,
    UNSEEN,
    RadianceField,
    _distances,
)

GENERATOR = torch.Generator().manual_seed(0)


def tiny_field(**changes: object) -> RadianceField:
    settings = {"map_grid": 64, "colour_dim": 32, **changes}
    of_codes = {name: settings.pop(name) for name in ("code_grid", "code_pixels") if name in settings}
    config = tiny_map(tiny_dynamics(**of_codes), **settings).config
    torch.manual_seed(6)  # the same field whatever else a dynamics is made of
    return RadianceField(config).requires_grad_(False)


def colourful(field: RadianceField) -> RadianceField:
    """Give a field colours; one that has learnt nothing has none."""
    for painter in (field.wall, field.plane):
        torch.nn.init.normal_(painter[-1].weight, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    return field


def room(field: RadianceField, half: float = 0.5) -> RadianceField:
    """Build a square room: nothing within `half` of the middle, solid beyond, its four walls of different stuff."""
    line = torch.linspace(-REACH, REACH, field.grid)
    y, x = torch.meshgrid(line, line, indexing="ij")
    inside = (x.abs() < half) & (y.abs() < half)
    field.density.copy_(torch.where(inside, -1.0, 4.0).reshape(-1, 1) / DENSITY_SCALE * 10 / GRID_SCALE)
    field.walls.copy_(torch.stack([x, y, *[(k * x + y).sin() for k in range(2, 24)]], -1).flatten(0, 1) / GRID_SCALE)
    field.tilt.fill_(7.0)
    return field


def traced(field: RadianceField, views: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each column's ray ends (m columns), and how open the way is to each block (m columns rows)."""
    columns = torch.arange(field.columns).expand(len(views), -1)
    rows = torch.arange(field.rows).expand(len(views), field.columns, -1)
    hit = field._trace(views, columns, rows, None)
    return hit.distance.squeeze(-1), hit.open_share


def test_rays_end_at_the_walls() -> None:
    """In a square room each column's distance is that of trigonometry, from anywhere and wherever one looks."""
    field = room(tiny_field(map_grid=256))
    views = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.2, -0.1, math.pi / 2, 0.0], [-0.3, 0.3, 2.5, 0.0]])
    distances, _ = traced(field, views)
    across = field.spread * ((torch.arange(field.columns) + 0.5) / (field.columns / 2) - 1)
    direction = views[:, 2:3] - torch.atan(across)
    cos, sin = direction.cos(), direction.sin()
    to_x = (0.5 * cos.sign() - views[:, :1]) / cos
    to_y = (0.5 * sin.sign() - views[:, 1:2]) / sin
    torch.testing.assert_close(distances, torch.minimum(to_x, to_y), atol=0.02, rtol=0)


def test_the_floor_ends_where_the_wall_stands() -> None:
    """Below the horizon the way is open down to the wall's foot, and farther from farther back."""
    field = room(tiny_field(map_grid=256))
    field.horizon.zero_()
    for back in (0.0, 0.3):
        distance, share = traced(field, torch.tensor([[-back, 0.0, 0.0, 0.0]]))
        middle = field.columns // 2
        foot = (1 / (0.5 + back)) / 7.0 * field.rows / 2 + field.rows / 2  # rows down to it
        rows = torch.arange(field.rows) + 0.5
        below = share[0, middle]
        assert (below[rows > foot + 1] > 0.9).all()
        assert (below[(rows > field.rows / 2) & (rows < foot - 1)] < 0.1).all()
        assert distance[0, middle] == pytest.approx(0.5 + back, abs=0.02)


def test_headings_are_counterclockwise() -> None:
    """Turning left, what was in the middle moves to the right; a full circle changes nothing."""
    field = room(tiny_field())
    sideways = torch.atan(field.spread * torch.tensor([0.5, 5.5]) / (field.columns / 2))
    angle = float(sideways[1] - sideways[0])
    views = torch.tensor([[0.1, 0.2, 0.3, 0.0], [0.1, 0.2, 0.3 + angle, 0.0], [0.1, 0.2, 0.3 + 2 * math.pi, 0.0]])
    distances, _ = traced(field, views)
    middle = field.columns // 2
    torch.testing.assert_close(distances[1, middle + 5], distances[0, middle], atol=1e-3, rtol=0)
    torch.testing.assert_close(distances[2], distances[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("cell", "block"), [(4, 2), (3, 1)])
def test_a_view_is_its_blocks_side_by_side(cell: int, block: int) -> None:
    """Each in its place, whatever else is rendered, and `blocks` takes the view apart again."""
    field = colourful(tiny_field(code_pixels=cell))
    assert field.block == block
    views = torch.rand(2, 4, generator=GENERATOR) - 0.5
    whole = field.render(views)
    assert whole.shape == (2, 3, 8 * cell, 8 * cell)
    columns, rows = torch.tensor([[5, 0], [3, 7]]), torch.tensor([[[1], [2]], [[0], [4]]])
    assert whole.std() > 0.01
    some = field(views, columns, rows)
    apart = field.blocks(whole)
    for m in range(2):
        for r in range(2):
            torch.testing.assert_close(some[m, r, 0], apart[m, columns[m, r], rows[m, r, 0]])
            top, left = block * int(rows[m, r, 0]), block * int(columns[m, r])
            corner = whole[m, :, top : top + block, left : left + block]
            torch.testing.assert_close(some[m, r, 0], corner.flatten())


def test_an_untrained_field_renders_the_mean_colour() -> None:
    """Everywhere, so that it does not mislead before it is trained."""
    assert (tiny_field().render(torch.rand(2, 4, generator=GENERATOR)) == 0).all()


def test_a_room_is_learnt_from_its_views() -> None:
    """From colours and views alone: other views of a room are rendered, also from new places."""
    field = tiny_field(code_grid=12).requires_grad_(True)

    def colours(views: Tensor) -> Tensor:
        """Cast rays into the room: each wall has its colour, a little darker far away."""
        across = 1.0 * ((torch.arange(field.columns) + 0.5) / (field.columns / 2) - 1)
        direction = views[:, 2:3] - torch.atan(across)
        cos, sin = direction.cos(), direction.sin()
        to_x = (0.6 * cos.sign() - views[:, :1]) / cos
        to_y = (0.6 * sin.sign() - views[:, 1:2]) / sin
        distance = torch.minimum(to_x, to_y)
        stuff = torch.where(to_x < to_y, torch.where(cos > 0, 0, 1), torch.where(sin > 0, 2, 3))
        wall = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0], [1.0, 1.0, -1.0]])[stuff]
        slope = 7.0 * (1 - (torch.arange(field.rows) + 0.5) / (field.rows / 2))
        height = slope * (distance / torch.sqrt(1 + across**2)).unsqueeze(-1)
        shown = torch.where(((height > -1) & (height < 0.8)).unsqueeze(-1), wall.unsqueeze(2), torch.zeros(3))
        return shown.unsqueeze(-1).expand(*shown.shape, field.block**2).flatten(-2)

    def somewhere(number: int) -> Tensor:
        place = (torch.rand(number, 2, generator=GENERATOR) - 0.5) * 0.9
        return torch.cat([place, 7 * torch.rand(number, 1, generator=GENERATOR), torch.zeros(number, 1)], dim=1)

    optimizer = torch.optim.Adam(field.parameters(), lr=2e-3, betas=(0.9, 0.95), eps=1e-12)
    columns = torch.arange(field.columns).expand(16, -1)
    rows = torch.arange(field.rows).expand(16, field.columns, -1)
    for _ in range(250):
        views = somewhere(16)
        loss = F.mse_loss(field(views, columns, rows, generator=GENERATOR), colours(views))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    views = somewhere(16)
    with torch.no_grad():
        error = F.mse_loss(field(views, columns, rows), colours(views))
    assert error < 0.2 * colours(views).var()


def test_the_occupancy_cache_leads_rays_to_the_same_walls() -> None:
    """Quick rays end where slow ones do, and show nearly the same; without a cache they are the slow ones."""
    field = colourful(room(tiny_field(map_grid=128)))
    views = torch.tensor([[0.1, -0.2, 0.4, 0.0], [-0.3, 0.1, 2.0, 0.05]])
    columns = torch.arange(field.columns).expand(2, -1)
    rows = torch.arange(field.rows).expand(2, field.columns, -1)
    slow = field(views, columns, rows)
    assert torch.equal(field(views, columns, rows, quick=True), slow)
    field.build_occupancy()
    quick = field(views, columns, rows, quick=True)
    assert not torch.equal(quick, slow)
    assert (quick - slow).square().mean() < 0.05 * slow.var()
    assert torch.equal(field(views, columns, rows), slow)  # who is not in a hurry does not use it


def test_what_is_hidden_is_not_rendered() -> None:
    """Without gradients only what shows is rendered, and the picture is the same: of a room, a fog, and nothing."""
    field = colourful(room(tiny_field(map_grid=128)))
    views = torch.tensor([[0.1, -0.2, 0.4, 0.0], [-0.3, 0.1, 2.0, 0.05]])
    columns = torch.arange(field.columns).expand(2, -1)
    rows = torch.arange(field.rows).expand(2, field.columns, -1)
    painted: list[int] = []
    for painter in (field.wall, field.plane):
        painter.register_forward_hook(lambda module, inputs, out: painted.append(out.shape[:-1].numel()))
    for fog in (False, True):
        if fog:
            field.density.zero_()
        whole = field(views, columns, rows)
        shares = field._trace(views, columns, rows, None).open_share
        painted.clear()
        with torch.no_grad():
            torch.testing.assert_close(field(views, columns, rows), whole, atol=1e-5, rtol=0)
            shown = int((shares > UNSEEN).sum() + (1 - shares > UNSEEN).sum())
            assert shown <= sum(painted) < shown + 2 * SIZE_STEP
            assert shown < 1.7 * shares.numel() or fog
            assert all(count % SIZE_STEP == 0 for count in painted)  # few sizes: each costs oneDNN a kernel
            assert field(views, columns, rows[..., :0]).shape == (2, field.columns, 0, whole.shape[-1])


def test_a_fog_is_not_traced_quickly() -> None:
    """Where nothing is solid yet, as early in training, quick rays would see nothing of it: they are the slow ones."""
    field = colourful(room(tiny_field(map_grid=128)))
    field.build_occupancy()
    assert field.occupancy is not None
    assert field.occupancy.reliable
    field.density.zero_()  # as it is before training
    field.build_occupancy()
    assert not field.occupancy.reliable
    views = torch.tensor([[0.1, -0.2, 0.4, 0.0], [-0.3, 0.1, 2.0, 0.05]])
    assert torch.equal(field.render_blocks(views, 8, 6, quick=True), field.render_blocks(views, 8, 6))


def test_distances_are_those_to_the_nearest_solid_point() -> None:
    """As found by looking at every pair of points; nowhere is near where nothing is solid."""
    solid = torch.rand(20, 20, generator=GENERATOR) < 0.03
    places = torch.cartesian_prod(torch.arange(20.0), torch.arange(20.0))
    want = torch.cdist(places, places[solid.flatten()]).amin(1).unflatten(0, (20, 20))
    assert solid.any()
    torch.testing.assert_close(_distances(solid), want)
    assert (_distances(torch.zeros_like(solid)) > 20).all()
