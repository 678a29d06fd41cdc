"""Named tables of actions for every kind of action space."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from worldmodel.envs.choices import choices


def table(space: spaces.Space[Any], wanted: list[str] | None = None, **said: Any) -> dict[str, Any]:
    env = SimpleNamespace(action_space=space, unwrapped=SimpleNamespace(**said))
    return choices(env, "Odd-v0", wanted=wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=5),
        spaces.MultiBinary(3),
        spaces.MultiBinary(12),
        spaces.MultiDiscrete([3, 2]),
        spaces.MultiDiscrete([3, 2], start=[1, -1]),
        spaces.MultiDiscrete([9, 9, 9]),
        spaces.Box(-1, 1, (1,)),
        spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32)),
        spaces.Box(-np.inf, np.inf, (4,)),
        spaces.Box(2, 3, (2,), np.float64),
    ],
    ids=str,
)
def test_every_named_action_is_in_the_space(space: spaces.Space[Any]) -> None:
    """The names are few and stand for different values, all of them allowed."""
    found = table(space)
    assert 2 <= len(found) <= 64
    assert all(space.contains(value) for value in found.values()), found
    assert len({str(value) for value in found.values()}) == len(found)


def test_names_say_what_is_done() -> None:
    """Nothing is `noop`; buttons and levels are joined by +; buttons with meanings have their names."""
    assert list(table(spaces.MultiDiscrete([2, 3]))) == ["noop", "x1_1", "x1_2", "x0_1", "x0_1+x1_1", "x0_1+x1_2"]
    assert list(table(spaces.MultiBinary(2), get_action_meanings=["Jump", "Run"])) == [
        "noop",
        "run",
        "jump",
        "jump+run",
    ]
    assert list(table(spaces.Box(-2, 2, (1,)))) == ["noop", "x0_low", "x0_high"]
    assert table(spaces.Box(-2, 2, (1,)))["x0_high"] == 2


def test_chosen_names_keep_their_order() -> None:
    """A choice of names is used as given; an unknown or repeated one is refused."""
    assert list(table(spaces.Discrete(3), ["action_2", "action_0"]).values()) == [2, 0]
    with pytest.raises(ValueError, match="no action named 'jump'"):
        table(spaces.Discrete(3), ["jump"])
    with pytest.raises(ValueError, match="once each"):
        table(spaces.Discrete(3), ["action_1", "action_1"])


def test_table_of_ones_own(tmp_path: Path) -> None:
    """A JSON file names any values of the space; a value outside it or an unsafe name is refused with its file."""
    file = tmp_path / "table.json"
    box = spaces.Box(-1, 1, (2,))
    file.write_text(json.dumps({"left": [-1, 0], "left+fire": [-1, 1]}))
    assert [value.tolist() for value in table(box, [str(file)]).values()] == [[-1, 0], [-1, 1]]
    for wrong in ({"left": [-2, 0]}, {"left": [0]}, {"left": "x"}, {"Left": [0, 0]}, {"none": [0, 0]}, {}, [1]):
        file.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="table"):
            table(box, [str(file)])


def test_space_without_a_table_says_what_to_give() -> None:
    """A space that has no natural few actions is refused with the way out."""
    with pytest.raises(ValueError, match=r"actions=table.json"):
        table(spaces.Dict({"a": spaces.Discrete(2)}))
