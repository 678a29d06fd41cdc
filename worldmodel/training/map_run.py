"""The learned map of a training run of the dynamics: begun, taken from another run, trained first, then used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.checkpoint import has_part, read
from ..config import TrainingConfig
from ..learned_map.config import LearnedMapConfig
from ..learned_map.map import KIND, LearnedMap
from ..rollouts import POSE, DatasetInfo, EpisodeDataset
from ..runtime import default_device
from ..simulator import LEARNED_MAP
from . import motion_model
from .data import CodeClips, split_episodes
from .learned_map import LearnedMapStage, MapExpectations, Poses, map_training, save_learned_map

OWN_BUFFERS = ("code_vectors", "code_appearance")  # of this run's tokenizer


def wants_map(setting: str, info: DatasetInfo) -> bool:
    """Return whether to train a learned map: as the setting says, or "auto", if the data set says its world repeats.

    A data set says so in its settings: `"world": {"repeats": true, "pose": "first-person"}`.
    """
    if setting != "auto":
        return setting == "yes"
    world = info.settings.get("world", {})
    return bool(world.get("repeats")) and world.get("pose") == "first-person"


def recorded_poses(dataset: EpisodeDataset, episodes: int) -> Poses | None:
    """Return the poses of the first so many episodes, None if the data set has none.

    Raises:
        ValueError: if one is not finite, or a file is damaged.
    """
    return Poses(dataset, episodes) if set(POSE) <= set(dataset.info.variables) else None


class MapRun:
    """The learned map of a run.

    It is taken from the checkpoint that the run starts from, if that has one of these sizes; otherwise, or if
    `train_map` says so, it is trained before the dynamics.

    Args:
        dataset: with recorded poses, if the map is to be trained.
        codes: of its frames.
        config: of the map.
        training: of the whole run.
        episodes: use the first so many.
        poses: recorded with them, if they are.
        code_vectors: (k c), as the dynamics has them.
        fingerprints: of the data and the tokenizer.

    Raises:
        ValueError: if the map is to be trained and the data set has no poses.
    """

    def __init__(
        self,
        dataset: EpisodeDataset,
        codes: np.ndarray,
        config: LearnedMapConfig,
        training: TrainingConfig,
        *,
        episodes: int,
        poses: Poses | None,
        code_vectors: Tensor,
        fingerprints: dict[str, str],
    ) -> None:
        self.seed, self.fingerprints = training.seed, fingerprints
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.learned_map = LearnedMap(config)
        self.metrics: dict[str, Any] = {}
        is_known = bool(training.init) and self._take(Path(training.init))
        self.learned_map.code_vectors.copy_(code_vectors)
        self.is_open = training.train_map or not is_known
        self.poses = poses or (Poses(dataset, episodes) if self.is_open else None)
        if self.is_open:
            assert self.poses is not None
            split = split_episodes(dataset.lengths[:episodes], clip=training.clip)
            longest = min(int(dataset.lengths[part].max()) for part in split)
            self.training = map_training(training, longest=longest)
            clip = self.training.clip
            self.clips = CodeClips(dataset, codes, clip=clip, episodes=episodes, split_clip=training.clip)
            self.fit_steps = 0 if is_known else motion_model.fit_steps(self.training)
            if not is_known:
                self.learned_map.set_bounds(*self.poses.bounds())
        else:
            self.learned_map.requires_grad_(False)
        self.learned_map.to(default_device())

    def _take(self, directory: Path) -> bool:
        """Take the map of another run, if it has one of these sizes; return whether it has."""
        if not has_part(directory, LEARNED_MAP):
            return False
        checkpoint, state = read(directory / LEARNED_MAP, kind=KIND), self.learned_map.state_dict()
        known = checkpoint.tensors
        if known.keys() != state.keys() or any(
            known[name].shape != tensor.shape for name, tensor in state.items() if name not in OWN_BUFFERS
        ):
            return False
        for name, tensor in state.items():
            if name not in OWN_BUFFERS:
                tensor.copy_(known[name])
        self.metrics = checkpoint.metrics
        return True

    @property
    def config(self) -> LearnedMapConfig:
        return self.learned_map.config

    @property
    def expectations(self) -> MapExpectations:
        """Return what the map expects of training clips."""
        return MapExpectations(self.learned_map, self.poses)

    def set_code_appearance(self, appearance: Tensor) -> None:
        """Set what codes look like, standardised: (k 3 cell cell)."""
        self.learned_map.code_appearance.copy_(appearance)

    def stage(self) -> LearnedMapStage:
        """Return the stage that trains the map."""
        assert self.poses is not None
        return LearnedMapStage(
            self.clips, self.poses, self.learned_map, self.training, self.fingerprints, fit_steps=self.fit_steps
        )

    def load(self, directory: Path) -> None:
        """Go on with a map that is trained.

        Raises:
            ValueError: if there is none, or it is damaged.
        """
        checkpoint = read(directory, kind=KIND)
        trained = LearnedMap.from_pretrained(directory)
        self.learned_map.load_state_dict(trained.state_dict())
        self.learned_map.eval().requires_grad_(False)
        self.metrics = checkpoint.metrics

    def save(self, directory: Path) -> None:
        """Write the map's checkpoint."""
        save_learned_map(self.learned_map, directory, self.metrics, tokenizer=self.fingerprints["tokenizer"])
