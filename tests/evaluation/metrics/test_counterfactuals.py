"""The counterfactual choice, checked by those whose score is known: the engine itself, its opposite, and the blind."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worlds import record_toy
from worldmodel.evaluation.harness.clips import Clips, draw_clips
from worldmodel.evaluation.harness.oracle import Oracle
from worldmodel.evaluation.harness.subject import Imaginer, copy_last
from worldmodel.evaluation.metrics.counterfactuals import (
    CounterfactualStarts,
    choices,
    distinguishable,
    draw_grid,
    find_starts,
    imagine_every_action,
    picture,
    squared_errors,
    with_shuffled_actions,
)
from worldmodel.rollouts import CollectConfig, EpisodeDataset, Goal, collect

CONTEXT, STEPS = 3, 3


@pytest.fixture
def dataset(tmp_path: Path) -> EpisodeDataset:
    return EpisodeDataset(record_toy(tmp_path / "data", episodes=2))


@pytest.fixture
def oracle(dataset: EpisodeDataset) -> Iterator[Oracle]:
    with closing(Oracle(dataset)) as opened:
        yield opened


def clips_at(dataset: EpisodeDataset, *starts: int, episode: int = 0) -> Clips:
    frames = np.stack([dataset.frames(episode, start, start + CONTEXT) for start in starts])
    actions = np.stack([dataset.actions(episode)[start : start + CONTEXT - 1] for start in starts])
    return Clips(frames, actions, tuple((episode, start) for start in starts))


def test_scores_of_those_who_are_known(dataset: EpisodeDataset, oracle: Oracle) -> None:
    """The engine finds every action, given the wrong one it finds none, and who is given none is exactly at chance."""
    clips = draw_clips(dataset, frames=CONTEXT + STEPS, number=5, seed=0)
    starts = find_starts(oracle, clips, context=CONTEXT, steps=STEPS)
    assert starts.apart.all()
    assert starts.chance == 1 / 4

    def always_left(clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
        return oracle(clips, np.full_like(future, 2), context=context)

    def top1(imaginer: Imaginer) -> float:
        return float(choices(imagine_every_action(imaginer, starts, seed=0), starts).top1.mean())

    assert top1(oracle) == 1
    assert top1(copy_last) == top1(always_left) == starts.chance
    answer = choices(with_shuffled_actions(starts.futures, starts), starts)
    assert answer.top1.mean() == answer.top1_all_steps.mean() == 0
    assert answer.confusion.tolist() == (5 * np.roll(np.eye(4, dtype=int), 1, axis=1)).tolist()
    right = choices(starts.futures, starts)
    assert right.confusion.tolist() == (5 * np.eye(4, dtype=int)).tolist()
    assert right.ties == 0


def test_actions_that_lead_to_the_same_are_one(dataset: EpisodeDataset, oracle: Oracle) -> None:
    """The toy's floor repeats after four steps forward: then only `noop` takes part, and chance is 1 of 3."""
    starts = find_starts(oracle, clips_at(dataset, 0, 7), context=CONTEXT, steps=4)
    assert starts.apart.tolist() == [[True, False, True, True]] * 2
    assert starts.chance == 1 / 3
    blind = choices(imagine_every_action(copy_last, starts, seed=0), starts)
    assert blind.top1.mean() == pytest.approx(1 / 3)
    assert blind.confusion.sum() == 6
    still = np.zeros((3, 8, 8, 3), np.uint8)
    assert distinguishable(still).tolist() == [True, False, False]
    still[2] = 9
    assert distinguishable(still).tolist() == [True, False, True]


def test_nothing_is_left_out_silently(dataset: EpisodeDataset, oracle: Oracle) -> None:
    """A clip after which the game ends is counted; an engine that shows other frames than recorded is not believed."""
    late = int(dataset.lengths[0]) - CONTEXT - 1
    starts = find_starts(oracle, clips_at(dataset, 5, late), context=CONTEXT, steps=STEPS)
    assert (len(starts.futures), starts.ended, starts.alike) == (1, 1, 0)
    assert starts.clips.places == ((0, 5),)
    with pytest.raises(ValueError, match="at none of 1 clips"):
        find_starts(oracle, clips_at(dataset, late), context=CONTEXT, steps=STEPS)
    other = clips_at(dataset, 5)
    other.frames[0, -1, 0, 0, 0] ^= 1
    with pytest.raises(ValueError, match="differs from the recording"):
        find_starts(oracle, other, context=CONTEXT, steps=STEPS)


def of_colours(*colours: int) -> np.ndarray:
    """Return frames (a 1 4 4 3), each of one grey."""
    return np.stack([np.full((1, 4, 4, 3), colour, np.uint8) for colour in colours])


def test_a_tie_is_a_miss() -> None:
    """Half way between two real futures nobody is nearer."""
    futures = of_colours(0, 100)[None]
    empty = Clips(np.zeros((1, 2, 4, 4, 3), np.uint8), np.zeros((1, 1), np.int64), ((0, 0),))
    starts = CounterfactualStarts(clips=empty, futures=futures, apart=np.ones((1, 2), bool), ended=0, alike=0)
    answer = choices(of_colours(50, 90)[None], starts)
    assert answer.ties == 1
    assert answer.top1.tolist() == [0.5]


def test_squared_errors_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    ways, futures = (rng.integers(0, 256, (n, 2, 8, 8, 3), dtype=np.uint8) for n in (2, 3))
    difference = ways[:, None].astype(float) - futures[None]
    np.testing.assert_allclose(squared_errors(ways, futures), (difference**2).mean((-3, -2, -1)), atol=1e-9)


def test_grid_shows_everything_once_and_in_order(dataset: EpisodeDataset, oracle: Oracle) -> None:
    """Rows are actions; the real future stands left of the imagined one, step after step."""
    greys = 100 + np.array([[[0, 9], [40, 49]], [[20, 29], [60, 69]]])  # real and imagined, actions, steps
    real, imagined = np.broadcast_to(greys[..., None, None, None], (*greys.shape, 16, 16, 3)).astype(np.uint8)
    sheet = np.asarray(draw_grid(real, imagined, ("noop", "left")))
    for row in range(2):
        lefts = []
        for frame in (*real[row], *imagined[row]):
            ys, xs = np.nonzero((sheet == frame[0, 0]).all(-1))
            inside = (ys.min(), xs.min())
            assert (sheet[inside[0] : inside[0] + 16, inside[1] : inside[1] + 16] == frame).all()
            lefts.append(int(xs.min()))
        assert lefts == sorted(lefts)
    starts = find_starts(oracle, clips_at(dataset, 5), context=CONTEXT, steps=STEPS)
    shown = picture(starts, starts.futures, dataset.info.action_names)
    assert shown.caption == "episode 0, frame 5"
    assert Image.open(io.BytesIO(base64.b64decode(shown.png))).width > 2 * STEPS * 32


@pytest.mark.slow
def test_vizdoom_finds_every_action(tmp_path: Path) -> None:
    """One engine, brought to one state after the other, shows the same future of every action a second time."""
    collect(CollectConfig(frame_size=32, split="test"), tmp_path / "data", goal=Goal(episodes=2))
    dataset = EpisodeDataset(tmp_path / "data")
    with closing(Oracle(dataset)) as oracle:
        for episode, start in ((1, 4), (0, 9)):
            clips = clips_at(dataset, start, episode=episode)
            starts = find_starts(oracle, clips, context=CONTEXT, steps=STEPS)
            again = imagine_every_action(oracle, starts, seed=0)
            np.testing.assert_array_equal(again, starts.futures)
            assert choices(again, starts).top1.mean() == 1
