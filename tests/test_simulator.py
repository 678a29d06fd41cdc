"""The simulator: state, repeatability, and imagination in latent space only."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models import ACTION_NAMES, tiny_dynamics, tiny_tokenizer
from worldmodel.checkpoint import Checkpoint, write
from worldmodel.config import to_dict
from worldmodel.simulator import Simulator
from worldmodel.training.tokenizer import save_tokenizer

RNG = np.random.default_rng(3)
FRAMES = RNG.integers(0, 256, (2, 5, 32, 32, 3), dtype=np.uint8)
ACTIONS = RNG.integers(0, 4, (2, 4))
FUTURE = RNG.integers(0, 4, (2, 6))


def make(**settings: object) -> Simulator:
    tokenizer = tiny_tokenizer()
    dynamics = tiny_dynamics(codebook=tokenizer.codebook.vectors)
    return Simulator(tokenizer, dynamics, precision="float32", **settings)  # type: ignore[arg-type]


def save(simulator: Simulator, out: Path, *, fingerprint: str | None = None) -> None:
    fingerprint = fingerprint or simulator.tokenizer.fingerprint()
    save_tokenizer(simulator.tokenizer, out / "tokenizer", {})
    config = to_dict(simulator.dynamics.config) | {"tokenizer": fingerprint}
    tensors = dict(simulator.dynamics.state_dict())
    write(out, Checkpoint(kind="dynamics", config=config, metrics={}, tensors=tensors))


def test_steps_equal_imagine() -> None:
    """`step` N times gives the codes of `imagine` with N actions and the same seed."""
    simulator = make()
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


def test_of_a_long_context_only_the_belief_remembers_the_beginning() -> None:
    """Frames older than the reach of the windows change nothing but the belief, which takes in every one."""
    simulator = make()
    reach = simulator.window * simulator.dynamics.config.context_layers
    frames = RNG.integers(0, 256, (1, reach + 4, 32, 32, 3), dtype=np.uint8)
    actions = RNG.integers(0, 4, (1, reach + 3))
    simulator.reset(frames, actions)
    codes = simulator.tokenizer.encode(frames)
    before = torch.from_numpy(np.pad(actions, ((0, 0), (1, 0)), constant_values=-1))
    whole = simulator.dynamics.belief(simulator.dynamics.vectors(codes), before)
    torch.testing.assert_close(simulator._cache.belief.beliefs, whole[:, -1])
    torch.nn.init.zeros_(simulator.dynamics.context.motion.expected.weight)
    simulator.dynamics.config = dataclasses.replace(simulator.dynamics.config, trust=(0.0, 0.0))
    simulator = Simulator(simulator.tokenizer, simulator.dynamics)
    long = simulator.imagine(frames, actions, FUTURE[:1]).codes
    short = simulator.imagine(frames[:, 3:], actions[:, 3:], FUTURE[:1]).codes
    assert torch.equal(long, short)


def test_imagined_frames_are_not_looked_at() -> None:
    """The belief takes in the context and no imagined frame; where the camera is follows from the actions alone."""
    simulator = make()
    simulator.reset(FRAMES, ACTIONS)
    simulator.step(FUTURE[:, 0])
    memory = simulator._cache.belief
    beliefs, told = memory.beliefs.clone(), memory.told
    pose, momentum = memory.guesses.views[:, 0, :3], memory.guesses.momenta[:, 0]
    simulator.step(FUTURE[:, 1])
    assert torch.equal(memory.beliefs, beliefs)
    recent = torch.cat([told, torch.from_numpy(FUTURE[:, 1:2])], dim=1)
    went = simulator.dynamics.belief.ego_motion(pose, recent, momentum)[0]
    torch.testing.assert_close(memory.guesses.views[:, 0, :3], went)
    simulator.reset(FRAMES, ACTIONS)  # what is real is looked at again
    simulator.step(FUTURE[:, 0])
    assert torch.equal(simulator._cache.belief.beliefs, beliefs)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_last_frames_of_a_past_are_looked_at_closely(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame of a past is looked at once, the last two closely, and none that is imagined."""
    simulator = make()
    belief = simulator._frozen.belief
    look, looks = belief.look_at, []
    monkeypatch.setattr(belief, "look_at", lambda *told: looks.append(told[-1].closely) or look(*told))
    simulator.reset(FRAMES[:, :frames], ACTIONS[:, : frames - 1])
    simulator.step(FUTURE[:, 0])
    simulator.step(FUTURE[:, 1])
    assert looks == [False] * (frames - 2) + [True] * min(frames, 2)


@pytest.mark.parametrize("frames", [1, 5])
@torch.inference_mode()
def test_the_same_past_is_taken_in_once(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that share a past share the work, and each still has the future that it has alone."""
    simulator = make()
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
    together = simulator._observe(simulator._latest, torch.from_numpy(future[:, 0]))
    for row in range(4):
        simulator.reset(past[row : row + 1], between[row : row + 1])
        alone = simulator._observe(simulator._latest, torch.from_numpy(future[row : row + 1, 0]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=0.02, rtol=0)  # views are found about as well
    assert (together[0] - together[2]).abs().max() > 0.1


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


def test_save_and_load(tmp_path: Path) -> None:
    """A loaded simulator imagines exactly what the saved one did, and knows its game."""
    simulator = make()
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
