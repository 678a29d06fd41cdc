"""One way to every game."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from worldmodel.envs import make_env


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("VizdoomMyWayHom-v1", "did you mean 'VizdoomMyWayHome-v1'"),
        ("Cartpole-v1", "did you mean 'CartPole-v1'"),
        ("toi", "did you mean 'toy'"),
        ("", "no environment named ''"),
        ("no_such_module:Env-v0", "cannot load no_such_module:Env-v0"),
    ],
)
def test_unknown_environments_are_refused_with_the_nearest(env_id: str, message: str) -> None:
    """A typo is answered with the nearest environment; one that cannot be recorded with the reason."""
    with pytest.raises(ValueError, match=message):
        make_env(env_id)


def test_any_gymnasium_environment_is_a_game() -> None:
    """CartPole, rendered and resized: right size, both actions, same seed and actions give the same frames."""
    pytest.importorskip("pygame")
    videos = []
    for _ in range(2):
        with closing(make_env("CartPole-v1", frame_skip=2, frame_size=48)) as game:
            assert game.action_names == ("left", "right")
            steps = [game.reset(3), *(game.step(index % 2) for index in range(4))]
            videos.append(np.stack([step.frame for step in steps]))  # type: ignore[misc]
    assert videos[0].shape == (5, 48, 48, 3)
    assert videos[0].dtype == np.uint8
    assert np.array_equal(videos[0], videos[1])
    assert not np.array_equal(videos[0][0], videos[0][-1])
