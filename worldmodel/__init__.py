"""A video world model: a VQ-VAE and an action-conditioned transformer over its codes, as a simulator."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dynamics.model import Dynamics
    from .envs import make_env
    from .imagination.videos import imagine_videos
    from .rollouts import CollectConfig, Episode, EpisodeDataset, collect
    from .simulator import Imagined, Simulator
    from .tokenizer.model import Tokenizer
    from .video.mp4 import VideoWriter, read_video, write_video

__all__ = [
    "CollectConfig",
    "Dynamics",
    "Episode",
    "EpisodeDataset",
    "Imagined",
    "Simulator",
    "Tokenizer",
    "VideoWriter",
    "collect",
    "imagine_videos",
    "make_env",
    "read_video",
    "write_video",
]

# Where each name lives. It is imported when it is first used: `import worldmodel` loads neither torch nor a game.
_HOMES = {
    "CollectConfig": ".rollouts",
    "Dynamics": ".dynamics.model",
    "Episode": ".rollouts",
    "EpisodeDataset": ".rollouts",
    "Imagined": ".simulator",
    "Simulator": ".simulator",
    "Tokenizer": ".tokenizer.model",
    "VideoWriter": ".video.mp4",
    "collect": ".rollouts",
    "imagine_videos": ".imagination.videos",
    "make_env": ".envs",
    "read_video": ".video.mp4",
    "write_video": ".video.mp4",
}


if "gymnasium" in sys.modules:  # its users want the id; others are spared the import
    from .environment import register

    register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
