"""The toy world, where every action shows in the very next frame."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodel.envs.toy import ACTIONS, ToyGame


def turned(before: np.ndarray, after: np.ndarray, columns: int) -> bool:
    """Whether the wall of `after` is that of `before`, `columns` to the right."""
    half = len(before) // 2
    return np.array_equal(before[:half, : len(before) - columns], after[:half, columns:])


def test_every_action_shows_in_the_next_frame() -> None:
    """left moves the wall to the right, right to the left, forward the floor down, noop nothing, all by `shift`."""
    game = ToyGame(frame_size=64)
    half, shift = 32, game.shift
    for seed in range(5):
        before = game.reset(seed).frame
        for name in ("left", "right", "forward", "noop", "left"):
            after = game.step(ACTIONS.index(name)).frame
            assert after is not None
            assert turned(before, after, shift) == (name == "left")
            assert turned(after, before, shift) == (name == "right")
            assert np.array_equal(before[half:-shift], after[half + shift :]) == (name == "forward")
            assert np.array_equal(before, after) == (name == "noop")
            before = after


def test_a_full_circle_comes_back() -> None:
    """After 360 degrees of right the view is the first one again, and so is the angle."""
    game = ToyGame(frame_size=32)
    first = game.reset(3)
    for _ in range(64):
        last = game.step(ACTIONS.index("right"))
    assert np.array_equal(first.frame, last.frame)  # type: ignore[arg-type]
    assert first.variables["angle"] == last.variables["angle"]


def test_same_seed_same_world() -> None:
    """A seed fixes the world; another seed gives another one."""
    one, two = ToyGame(), ToyGame()
    assert np.array_equal(one.reset(5).frame, two.reset(5).frame)
    assert not np.array_equal(one.reset(5).frame, two.reset(6).frame)


def test_episode_is_truncated_never_terminated() -> None:
    """The toy world has no end of its own."""
    game = ToyGame(max_steps=3)
    game.reset(0)
    steps = [game.step(0) for _ in range(3)]
    assert [step.truncated for step in steps] == [False, False, True]
    assert not any(step.terminated for step in steps)


@pytest.mark.parametrize("wrong", [{"frame_size": 40}, {"frame_skip": 0}, {"max_steps": 0}, {"actions": ["jump"]}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    """A setting that cannot be is an error, not another world."""
    with pytest.raises(ValueError, match=r"toy world|at least 1"):
        ToyGame(**wrong)  # type: ignore[arg-type]
