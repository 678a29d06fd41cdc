"""Settings of the models and of training: frozen, complete, with a JSON round trip."""

from __future__ import annotations

import dataclasses
import json
import math
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")

MAX_SEEDS = 1_000_000  # as many as a game has seeds that training never sees
MAX_PROCESSES = 256
# What no model exceeds, by the end of a setting's name; other numbers of a checkpoint's config stay below MAX_SETTING.
SIZES = {"_layers": 256, "_blocks": 256, "downsamplings": 8, "_dim": 8192, "_grid": 4096, "window": 4096}
SIZES |= {"frame_size": 2048, "codebook_size": 2**16, "frames_per_second": 10_000}
MAX_SETTING, MAX_LENGTH, MAX_TEXT = 1e6, 1024, 80


def to_dict(config: object) -> dict[str, Any]:
    """Return a dataclass as JSON-ready values (tuples become lists)."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))  # type: ignore[call-overload]
    return values


def defaults(config: object) -> dict[str, Any]:
    """Return the settings that a dataclass has if nobody gives them, as JSON-ready values."""
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}


def from_dict(kind: type[Config], values: dict[str, Any]) -> Config:
    """Return the config `kind` with `values`; lists become tuples.

    Raises:
        ValueError: if a setting is unknown or missing, naming it.
    """
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"unknown settings for {kind.__name__}: {', '.join(unknown)[:MAX_TEXT]}")
    hints = get_type_hints(kind)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} must be {_in_words(hints[name])}, got {repr(value)[:MAX_TEXT]}")
        check_size(name, value, most=MAX_SETTING)
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return kind(**frozen)
    except TypeError as error:
        raise ValueError(f"settings for {kind.__name__} are incomplete: {error}") from None
    except (ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"settings for {kind.__name__} cannot be: {error}") from None


def check_size(name: str, value: object, *, most: float = math.inf) -> None:
    """Raise ValueError if a setting is larger than any model's: it would take all memory, or for ever.

    Args:
        name: of the setting; the end of it says which bound holds.
        value: any; only numbers are compared.
        most: the bound of settings that none of SIZES is about.
    """
    bound = next((size for end, size in SIZES.items() if name.endswith(end)), most)
    if isinstance(value, int | float) and not abs(value) <= bound:
        raise ValueError(f"{name} must be at most {bound:g}, got {str(value)[:MAX_TEXT]}")


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value is of the type that a field is declared with: no number is a truth value, no list a text."""
    if get_origin(hint) in {Union, UnionType}:
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            return False
        kinds = get_args(hint)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return len(kinds) == len(value) <= MAX_LENGTH and all(map(_fits, value, kinds))
    if hint in {int, float}:
        return isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
    if hint is str:
        from .rollouts.files import is_printable  # late: whoever only starts processes needs no NumPy

        return is_printable(value)
    return not isinstance(hint, type) or isinstance(value, hint)


