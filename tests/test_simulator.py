"""The simulator: state, repeatability, and imagination in latent space only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models import ACTION_NAMES, OUTSIDE, expecting, tiny_dynamics, tiny_tokenizer
from worldmodel.checkpoints.checkpoint import Checkpoint, write
from worldmodel.config import to_dict
from worldmodel.dynamics.features import Features
from worldmodel.learned_map import map as map_module
from worldmodel.learned_map.map import LearnedMap
from worldmodel.simulator import Simulator
from worldmodel.training.learned_map import save_learned_map
from worldmodel.training.tokenizer import save_tokenizer

RNG = np.random.default_rng(3)
FRAMES = RNG.integers(0, 256, (2, 5, 32, 32, 3), dtype=np.uint8)
ACTIONS = RNG.integers(0, 4, (2, 4))
FUTURE = RNG.integers(0, 4, (2, 6))


def make(outside: str = "none", **settings: object) -> Simulator:
    tokenizer = tiny_tokenizer()
    dynamics = tiny_dynamics(codebook=tokenizer.codebook.vectors, expectation=outside != "none")
    return Simulator(tokenizer, dynamics, expecting(outside, dynamics), precision="float32", **settings)  # type: ignore[arg-type]


def save(simulator: Simulator, out: Path, *, fingerprint: str | None = None) -> None:
    fingerprint = fingerprint or simulator.tokenizer.fingerprint()
    save_tokenizer(simulator.tokenizer, out / "tokenizer", {})
    if isinstance(simulator.learned_map, LearnedMap):
        save_learned_map(simulator.learned_map, out / "learned_map", {}, tokenizer=fingerprint)
    config = to_dict(simulator.dynamics.config) | {"tokenizer": fingerprint}
    tensors = dict(simulator.dynamics.state_dict())
    write(out, Checkpoint(kind="dynamics", config=config, metrics={}, tensors=tensors))


@pytest.mark.parametrize("outside", OUTSIDE)
def test_steps_equal_imagine(outside: str) -> None:
    """`step` N times gives the codes of `imagine` with N actions and the same seed."""
    simulator = make(outside)
    imagined = simulator.imagine(FRAMES, ACTIONS, FUTURE, seed=7)
    simulator.seed(7)
    simulator.reset(FRAMES, ACTIONS)
    steps = [simulator.step(FUTURE[:, i]) for i in range(6)]
    assert torch.equal(torch.stack(steps, 1), imagined.codes)
    assert imagined.frames.shape == (2, 6, 32, 32, 3)
    np.testing.assert_array_equal(imagined.frames, simulator.tokenizer.decode(imagined.codes))


def test_the_seed_decides() -> None:
    """The same seed gives the same codes; another seed gives others."""
    simulator = make()
    first, second, other = (simulator.imagine(FRAMES, ACTIONS, FUTURE, seed=seed).codes for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_temperature_zero_ignores_the_seed() -> None:
    """At temperature 0 there is one future."""
    simulator = make(temperature=0.0)
    codes = [simulator.imagine(FRAMES, ACTIONS, FUTURE, seed=seed).codes for seed in (1, 2)]
    assert torch.equal(*codes)


def test_actions_and_none_matter() -> None:
    """Other actions give other codes with the same noise, and so does leaving them out."""
    simulator = make()
    futures = [np.full((2, 6), action) for action in (-1, 0, 1, 2)]
    codes = [simulator.imagine(FRAMES, ACTIONS, future, seed=0).codes for future in futures]
    for i in range(4):
        for j in range(i):
            assert not torch.equal(codes[i], codes[j])


def test_the_decoder_runs_only_after_the_last_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imagination is in latent space: no pixel is made before every code is sampled, and none is encoded again."""
    simulator = make()
    events: list[str] = []
    sample = simulator.sampler.sample
    monkeypatch.setattr(
        simulator.sampler, "sample", lambda *args, **kwargs: events.append("codes") or sample(*args, **kwargs)
    )
    simulator.tokenizer.encoder.register_forward_hook(lambda *args: events.append("encoder"))
    simulator.tokenizer.decoder.register_forward_hook(lambda *args: events.append("decoder"))
    simulator.imagine(FRAMES, ACTIONS, FUTURE)
    assert events == ["encoder"] + 6 * ["codes"] + ["decoder"]


