"""The real future: only a replay that shows the context again, bit for bit, is believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.imagination.sources import Context, Origin, Source, load_context
from worldmodel.imagination.truth import real_futures
from worldmodel.rollouts import CollectConfig, EpisodeDataset, Goal, collect


def context_at(data: Path, frame: int, *, num_frames: int = 6) -> Context:
    source = Source(kind="dataset", place=str(data), episode=0, frame=frame)
    return load_context(source, tiny_simulator(), num_frames=num_frames, horizon=1, seed=0)


def test_recorded_actions_lead_to_the_recorded_future(tmp_path: Path) -> None:
    """Under the actions that were recorded the real future is the recording; under others it is another."""
    data = record_toy(tmp_path / "data", episodes=1)
    episode = EpisodeDataset(data).episode(0)
    names = EpisodeDataset(data).info.action_names
    recorded = [names[action] for action in episode.actions[45:55]]
    same, other = real_futures(context_at(data, 40), [recorded, ["left"] * 10])
    np.testing.assert_array_equal(same, episode.frames[46:56])
    assert not np.array_equal(other, same)


def test_what_differs_is_not_believed(tmp_path: Path) -> None:
    """One changed bit of the context, another seed or another action stops the replay; changed settings are named."""
    context = context_at(record_toy(tmp_path / "data", episodes=1), 10)
    assert context.origin is not None
    frames = context.frames.copy()
    frames[-1, 0, 0, 0] ^= 1
    actions = context.origin.actions.copy()
    actions[-1] = (actions[-1] + 1) % 4
    settings = {**context.origin.settings, "engine": "toy 0"}
    for changed, says in (
        (replace(context, frames=frames), "differs from the recording at frame 15$"),
        (replace(context, origin=replace(context.origin, seed=9)), "differs from the recording at frame 10$"),
        (replace(context, origin=replace(context.origin, actions=actions)), "at frame 15$"),
        (replace(context, frames=frames, origin=replace(context.origin, settings=settings)), "engine toy 0, here"),
    ):
        with pytest.raises(ValueError, match=says):
            real_futures(changed, [["left"]])


def test_future_must_exist(tmp_path: Path) -> None:
    """A game that ends on the way, an action it does not have and a video are refused."""
    data = record_toy(tmp_path / "data", episodes=1)
    with pytest.raises(ValueError, match="ends after 3 of 5 steps"):
        real_futures(context_at(data, 92), [["left"] * 5])
    assert len(real_futures(context_at(data, 92), [["left"] * 3])[0]) == 3
    with pytest.raises(ValueError, match="no action 'jump'"):
        real_futures(context_at(data, 3), [["jump"]])
    with pytest.raises(ValueError, match="a video has none"):
        real_futures(replace(context_at(data, 3), origin=None), [["left"]])


@pytest.mark.slow
def test_vizdoom_is_replayed_bit_for_bit(tmp_path: Path) -> None:
    """The real engine, brought to a recorded state, continues as it was recorded, from anywhere in the episode."""
    config = CollectConfig(frame_size=32, split="test")
    collect(config, tmp_path / "data", goal=Goal(episodes=1))
    dataset = EpisodeDataset(tmp_path / "data")
    episode, names = dataset.episode(0), dataset.info.action_names
    for start in (0, len(episode.frames) // 2, len(episode.frames) - 12):
        context = Context(
            frames=episode.frames[start : start + 2],
            actions=episode.actions[start : start + 1],
            description={},
            origin=Origin(settings=dataset.info.settings, seed=episode.seed, actions=episode.actions[: start + 1]),
        )
        actions = [names[action] for action in episode.actions[start + 1 : start + 11]]
        (future,) = real_futures(context, [actions])
        np.testing.assert_array_equal(future, episode.frames[start + 2 : start + 12])
