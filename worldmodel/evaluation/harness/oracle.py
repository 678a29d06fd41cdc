"""The real engine, replayed to where a clip's context ends: it shows what any action would really have led to.

Any game that replays will do: it is believed only where it shows every recorded frame again, from its first on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...imagination.sources import Origin
from ...imagination.truth import FutureEndsError, open_game, real_future
from ...rollouts import EpisodeDataset
from .clips import Clips


class Oracle:
    """An Imaginer that replays the real engine; one game is kept open. A clip has to know its place in the data set.

    Raises:
        ValueError: if there is no such game.
    """

    def __init__(self, dataset: EpisodeDataset) -> None:
        self._dataset = dataset
        self._game = open_game(dataset.info.settings)
        self._checked: set[tuple[int, int]] = set()  # clips up to whose context every frame was found again

    def __call__(self, clips: Clips, future: np.ndarray, *, context: int, seed: int = 0) -> np.ndarray:
        """Return uint8 (b n H W 3), what really follows.

        Raises:
            ValueError: if the engine does not show the recorded context again, or the game ends on the way.
        """
        rows = range(len(clips.frames))
        return np.stack([self.future(clips[i : i + 1], future[i], context=context) for i in rows])

    def future(self, clip: Clips, actions: np.ndarray | Sequence[int], *, context: int) -> np.ndarray:
        """Return uint8 (n H W 3) for a single clip, (b) = 1."""
        ((episode, start),) = clip.places
        last = start + context - 1
        origin = Origin(
            settings=self._dataset.info.settings,
            seed=self._dataset.records[episode].seed,
            actions=self._dataset.actions(episode)[:last],
        )
        names = [self._dataset.info.action_names[action] for action in actions]
        if (episode, last) in self._checked:
            return real_future(self._game, origin, clip.frames[0, :context], names)
        # The first time every frame since the game began is compared with the recording, not those of the clip alone.
        found = real_future(self._game, origin, self._dataset.frames(episode, 0, last + 1), names)
        self._checked.add((episode, last))
        return found

    def every_future(self, clip: Clips, *, context: int, steps: int) -> np.ndarray | None:
        """Return uint8 (a n H W 3): each action held for `steps` steps; None where the game ends on the way."""
        try:
            number = len(self._dataset.info.action_names)
            return np.stack([self.future(clip, [action] * steps, context=context) for action in range(number)])
        except FutureEndsError:
            return None

    def close(self) -> None:
        """Release the game."""
        self._game.close()
