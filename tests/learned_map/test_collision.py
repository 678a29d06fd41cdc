"""Where a player cannot go: he slides along walls as in Doom, and never gets into one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from worldmodel.learned_map.collision import GAP, LINES, MARGIN, CollisionMap

NEAR = 1e-4


def two_rooms() -> CollisionMap:
    """Return two rooms, -0.6..-0.1 and 0.1..0.6 in x and -0.4..0.4 in y, and a door between them, -0.1..0.1 in y."""
    generator = torch.Generator().manual_seed(0)

    def anywhere(low: tuple[float, float], high: tuple[float, float]) -> Tensor:
        return torch.tensor(low) + torch.rand(500, 2, generator=generator) * (torch.tensor(high) - torch.tensor(low))

    rooms = anywhere((-0.6, -0.4), (-0.1, 0.4)), anywhere((0.1, -0.4), (0.6, 0.4))
    visited = torch.cat([*rooms, anywhere((-0.1, -0.1), (0.1, 0.1))])
    walls = CollisionMap()
    x, y = torch.tensor([-0.6, -0.1, 0.1, 0.6]), torch.tensor([-0.4, -0.1, 0.1, 0.4])
    walls.build(x, y, visited, near=NEAR)
    return walls


def go(walls: CollisionMap, place: tuple[float, float], speed: tuple[float, float]) -> tuple[list[float], list[float]]:
    places, speeds = walls.move(torch.tensor([place]), torch.tensor([speed]))
    return places[0].tolist(), speeds[0].tolist()


def close(found: tuple[list[float], list[float]], place: tuple[float, float], speed: tuple[float, float]) -> None:
    torch.testing.assert_close(torch.tensor(found), torch.tensor([place, speed]), atol=1e-6, rtol=0)


def test_without_lines_nothing_is_in_the_way() -> None:
    """A collision map without lines stops no step, wherever it begins."""
    places, speed = 5 * torch.randn(20, 2), torch.randn(20, 2)
    walls = CollisionMap()
    for found, want in zip(walls.move(places, speed), (places + speed, speed), strict=True):
        assert torch.equal(found, want)
    assert torch.equal(walls.nearest_free(places), places)


def test_visited_cells_are_free() -> None:
    """Rooms and the door between them, and nothing else."""
    walls = two_rooms()
    places = torch.tensor([[-0.3, 0.0], [0.3, 0.39], [0.0, 0.0], [0.0, 0.2], [0.7, 0.0], [-0.3, 0.5], [0.0, -0.11]])
    assert walls.is_free(places).tolist() == [True, True, True, False, False, False, False]


def test_a_step_into_a_wall_slides_along_it() -> None:
    """It ends at the wall, less a thirty-second, and goes on along it with the share of the speed that is left."""
    walls = two_rooms()
    close(go(walls, (0.58, 0.2), (0.01, 0.01)), (0.59, 0.21), (0.01, 0.01))  # nothing in the way yet
    share = 0.02 / 0.04
    along = (1 - share) * 0.02
    there = (0.58 + (share - GAP) * 0.04, 0.2 + (share - GAP) * 0.02 + along)
    close(go(walls, (0.58, 0.2), (0.04, 0.02)), there, (0.0, along))
    # At the wall all the way along it is left; away from it nothing holds him.
    close(go(walls, (0.6 - 1e-6, 0.2), (0.04, 0.02)), (0.6 - 1e-6, 0.22), (0.0, 0.02))
    close(go(walls, (0.6 - 1e-6, 0.2), (-0.04, 0.02)), (0.56 - 1e-6, 0.22), (-0.04, 0.02))


def test_in_a_corner_he_stops() -> None:
    """Two walls take both parts of the speed."""
    place, speed = go(two_rooms(), (0.59, 0.39), (0.04, 0.03))
    assert place[0] < 0.6
    assert place[1] < 0.4
    assert max(abs(part) for part in speed) == 0


def test_a_door_lets_through() -> None:
    """A line with a gap stops no step through the gap, nor one past a corner that only the straight way would cut."""
    walls = two_rooms()
    close(go(walls, (-0.12, 0.05), (0.04, 0.0)), (-0.08, 0.05), (0.04, 0.0))
    close(go(walls, (-0.105, 0.105), (0.03, -0.02)), (-0.075, 0.085), (0.03, -0.02))  # its end is in the door
    place, speed = go(walls, (-0.12, 0.2), (0.04, 0.0))
    assert place[0] < -0.1
    assert speed == [0.0, 0.0]


def test_no_walk_ends_in_a_wall() -> None:
    """Long walks in any direction stay in the rooms, and reach both."""
    walls, generator = two_rooms(), torch.Generator().manual_seed(0)
    places = torch.tensor([-0.3, 0.0]).repeat(64, 1)
    headings = 2 * math.pi * torch.rand(64, generator=generator)
    ends = []
    for _ in range(300):
        headings = headings + torch.randn(64, generator=generator) * 0.4
        places, _ = walls.move(places, 0.02 * torch.stack([headings.cos(), headings.sin()], dim=1))
        assert walls.is_free(places).all()
        ends.append(places)
    x = torch.cat(ends)[:, 0]
    assert (x > 0.2).any()
    assert (x < -0.2).any()


def test_a_place_within_a_wall_is_moved_out_of_it() -> None:
    """To the nearest free cell; free places stay."""
    walls = two_rooms()
    places = torch.tensor([[0.61, 0.0], [-0.61, 0.2], [0.3, -0.43], [0.02, 0.11], [0.3, 0.0]])
    want = torch.tensor([[0.6, 0.0], [-0.6, 0.2], [0.3, -0.4], [0.02, 0.1], [0.3, 0.0]])
    found = walls.nearest_free(places)
    torch.testing.assert_close(found, want, atol=2 * MARGIN, rtol=0)
    assert walls.is_free(found).all()
    far = torch.tensor([[0.9, 0.9]])  # between him and every room there is another cell
    assert torch.equal(walls.nearest_free(far), far)
    assert torch.equal(walls.move(far, far)[0], 2 * far)  # and nothing holds him


def test_a_cell_too_thin_to_be_entered_is_as_its_neighbours() -> None:
    """Two lines that are one, nearly, make no wall in the middle of a room."""
    walls = CollisionMap()
    visited = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    walls.build(torch.tensor([0.0, 0.5, 0.5 + NEAR, 1.0]), torch.tensor([0.0, 1.0]), visited, near=NEAR)
    assert walls.is_free(torch.tensor([[0.5 + NEAR / 2, 0.5]])).all()
    assert not walls.is_free(torch.tensor([[1.0 + NEAR / 2, 0.5]])).any()
    close(go(walls, (0.49, 0.5), (0.02, 0.0)), (0.51, 0.5), (0.02, 0.0))


def test_as_many_lines_as_there_may_be() -> None:
    """The last line counts like the first."""
    walls = CollisionMap()
    lines = torch.linspace(-0.9, 0.9, LINES)
    visited = torch.rand(100_000, 2, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    walls.build(lines, lines, visited, near=NEAR)
    assert walls.is_free(torch.tensor([[0.89, 0.89], [-0.89, -0.89]])).all()
    assert not walls.is_free(torch.tensor([[0.91, 0.0], [0.0, -0.91]])).any()
    place, speed = go(walls, (0.89, 0.0), (0.02, 0.0))
    assert 0.89 < place[0] < 0.9
    assert speed == [0.0, 0.0]