def test_a_checkpoint_serves_with_and_without_its_map(tmp_path: Path) -> None:
    """`use_map=False` imagines as if there were no map, and says that there is one; a dynamics without has none."""
    simulator = make("map")
    save(simulator, tmp_path)
    with_map, without = (
        Simulator.from_pretrained(tmp_path, use_map=use_map, precision="float32") for use_map in (True, False)
    )
    assert (with_map.has_map, with_map.use_map) == (True, True)
    assert (without.has_map, without.use_map) == (True, False)
    bare = Simulator(simulator.tokenizer, simulator.dynamics, precision="float32")
    assert (bare.has_map, bare.use_map) == (False, False)
    codes = [each.imagine(FRAMES, ACTIONS, FUTURE).codes for each in (with_map, without, bare)]
    assert torch.equal(codes[1], codes[2])
    assert not torch.equal(codes[0], codes[1])


def test_a_foreign_map_is_refused(tmp_path: Path) -> None:
    """A map of another tokenizer's codes would expect what no code looks like."""
    simulator = make("map")
    save(simulator, tmp_path)
    assert isinstance(simulator.learned_map, LearnedMap)
    save_learned_map(simulator.learned_map, tmp_path / "learned_map", {}, tokenizer="0" * 64)
    with pytest.raises(ValueError, match="map was trained with another tokenizer"):
        Simulator.from_pretrained(tmp_path)


def test_a_fork_goes_on_by_itself() -> None:
    """It has the state of its origin, and neither's steps change the other's."""
    simulator = make("map")
    simulator.reset(FRAMES, ACTIONS)
    fork = simulator.fork()
    futures = []
    for one in (simulator, fork):
        one.seed(4)
        futures.append(torch.stack([one.step(FUTURE[:, i]) for i in range(6)]))
    assert torch.equal(*futures)


def test_warming_up_leaves_the_state_as_it_is() -> None:
    """The future after a warm-up is the one without."""
    simulator = make("map")
    expected = simulator.imagine(FRAMES, ACTIONS, FUTURE, seed=1).codes
    simulator.reset(FRAMES, ACTIONS)
    simulator.seed(1)
    simulator.warm_up()
    assert torch.equal(torch.stack([simulator.step(FUTURE[:, i]) for i in range(6)], dim=1), expected)


@torch.inference_mode()
def test_of_a_long_context_only_the_map_remembers_the_beginning() -> None:
    """Frames older than the reach of the windows change nothing but the map's state, which takes in every one."""
    simulator = make("map")
    learned_map = simulator.learned_map
    assert isinstance(learned_map, LearnedMap)
    reach = simulator.window * simulator.dynamics.config.context_layers
    frames = RNG.integers(0, 256, (1, reach + 4, 32, 32, 3), dtype=np.uint8)
    actions = RNG.integers(0, 4, (1, reach + 3))
    simulator.reset(frames, actions)
    codes = simulator.tokenizer.encode(frames)
    before = torch.from_numpy(np.pad(actions, ((0, 0), (1, 0)), constant_values=-1))
    whole = learned_map.recognition(learned_map.vectors(codes), before)
    assert simulator._now is not None
    torch.testing.assert_close(simulator._now.expectation_state.memory, whole[:, -1])
    bare = make()
    long = bare.imagine(frames, actions, FUTURE[:1]).codes
    short = bare.imagine(frames[:, 3:], actions[:, 3:], FUTURE[:1]).codes
    assert torch.equal(long, short)