def _in_words(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a short printable text", bool: "true or false"}
    return words.get(hint, "a list of them" if get_origin(hint) is tuple else f"a {hint}")


def require_positive(config: object, *names: str) -> None:
    """Raise ValueError, naming the setting, unless each of `names` is above 0."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The VQ-VAE: frames of `frame_size` pixels to `code_grid` x `code_grid` codes, and back."""

    frame_size: int = 128
    downsamplings: int = 2  # stride-2 convolutions: 128 -> 32, as in van den Oord et al. 2017, sec. 4.1
    codebook_size: int = 512  # K, sec. 4.1
    code_dim: int = 32
    hidden_dim: int = 96
    num_residual_blocks: int = 2  # sec. 4.1
    residual_dim: int = 48
    codebook: str = "ema"  # "ema" (appendix A.1) or "gradient" (eq. 3)
    commitment_weight: float = 0.25  # beta, sec. 3.2
    ema_decay: float = 0.99  # gamma, appendix A.1
    restart_below: float = 0.03  # a code used less than this share of an even use is dead

    def __post_init__(self) -> None:
        require_positive(self, "frame_size", "downsamplings", "codebook_size", "code_dim", "hidden_dim", "residual_dim")
        if self.codebook not in {"ema", "gradient"}:
            raise ValueError(f"codebook must be 'ema' or 'gradient', got {self.codebook!r}")
        _require_whole_grid(self.frame_size, self.downsamplings)

    @property
    def code_grid(self) -> int:
        """The side of the grid of codes of one frame."""
        return self.frame_size // 2**self.downsamplings

    @property
    def num_codes(self) -> int:
        return self.code_grid**2


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """The continuous VAE: the networks and the grid of the VQ-VAE, with Gaussian latents in place of codes."""

    frame_size: int = TokenizerConfig.frame_size
    downsamplings: int = TokenizerConfig.downsamplings
    latent_dim: int = TokenizerConfig.code_dim
    hidden_dim: int = TokenizerConfig.hidden_dim
    num_residual_blocks: int = TokenizerConfig.num_residual_blocks
    residual_dim: int = TokenizerConfig.residual_dim

    def __post_init__(self) -> None:
        require_positive(self, "frame_size", "downsamplings", "latent_dim", "hidden_dim", "residual_dim")
        _require_whole_grid(self.frame_size, self.downsamplings)

    @property
    def latent_grid(self) -> int:
        """The side of the grid of latents of one frame."""
        return self.frame_size // 2**self.downsamplings

    @property
    def num_latents(self) -> int:
        """How many numbers a frame becomes."""
        return self.latent_grid**2 * self.latent_dim


def _require_whole_grid(frame_size: int, downsamplings: int) -> None:
    if frame_size % 2**downsamplings:
        raise ValueError(f"frame_size must be a multiple of {2**downsamplings}, got {frame_size}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicsConfig:
    """The transformer that predicts the next frame's codes from the past codes and actions."""

    action_names: tuple[str, ...]
    frame_skip: int
    frames_per_second: float
    code_grid: int = 32
    codebook_size: int = 512  # this and the next are the tokenizer's: the training command takes them from there
    code_dim: int = 32
    patch: int = 2  # codes to a side of a patch: one token of the context transformer
    order: str = "diagonal"  # see dynamics/order.py
    window: int = 8  # frames attended to; training clips (`clip`) should be longer
    context_dim: int = 192
    context_layers: int = 4
    attention_bias_layers: int = 1  # the first so many layers bias their attention by the action
    code_pixels: int = 4  # to a side of what a code looks like
    flow_layer: int = 1  # blocks before the flow features enter; if there are not so many, they enter before the last
    flow_hidden_dim: int = 256  # of the network that reads features off the warped image
    flow_dim: int = 64  # features of a code
    expectation: bool = False  # whether an outside model may say how the next frame is expected to look
    action_history: int = 4  # actions that each frame is conditioned on: the last ones
    decoder_dim: int = 192
    decoder_layers: int = 2
    head_dim: int = 48
    expansion: int = 2  # of the MLPs
    chain_dim: int = 128
    rewards: tuple[float, ...] = ()  # that a step may bring, ascending; none without reward and end heads
    end_weight: float = 1.0  # how many times as much as another step an end counts in training
    outcome_dim: int = 128  # of the reward and end heads
    max_context_noise: float = 0.1  # context codes replaced by random ones, rate uniform in 0..this
    action_dropout: float = 0.1  # clips trained without actions
    activity_weight: float = 1.0  # in the loss, of codes near what changed between the last two frames; 1 is even

    def __post_init__(self) -> None:
        object.__setattr__(self, "action_names", tuple(self.action_names))
        object.__setattr__(self, "rewards", tuple(self.rewards))
        require_positive(self, "frame_skip", "frames_per_second", "code_grid", "codebook_size", "code_dim", "patch")
        require_positive(self, "window", "context_dim", "context_layers", "decoder_dim", "decoder_layers", "chain_dim")
        require_positive(self, "code_pixels", "flow_hidden_dim", "flow_dim", "action_history")
        require_positive(self, "head_dim", "expansion", "activity_weight")
        require_positive(self, "outcome_dim", "end_weight")
        if list(self.rewards) != sorted(set(self.rewards)):
            raise ValueError(f"rewards must be different and ascending, got {self.rewards}")
        if not self.action_names:
            raise ValueError("action_names must name at least one action")
        if self.flow_layer < 0:
            raise ValueError(f"flow_layer must be at least 0, got {self.flow_layer}")
        if self.code_grid % self.patch:
            raise ValueError(f"patch must divide the code grid {self.code_grid}, got {self.patch}")
        for name in ("context_dim", "decoder_dim"):
            if getattr(self, name) % self.head_dim or self.head_dim % 4:
                raise ValueError(f"{name} must be a multiple of head_dim, and head_dim of 4, got {getattr(self, name)}")

    @property
    def patch_grid(self) -> int:
        """The side of the grid of patches of one frame."""
        return self.code_grid // self.patch

    @property
    def num_patches(self) -> int:
        return self.patch_grid**2

    @property
    def codes_per_patch(self) -> int:
        return self.patch**2

    @property
    def flow_features(self) -> int:
        """How many flow features a patch has."""
        return self.codes_per_patch * self.flow_dim


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and how fast to train. A run ends at `steps` or after `minutes`, whichever comes first."""

    steps: int = 100_000
    minutes: float = 60.0
    batch: int  # clips a step, in each process
    clip: int  # frames a clip
    episodes: int = 0  # use the first so many of the data set; 0 means all
    init: str = ""  # a checkpoint directory to start from: weights are taken where name and shape agree
    init_only: str = ""  # take only weights whose names begin so, such as "context."
    trained: str = ""  # train only weights whose names begin so, such as "decoder."; "" means all
    learning_rate: float
    muon_learning_rate: float = 0.0  # of the hidden matrices; 0 trains them with AdamW as well
    weight_decay: float = 0.01
    warmup_steps: int = 100
    cooldown: float = 0.3  # the last share of the run, in which the rate falls to zero
    gradient_clip: float = 1.0
    ema_decay: float = 0.999  # of the weights that are saved
    precision: str = "auto"  # "auto", "float32" or "bfloat16"
    change_weight: float = 20.0  # of a tokenizer's error at pixels that differ from the frame before; 1 is even
    learned_map: str = "auto"  # "yes", "no", or "auto": if the data set says that its world repeats
    map_share: float = 0.35  # of the minutes, for the learned map before all the rest
    train_map: bool = False  # further, where the checkpoint that a run starts from has one already
    map_steps: int = 100_000  # at most, for the same; never more than `steps`
    expectation_dropout: float = 0.5  # clips trained without an expectation, as if there were no map
    self_rollouts: float = 0.5  # clips whose last past frames the model samples itself, where it has a learned map
    flow_steps: int = 1200  # at most, to fit optical flow and motion model before the first step; fewer for few minutes
    compile: bool = False  # torch.compile: a minute at the start, about 1.3 times the speed afterwards
    log_every_steps: int = 20
    save_every_minutes: float = 3.0
    sample_every_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "steps", "minutes", "batch", "clip", "learning_rate", "log_every_steps", "map_steps")
        require_positive(self, "change_weight")
        if self.learned_map not in {"auto", "yes", "no"}:
            raise ValueError(f"learned_map must be auto, yes or no, got {self.learned_map!r}")
        if not 0 < self.map_share < 1:
            raise ValueError(f"map_share must be more than 0 and less than 1, got {self.map_share}")
        for name in ("expectation_dropout", "self_rollouts"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, got {getattr(self, name)}")
        if self.flow_steps < 0:
            raise ValueError(f"flow_steps must be at least 0, got {self.flow_steps}")
        if self.precision not in {"auto", "float32", "bfloat16"}:
            raise ValueError(f"precision must be auto, float32 or bfloat16, got {self.precision!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of `worldmodel evaluate` that are rarely changed."""

    context: int = 6  # real frames the model is given
    temperature: float = 1.0  # of sampling
    processes: int = 0  # questions asked at once, each in a process of one thread; 0 means one a core, at most 4

    def __post_init__(self) -> None:
        require_positive(self, "context")
        if not 0 <= self.processes <= MAX_PROCESSES:
            raise ValueError(f"processes must be 0 (automatic) to {MAX_PROCESSES}, got {self.processes}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagineConfig:
    """Settings of `imagine` that are rarely changed."""

    seed: int = 0  # of the sampling, and of the start where --from names none
    temperature: float = 1.0  # 0 takes the likeliest codes
    top_k: int = 0  # sample among the likeliest K codes only; 0 = all

    def __post_init__(self) -> None:
        if not 0 <= self.seed < MAX_SEEDS:
            raise ValueError(f"seed must be 0 to {MAX_SEEDS - 1}, got {self.seed}")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 0, got {self.top_k}")
