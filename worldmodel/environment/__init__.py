"""The ids that Gymnasium knows this package's environments by; registering them imports neither torch nor a model."""

from __future__ import annotations

ID = "worldmodel/Imagined-v0"


def register() -> None:
    """Tell Gymnasium about the imagined game. Calling it again changes nothing."""
    from gymnasium.envs import registration

    if ID not in registration.registry:
        registration.register(
            id=ID,
            entry_point="worldmodel.environment.imagined_env:ImaginedEnv",
            vector_entry_point="worldmodel.environment.imagined_env:ImaginedVectorEnv",
        )


register()
