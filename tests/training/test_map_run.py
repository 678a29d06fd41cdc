"""Which runs have a learned map."""

from __future__ import annotations

import pytest

from worldmodel.rollouts import DatasetInfo
from worldmodel.training.map_run import wants_map

REPEATS = {"repeats": True, "pose": "first-person"}


@pytest.mark.parametrize(
    ("setting", "world", "wanted"),
    [
        ("auto", REPEATS, True),
        ("auto", {"repeats": False, "pose": "first-person"}, False),
        ("auto", {"repeats": True, "pose": "top-down"}, False),
        ("auto", None, False),  # whatever its variables are named: the toy has those names and is not one
        ("yes", None, True),
        ("no", REPEATS, False),
    ],
)
def test_a_map_is_trained_where_the_data_set_says_so(setting: str, world: object, wanted: bool) -> None:
    """By the setting, or by the data set's own statement that its world repeats and poses are a first person's."""
    settings = {"env": "x"} | ({} if world is None else {"world": world})
    info = DatasetInfo(
        settings=settings,
        frames_per_second=1.0,
        variables=("position_x", "position_y", "angle"),
        policy="random",
        split="train",
        seed=0,
    )
    assert wants_map(setting, info) is wanted