@torch.inference_mode()
def test_imagined_frames_are_not_looked_at() -> None:
    """The map takes in the context and no imagined frame; where the camera is follows from the actions alone."""
    simulator = make("map")
    learned_map = simulator.learned_map
    assert isinstance(learned_map, LearnedMap)
    simulator.reset(FRAMES, ACTIONS)
    simulator.step(FUTURE[:, 0])
    assert simulator._now is not None
    state = simulator._now.expectation_state
    pose, momentum = state.particles.views[:, 0, :3], state.particles.momenta[:, 0]
    simulator.step(FUTURE[:, 1])
    later = simulator._now.expectation_state
    assert torch.equal(later.memory, state.memory)
    history = torch.cat([state.actions, torch.from_numpy(FUTURE[:, 1:2])], dim=1)
    went = learned_map.motion_model(pose, history, momentum)[0]
    torch.testing.assert_close(later.particles.views[:, 0, :3], went)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_last_frames_of_a_context_are_looked_at_closely(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame of a context is looked at once, the last two closely, and none that is imagined."""
    simulator = make("map")
    looks: list[int] = []
    localise, refine_pose = map_module.localise, map_module.refine_pose
    monkeypatch.setattr(map_module, "localise", lambda *known: looks.append(0) or localise(*known))
    monkeypatch.setattr(map_module, "refine_pose", lambda *known: looks.append(1) or refine_pose(*known))
    simulator.reset(FRAMES[:, :frames], ACTIONS[:, : frames - 1])
    simulator.step(FUTURE[:, 0])
    simulator.step(FUTURE[:, 1])
    assert looks == [0] * max(0, frames - 2) + [0, 1] * min(frames, 2)


@pytest.mark.parametrize("outside", OUTSIDE)
def test_features_for_scoring_are_those_that_are_sampled_from(outside: str) -> None:
    """`features` with the context's length gives, for the imagined frames, what each step had; any codes can be scored.

    So the likelihood of the model's own samples and of real frames is that of one distribution.
    """
    simulator = make(outside)
    had: list[Features] = []
    sample = simulator.sampler.sample
    simulator.sampler.sample = lambda features, *more, **how: had.append(features) or sample(features, *more, **how)  # type: ignore[method-assign]
    imagined = simulator.imagine(FRAMES, ACTIONS, FUTURE).codes
    codes = torch.cat([simulator.tokenizer.encode(FRAMES), imagined], dim=1)
    actions = torch.from_numpy(np.concatenate([ACTIONS, FUTURE], axis=1))
    found, want = simulator.features(codes[:, :-1], actions, num_real=5)[:, 4:], Features.stack(had)
    torch.testing.assert_close(found.context, want.context, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.flow, want.flow, rtol=1e-3, atol=1e-4 * float(want.flow.abs().max()))
    for mine, its in zip(found.expectation or (), want.expectation or (), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 5])
@torch.inference_mode()
def test_the_same_past_is_taken_in_once(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that share a past share the work, and each still has the future that it has alone."""
    simulator = make("fake")
    order = [1, 0, 1, 1]
    past, between = FRAMES[order, :frames], ACTIONS[order, : frames - 1]
    future = np.array([[0, 1], [1, 2], [2, 3], [0, 0]])
    rows: list[int] = []
    frozen = simulator._frozen
    observe = frozen.observe
    monkeypatch.setattr(frozen, "observe", lambda codes, *more: rows.append(len(codes)) or observe(codes, *more))
    simulator.reset(past, between)
    assert rows == [2] * (frames - 1)
    simulator.reset(past, between)  # and is known the next time
    assert rows == [2] * (frames - 1)
    together = observe_latest(simulator, future[:, 0])
    for row in range(4):
        simulator.reset(past[row : row + 1], between[row : row + 1])
        alone = observe_latest(simulator, future[row : row + 1, 0])
        torch.testing.assert_close(together.context[row : row + 1], alone.context, atol=1e-4, rtol=1e-4)
    assert (together.context[0] - together.context[2]).abs().max() > 0.1


def observe_latest(simulator: Simulator, actions: np.ndarray) -> Features:
    """The features of the frame that follows actions."""
    return simulator._observe(simulator._latest, torch.from_numpy(actions), simulator._now)[0]


def test_misuse_is_said_clearly() -> None:
    """Stepping before reset, unknown actions and wrong shapes raise ValueError with the reason."""
    simulator = make()
    with pytest.raises(ValueError, match="call reset first"):
        simulator.step(np.zeros(1, np.int64))
    with pytest.raises(ValueError, match=r"0\.\.3, or -1"):
        simulator.reset(FRAMES, np.full((2, 4), 4))
    with pytest.raises(ValueError, match=r"shape \(2, 4\)"):
        simulator.reset(FRAMES, ACTIONS[:, :-1])
    with pytest.raises(ValueError, match="at least one frame"):
        simulator.reset(FRAMES[:, :0], ACTIONS[:, :0])
    with pytest.raises(ValueError, match="temperature"):
        make(temperature=-1)


@pytest.mark.parametrize("outside", ["none", "map"])
def test_save_and_load(tmp_path: Path, outside: str) -> None:
    """A loaded simulator imagines exactly what the saved one did, and knows its game."""
    simulator = make(outside)
    if isinstance(simulator.learned_map, LearnedMap):  # saved with grids in half precision
        field = simulator.learned_map.field
        for grid in (field.density, field.walls, field.floor, field.ceiling):
            grid.copy_(grid.half())
        simulator = Simulator(simulator.tokenizer, simulator.dynamics, simulator.learned_map, precision="float32")
    save(simulator, tmp_path)
    loaded = Simulator.from_pretrained(tmp_path, precision="float32")
    assert loaded.action_names == ACTION_NAMES
    assert (loaded.frame_skip, loaded.frames_per_second, loaded.frame_size) == (4, 8.75, 32)
    codes = [s.imagine(FRAMES, ACTIONS, FUTURE).codes for s in (simulator, loaded)]
    assert torch.equal(*codes)


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    """A dynamics with a tokenizer of the same shape but other codes does not load."""
    save(make(), tmp_path, fingerprint="0" * 64)
    with pytest.raises(ValueError, match="not the one the dynamics was trained with"):
        Simulator.from_pretrained(tmp_path)
