"""ViZDoom as a game: real engine, square frames, actions by name, hangs and deaths turned into GameDiedError."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import vizdoom
import vizdoom.gymnasium_wrapper  # registers the ids

from ..game import GameDiedError, Observation, Step
from .buttons import choose_actions, presses
from .shrink import Shrinker
from .supervision import EngineDirectory, Watchdog, sweep

SCREEN_SIZE = (
    256  # of RES_320X256, after the crop to its centre: the only square with square pixels and a 2x2 mean to 128
)
DIED = (  # what the library says of an engine that is gone, the last one when it was killed in the middle of a message
    vizdoom.ViZDoomUnexpectedExitException,
    vizdoom.ViZDoomErrorException,
    vizdoom.MessageQueueException,
)
VARIABLES = {"position_x": "POSITION_X", "position_y": "POSITION_Y", "angle": "ANGLE"}
# Mazes that are the same in every episode, with nothing in them that moves but the player.
REPEATING_WORLDS = ("VizdoomMyWayHome",)
START_SECONDS = 30.0
STEP_SECONDS = 2.0  # a step takes 1 ms; a busy machine may take 100


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is played: its name, and the options of its configuration, among them the file."""

    id: str
    kwargs: Mapping[str, Any]


class VizdoomGame:
    """One engine process, in a private directory, watched, and gone when this process is.

    Args:
        spec: the scenario: `find("VizdoomMyWayHome-v1")`.
        frame_skip: game tics an action lasts.
        frame_size: side of the frames: 256, 128, 64 or 32.
        actions: action names; None is every usual action that the scenario's buttons allow.
        patience: factor on the time after which a silent engine counts as hung.

    Raises:
        ValueError: for a frame size that is no halving of 256, or an action that the scenario has no button for.
        GameDiedError: if the engine does not start.
    """

    def __init__(
        self,
        spec: Scenario,
        *,
        frame_skip: int = 4,
        frame_size: int = 128,
        actions: Sequence[str] | None = None,
        patience: float = 1.0,
    ) -> None:
        if frame_size not in (256, 128, 64, 32):
            raise ValueError(f"ViZDoom's frame size is 256, 128, 64 or 32, got {frame_size}")
        if frame_skip < 1:
            raise ValueError(f"frame skip must be at least 1, got {frame_skip}")
        self._frame_skip = frame_skip
        self._shrink = Shrinker(SCREEN_SIZE, halvings=(SCREEN_SIZE // frame_size).bit_length() - 1)
        self._patience = patience
        self._engine = _configure(spec)
        buttons = [button.name for button in self._engine.get_available_buttons()]
        self.action_names = choose_actions(actions, buttons)
        self._presses = [presses(name, buttons) for name in self.action_names]
        self.frames_per_second = self._engine.get_ticrate() / frame_skip
        self.settings: Mapping[str, Any] = {
            "env": spec.id,
            "engine": f"vizdoom {vizdoom.__version__}",
            "scenario_sha256": _scenario_hash(self._engine),
            "screen": "RES_320X256",
            "crop": SCREEN_SIZE,
            "frame_size": frame_size,
            "frame_skip": frame_skip,
            "action_names": list(self.action_names),
        }
        if spec.id.startswith(REPEATING_WORLDS):
            self.settings = {**self.settings, "world": {"repeats": True, "pose": "first-person"}}
        self._start()

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed` and return its first frame.

        Raises:
            GameDiedError: if the engine died or hung.
        """
        self._engine.set_seed(seed)
        with self._guarded(START_SECONDS):
            self._engine.new_episode()
            state = self._engine.get_state()
        return Observation(frame=self._frame(state), variables=_variables(state), walls=_walls(state))

    def step(self, action: int) -> Step:
        """Hold the buttons of `action` for `frame_skip` tics.

        Raises:
            GameDiedError: if the engine died or hung.
        """
        with self._guarded(STEP_SECONDS):
            reward = self._engine.make_action(self._presses[action], self._frame_skip)
            state = self._engine.get_state()
            finished = self._engine.is_episode_finished()
            truncated = finished and self._engine.is_episode_timeout_reached()
        # A finished episode has no state: Gymnasium's wrapper shows a black frame in its place.
        return Step(
            frame=None if state is None else self._frame(state),
            reward=reward,
            terminated=finished and not truncated,
            truncated=truncated,
            variables={} if state is None else _variables(state),
        )

    def bare_step(self, action: int) -> None:
        """What a step costs the engine and its library alone: no crop, no guard. For benchmarks."""
        self._engine.make_action(self._presses[action], self._frame_skip)
        self._engine.get_state()

    def close(self) -> None:
        """Stop the engine and remove its directory and shared memory."""
        self._watchdog.close()
        self.directory.remove()
        with contextlib.suppress(*DIED):
            self._engine.close()

    def _start(self) -> None:
        sweep()
        self.directory = EngineDirectory(str(Path(vizdoom.__file__).with_name("vizdoom")))
        self._watchdog = Watchdog(self.directory)
        self._engine.set_vizdoom_path(str(self.directory.command))
        self._engine.set_doom_config_path(str(self.directory.path / "_vizdoom.ini"))
        try:
            with self._guarded(START_SECONDS):
                self._engine.init()
                self.directory.mark_started()
        except GameDiedError:
            self.close()
            raise

    @contextlib.contextmanager
    def _guarded(self, seconds: float) -> Any:
        try:
            with self._watchdog.limit(seconds * self._patience):
                yield
        except DIED as error:
            raise GameDiedError(f"the ViZDoom engine died or hung: {error}") from error

    def _frame(self, state: vizdoom.GameState) -> np.ndarray:
        margin = (state.screen_buffer.shape[2] - SCREEN_SIZE) // 2
        return self._shrink(state.screen_buffer[:, :, margin : margin + SCREEN_SIZE])


def _variables(state: vizdoom.GameState) -> dict[str, float]:
    assert state.game_variables is not None  # it is when variables were asked for
    return dict(zip(VARIABLES, state.game_variables.tolist(), strict=True))


def _walls(state: vizdoom.GameState) -> np.ndarray:
    lines = [line for sector in state.sectors for line in sector.lines if line.is_blocking]
    return np.array([[line.x1, line.y1, line.x2, line.y2] for line in lines]).reshape(-1, 4)


def find(env_id: str) -> Scenario:
    """Return the specification of a ViZDoom id, or of the scenario that a configuration file (`my.cfg`) describes.

    Raises:
        ValueError: if there is none; the nearest is suggested.
    """
    if env_id.endswith(".cfg"):
        if not Path(env_id).is_file():
            raise ValueError(f"no file {env_id}: a scenario of your own is named by its .cfg, beside its .wad")
        return Scenario(id=env_id, kwargs={"scenario_config_file": str(Path(env_id).resolve())})
    if env_id not in gymnasium.registry:
        near = difflib.get_close_matches(env_id, [name for name in gymnasium.registry if "Vizdoom" in name], n=1)
        raise ValueError(f"no environment named {env_id!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return Scenario(id=env_id, kwargs=gymnasium.spec(env_id).kwargs)


def _configure(spec: Scenario) -> vizdoom.DoomGame:
    """Return an engine that is configured for the scenario of `spec`, not yet started."""
    options = {key: value for key, value in spec.kwargs.items() if key != "max_buttons_pressed"}
    engine = vizdoom.DoomGame()
    file = os.path.join(vizdoom.scenarios_path, options.pop("scenario_config_file"))
    try:
        if not engine.load_config(file):
            raise ValueError(f"{file} has lines that ViZDoom does not understand (it named them above)")
    except vizdoom.FileDoesNotExistException as error:
        raise ValueError(f"{file}: {error}") from error
    if not Path(engine.get_doom_scenario_path()).is_file():
        raise ValueError(f"{file} names the scenario {engine.get_doom_scenario_path() or 'nowhere'}, which is no file")
    if not engine.get_available_buttons():
        raise ValueError(f"{file} names no available_buttons")
    if options:
        engine.set_config(options)
    engine.set_window_visible(False)
    engine.set_screen_format(vizdoom.ScreenFormat.CRCGCB)  # planes: what a Shrinker reads
    engine.set_screen_resolution(vizdoom.ScreenResolution.RES_320X256)
    engine.set_mode(vizdoom.Mode.PLAYER)
    engine.set_sound_enabled(False)
    engine.set_depth_buffer_enabled(False)
    engine.set_labels_buffer_enabled(False)
    engine.set_automap_buffer_enabled(False)
    engine.set_audio_buffer_enabled(False)
    engine.set_sectors_info_enabled(True)  # the walls; costs nothing that can be measured
    engine.set_available_game_variables([getattr(vizdoom.GameVariable, name) for name in VARIABLES.values()])
    return engine


def _scenario_hash(engine: vizdoom.DoomGame) -> str:
    return hashlib.sha256(Path(engine.get_doom_scenario_path()).read_bytes()).hexdigest()[:16]
