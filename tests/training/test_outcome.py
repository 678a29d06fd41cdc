"""What the heads learn from: rewards and ends beside the action that brought them, the last step included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from worldmodel.rollouts import EpisodeDataset
from worldmodel.rollouts.episode import Episode
from worldmodel.rollouts.manifest import DatasetInfo, append_record, write_info
from worldmodel.rollouts.storage import write_episode
from worldmodel.training.data import CodeClips
from worldmodel.training.outcome import MAX_EXACT, OutcomeClips, end_weight, outcome_settings, reward_points

LENGTH = 6  # frames


def write_games(path: Path, *, shown: bool) -> EpisodeDataset:
    """Three episodes in which action 1 brings 5 at once and the last step ends the game, with or without a frame."""
    path.mkdir()
    settings = {"env": "toy", "engine": "toy 1", "frame_size": 32, "frame_skip": 1, "action_names": ["noop", "hit"]}
    info = DatasetInfo(settings=settings, frames_per_second=8.0, variables=(), policy="random", split="train", seed=0)
    write_info(path, info)
    rng = np.random.default_rng(0)
    for index in range(3):
        actions = rng.integers(0, 2, LENGTH)
        rewards = np.where(actions == 1, 5, -1).astype(np.float32)
        last = {} if shown else {"final_action": int(actions[-1]), "final_reward": float(rewards[-1])}
        kept = LENGTH if shown else LENGTH - 1
        episode = Episode(
            frames=rng.integers(0, 256, (kept + 1, 32, 32, 3), dtype=np.uint8),
            actions=actions[:kept],
            rewards=rewards[:kept],
            terminated=True,
            truncated=False,
            variables={},
            seed=index,
            **last,
        )
        append_record(path, write_episode(path, index, episode, info=info))
    return EpisodeDataset(path)


@pytest.mark.parametrize("shown", [True, False])
def test_rewards_stand_beside_the_action_that_brought_them(tmp_path: Path, shown: bool) -> None:
    """Trap "rewards attached to the action before": in every clip, reward t is that of action t, and the end is the
    last step's. Trap "the last action of an episode is dropped": its reward and end are there without a frame too."""
    dataset = write_games(tmp_path / "games", shown=shown)
    codes = np.arange(dataset.lengths.sum(), dtype=np.uint16)[:, None, None]
    clips = CodeClips(dataset, codes, clip=4, last_steps=True)
    outcomes = OutcomeClips(dataset, clip=4, episodes=3)
    places = [clips.training[i] for i in range(len(clips.training))]
    assert len(places) == 2 * (LENGTH - 2)  # two training episodes
    read, (frames, actions) = outcomes.read(places), clips.read(places)
    assert torch.equal(read.rewards, torch.where(actions == 1, 5.0, -1.0))
    for row, (episode, start) in enumerate(places):
        last = np.arange(start, start + 3) == LENGTH - 1
        assert read.ends[row].tolist() == last.tolist()
        assert read.shown[row].tolist() == [shown or not each for each in last]
        first = int(dataset.lengths[:episode].sum())
        numbers = np.minimum(np.arange(start, start + 4), dataset.lengths[episode] - 1) + first
        assert frames[row].flatten().tolist() == numbers.tolist()  # no clip crosses into the next episode


def test_few_rewards_are_exact_and_many_are_points_within_their_range() -> None:
    """At most 16 different rewards are kept as they are; of more, the points span what was recorded and no more."""
    few = np.array([1, -2, 1, 0.25], np.float32)
    assert reward_points(few) == (-2.0, 0.25, 1.0)
    assert len(reward_points(np.arange(MAX_EXACT))) == MAX_EXACT
    many = reward_points(np.linspace(-3, 200, 500))
    assert (many[0], many[-1]) == (-3.0, 200.0)
    assert list(many) == sorted(set(many))


def test_ends_weigh_by_their_rarity(tmp_path: Path) -> None:
    """All ends together weigh as much as all other steps, but no end more than a limit; the settings say so."""
    assert end_weight(steps=100, ends=10) == 9.0
    assert end_weight(steps=10**6, ends=1) == 100.0
    assert end_weight(steps=100, ends=0) == 1.0
    settings = outcome_settings(write_games(tmp_path / "games", shown=False))
    assert settings == {"rewards": (-1.0, 5.0), "end_weight": LENGTH - 1}
