"""The game in a window of its own, for desktops: `gymnasium.utils.play` on the game as a Gymnasium environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import gymnasium
import numpy as np

from ..video.figure import stretch
from .keymap import buttons, choose_action
from .library import Loaded
from .session import Session

SIDE = 512  # pixels of the window's shorter side, at most
KEYS_AT_ONCE = 3
ARROWS = {"ArrowUp": "K_UP", "ArrowDown": "K_DOWN", "ArrowLeft": "K_LEFT", "ArrowRight": "K_RIGHT"}


class PlayedEnv(gymnasium.Env[np.ndarray, np.int64]):
    """A game that is played without end; a reset goes to the first start of the checkpoint.

    Unlike `ImaginedEnv` it needs no reward and end heads: rewards are 0.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - Gymnasium's own form

    def __init__(self, loaded: Loaded) -> None:
        size = loaded.simulator.frame_size
        self.loaded, self.session = loaded, Session(loaded.simulator, loaded.name)
        self.render_mode = "rgb_array"
        self.metadata = {**self.metadata, "render_fps": max(1, round(loaded.simulator.frames_per_second))}
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(self.session.action_names))
        self._frame = loaded.starts[0].context.frames[-1]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Go to the start; `seed` decides all that is imagined, and None is 0."""
        super().reset(seed=seed)
        shown = self.session.begin(self.loaded.starts[0], seed=seed or 0, temperature=self.session.temperature)
        self._frame = shown.images["imagined"].copy()  # the start's own, which stays as it is
        return self._frame, {}

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Imagine the frame that follows an action."""
        self._frame = self.session.step(int(action)).images["imagined"]
        return self._frame, 0.0, False, False, {}

    def render(self) -> np.ndarray:
        """Return the newest frame at the game's aspect, enlarged by whole pixels: uint8 (H W 3)."""
        scale = max(1, SIDE // self._frame.shape[0])
        return np.asarray(stretch(self._frame, self.loaded.aspect, scale=scale))


def open_window(loaded: Loaded) -> None:
    """Play in a window until it is closed or Escape is pressed.

    Raises:
        ValueError: if pygame is missing or there is no screen.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
        from gymnasium.utils.play import play
    except (ImportError, gymnasium.error.DependencyNotInstalled):
        raise ValueError("a window needs pygame: install it with pip install -e '.[window]'") from None
    env = PlayedEnv(loaded)
    names = env.session.action_names
    idle = choose_action([], names)
    codes = {key: _code(key, pygame) for button in buttons(names) for key in button.keys}
    actions = {tuple(codes[key] for key in keys): np.int64(action) for keys, action in key_actions(names).items()}
    try:
        play(
            env,
            keys_to_action=actions,
            noop=0 if idle is None else idle,
            wait_on_player=idle is None,
        )
    except pygame.error as error:
        raise ValueError(f"no window can be opened ({error}): leave out --window to play in the browser") from None
    finally:
        pygame.quit()
        env.close()


def key_actions(action_names: Sequence[str]) -> Mapping[tuple[str, ...], int]:
    """Return what every few keys mean together, by their names as in `keymap.KEYS`."""
    pressed_by = {key: button.name for button in buttons(action_names) for key in button.keys}
    result = {}
    for count in range(1, KEYS_AT_ONCE + 1):
        for keys in combinations(pressed_by, count):
            action = choose_action([pressed_by[key] for key in keys], action_names)
            if action is not None:
                result[keys] = action
    return result


def _code(key: str, pygame: Any) -> int:
    """Return pygame's code of a key: KeyW, ArrowUp, Space."""
    if key in ARROWS:
        return int(getattr(pygame, ARROWS[key]))
    return ord(" ") if key == "Space" else ord(key.removeprefix("Key").lower())
