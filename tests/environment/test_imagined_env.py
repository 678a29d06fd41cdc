"""Imagined games as Gymnasium environments: spaces, seeds, ends, and what copies may not do to each other."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from tests.models import tiny_dynamics
from tests.worlds import random_contexts, record_toy, save_simulator, tiny_outcome_simulator
from worldmodel.environment.imagined_env import ImaginedEnv, ImaginedVectorEnv
from worldmodel.environment.imagined_games import GameSettings
from worldmodel.environment.sb3 import ImaginedVecEnv
from worldmodel.simulator import Simulator

CONTEXTS = random_contexts([1, 3, 3, 2, 6])


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return tiny_outcome_simulator()


def vector(simulator: Simulator, num: int, **settings: Any) -> ImaginedVectorEnv:
    own = Simulator(simulator.tokenizer, simulator.dynamics, precision="float32")
    return ImaginedVectorEnv(num, own, CONTEXTS, **({"horizon": 5, "observation": "codes"} | settings))


def play_all(env: ImaginedVectorEnv, steps: int, *, seed: int) -> list[list[tuple[Any, ...]]]:
    """Return what each copy sees under actions that depend on the step alone; a game that ended is begun anew."""
    observation, _ = env.reset(seed=seed)
    seen: list[list[tuple[Any, ...]]] = [[(shown.tobytes(),)] for shown in observation]
    for step in range(steps):
        observation, rewards, terminated, truncated, _ = env.step(np.full(env.num_envs, step % 4))
        if env.autoreset_mode is AutoresetMode.DISABLED and (terminated | truncated).any():
            observation, _ = env.reset(options={"reset_mask": terminated | truncated})
        for i, row in enumerate(seen):
            row.append((observation[i].tobytes(), rewards[i], terminated[i], truncated[i]))
    return seen


@pytest.mark.parametrize("observation", ["frames", "codes", "features"])
def test_gymnasium_checks_it(simulator: Simulator, observation: str) -> None:
    """Gymnasium's own checker finds nothing: spaces, types, seeds and reproducibility."""
    env = gymnasium.make(
        "worldmodel.environment:worldmodel/Imagined-v0",
        checkpoint=simulator,
        contexts=CONTEXTS,
        horizon=4,
        observation=observation,
        render_mode="rgb_array",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert (picture.shape, picture.dtype) == ((32, 32, 3), np.uint8)


def test_its_id_is_known_with_the_package_and_costs_no_torch() -> None:
    """`import gymnasium, worldmodel` makes the id known without loading torch."""
    code = (
        "import gymnasium, worldmodel, sys; gymnasium.spec('worldmodel/Imagined-v0'); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_vector_of_games_by_its_id(simulator: Simulator) -> None:
    """`make_vec` gives the batched environment, with the autoreset mode in its metadata as Gymnasium wants it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make_vec(
            "worldmodel.environment:worldmodel/Imagined-v0",
            num_envs=2,
            vectorization_mode="vector_entry_point",
            checkpoint=simulator,
            contexts=CONTEXTS,
            observation="codes",
        )
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observation, infos = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert infos["codes"].shape == (2, 8, 8)
    assert set(infos) >= {"nats", "expected_reward", "end_probability"}


def test_a_copy_depends_on_its_seed_alone(simulator: Simulator) -> None:
    """Copy i's frames, rewards and ends are those of a single game with its seed, however many others there are."""
    alone = [play_all(vector(simulator, 1), 15, seed=7 + i)[0] for i in range(2)]
    assert play_all(vector(simulator, 5), 15, seed=7)[:2] == alone
    assert any(row[2] for row in alone[0][1:])  # some episode ends by the head


def test_a_single_game_is_the_first_of_many(simulator: Simulator) -> None:
    """`ImaginedEnv` and `ImaginedVectorEnv` are the same game."""
    env = ImaginedEnv(simulator, CONTEXTS, horizon=5, observation="codes")
    observation, _ = env.reset(seed=7)
    seen = [observation.tobytes()]
    for step in range(15):
        observation, _, terminated, truncated, _ = env.step(step % 4)
        seen.append(observation.tobytes())
        if terminated or truncated:
            observation, _ = env.reset()
            seen[-1] = observation.tobytes()
    together = play_all(vector(simulator, 1, autoreset_mode="SameStep"), 15, seed=7)[0]
    assert seen == [row[0] for row in together]


def test_the_three_autoreset_modes_show_the_same_episodes(simulator: Simulator) -> None:
    """Trap "next-step autoreset that puts a false transition into the data": the step that begins an episode anew has
    no reward and no end, and without these steps all three modes show the same."""
    shown = {mode: play_all(vector(simulator, 3, autoreset_mode=mode), 20, seed=3)[1] for mode in AutoresetMode}
    assert shown[AutoresetMode.SAME_STEP] == shown[AutoresetMode.DISABLED]
    rows, kept, begun = shown[AutoresetMode.NEXT_STEP], [], 0
    for before, row in zip([(b"", 0.0, False, False), *rows[1:]], rows[1:], strict=False):
        if before[2] or before[3]:
            assert row[1:] == (0.0, False, False)
            begun += 1
            kept[-1] = (row[0], *kept[-1][1:])  # the others show the new beginning at once
        else:
            kept.append(row)
    assert begun > 2
    # The step index chooses the actions, so the sequences agree up to the first new beginning.
    first = next(i for i, row in enumerate(rows[1:]) if row[2] or row[3]) + 1
    assert kept[:first] == shown[AutoresetMode.SAME_STEP][1 : first + 1]


def test_the_last_observation_of_an_episode_is_kept(simulator: Simulator) -> None:
    """With SAME_STEP, `final_obs` and `final_info` are of the episode that ended, the observation of the new one."""
    env = vector(simulator, 2, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=3)
    for _ in range(5):
        observation, _, terminated, truncated, infos = env.step(np.zeros(2, np.int64))
        ended = terminated | truncated
        if ended.any():
            i = int(np.flatnonzero(ended)[0])
            assert (infos["final_obs"][i] == infos["final_info"]["codes"][i]).all()
            assert (observation[i] == infos["codes"][i]).all()
            assert infos["nats"][i] == 0  # real frames, not imagined ones
            assert infos["final_info"]["nats"][i] > 0
            return
    pytest.fail("no episode ended")


def test_the_horizon_truncates_and_the_head_terminates(simulator: Simulator) -> None:
    """Trap "a cut-off episode counted as one that ended": the horizon never sets `terminated`, nor the head
    `truncated`."""
    never = vector(simulator, 2, threshold=1.0)
    never.reset(seed=0)
    ends = [never.step(np.zeros(2, np.int64))[2:4] for _ in range(5)]
    assert not np.any([terminated for terminated, _ in ends])
    assert [truncated.all() for _, truncated in ends] == 4 * [False] + [True]
    always = vector(simulator, 2, threshold=0.0)
    always.reset(seed=0)
    _, _, terminated, truncated, _ = always.step(np.zeros(2, np.int64))
    assert terminated.all()
    assert not truncated.any()


def test_two_environments_share_a_simulator(simulator: Simulator) -> None:
    """Environments made of one simulator do not disturb each other: each has a state of its own."""
    alone = play_all(ImaginedVectorEnv(1, simulator, CONTEXTS, horizon=5, observation="codes"), 4, seed=7)
    env = ImaginedVectorEnv(1, simulator, CONTEXTS, horizon=5, observation="codes")
    other = ImaginedVectorEnv(2, simulator, CONTEXTS, horizon=5, observation="codes")
    observation, _ = env.reset(seed=7)
    other.reset(seed=1)
    seen = [observation[0].tobytes()]
    for step in range(4):
        seen.append(env.step(np.full(1, step % 4))[0][0].tobytes())
        other.step(np.zeros(2, np.int64))
    assert seen == [row[0] for row in alone[0]]


def test_a_chosen_context(simulator: Simulator) -> None:
    """`options={"context": ...}` begins with that recording's frames; the first observation is its last frame."""
    env = ImaginedEnv(simulator, CONTEXTS, horizon=5, observation="codes")
    observation, _ = env.reset(seed=0, options={"context": 2})
    last = simulator.encode(CONTEXTS[2][0][None])[0, -1].numpy()
    np.testing.assert_array_equal(observation, last)
    frames, actions = random_contexts([4], seed=9)[0]
    observation, _ = env.reset(seed=0, options={"context": (frames, actions)})
    np.testing.assert_array_equal(observation, simulator.encode(frames[None])[0, -1].numpy())


def test_an_empty_past_is_refused(simulator: Simulator) -> None:
    """Trap "episodes begun with an empty past": no episode begins without a real frame."""
    nothing = (np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="at least one frame"):
        ImaginedEnv(simulator, [nothing]).reset(seed=0)
    with pytest.raises(ValueError, match="context_frames must be at least 1"):
        ImaginedEnv(simulator, CONTEXTS, context_frames=0)
    with pytest.raises(ValueError, match="call reset first"):
        ImaginedEnv(simulator, CONTEXTS).step(0)


def test_every_form_takes_the_same_settings(simulator: Simulator) -> None:
    """Each field of `GameSettings` is a keyword of all forms of the environment, and of `gymnasium.make`."""
    chosen = {"horizon": 7, "observation": "codes", "context_frames": 2, "threshold": 0.5, "temperature": 0.9}
    chosen["use_map"] = True
    assert set(chosen) == {field.name for field in dataclasses.fields(GameSettings)}
    made = gymnasium.make(
        "worldmodel.environment:worldmodel/Imagined-v0", checkpoint=simulator, contexts=CONTEXTS, **chosen
    )
    forms = [
        made.unwrapped,
        ImaginedEnv(simulator, CONTEXTS, **chosen),
        ImaginedVectorEnv(2, simulator, CONTEXTS, **chosen),
        ImaginedVecEnv(2, simulator, CONTEXTS, **chosen),
    ]
    for form in forms:
        assert form.games.settings == GameSettings(**chosen)  # type: ignore[attr-defined]
    for wrong in ({"horizon": 0}, {"context_frames": 0}, {"threshold": 1.5}, {"observation": "pixels"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            ImaginedEnv(simulator, CONTEXTS, **wrong)
    with pytest.raises(TypeError, match="horizont"):
        ImaginedEnv(simulator, CONTEXTS, horizont=5)


def test_bad_input_is_one_clear_line(simulator: Simulator, tmp_path: Path) -> None:
    """What a user can get wrong is a ValueError that names it."""
    data = record_toy(tmp_path / "toy")
    env = vector(simulator, 2, observation="frames", autoreset_mode=AutoresetMode.DISABLED, threshold=0.0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must be in 0\.\.3, got \[0, 4\]"):
        env.step(np.array([0, 4]))
    env.step(np.array([0, 0]))
    with pytest.raises(ValueError, match="have ended: reset them first"):
        env.step(np.array([0, 0]))
    for mask in ([True, False], np.array([True]), np.array([1, 0]), np.zeros(2, np.bool_)):
        with pytest.raises(ValueError, match="reset_mask must be a bool array"):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="there are contexts 0 to 4, got 5"):
        env.reset(options={"context": 5})
    with pytest.raises(ValueError, match="observation must be one of"):
        vector(simulator, 2, observation="pixels")
    with pytest.raises(ValueError, match="no episode goes on after a context of 900 frames"):
        ImaginedEnv(simulator, data, context_frames=900)
    own = tiny_outcome_simulator()
    own.dynamics = tiny_dynamics(action_names=("noop", "left"), rewards=(0.0,), end_weight=1.0)
    with pytest.raises(ValueError, match="has the action 'forward', which the model does not know"):
        ImaginedEnv(own, data)
    with pytest.raises(ValueError, match="a context of 3 frames has 2 actions"):
        env.reset(options={"context": (CONTEXTS[1][0], np.zeros(3, np.int64))})
    with pytest.raises(ValueError, match="no reward and end heads"):
        ImaginedEnv(save_simulator(tmp_path / "old"), data)


def test_a_recorded_beginning(simulator: Simulator, tmp_path: Path) -> None:
    """With a data set, an episode begins with the first frames of a recorded one."""
    data = record_toy(tmp_path / "toy")
    env = ImaginedEnv(simulator, data, horizon=5, observation="codes", context_frames=3)
    observation, _ = env.reset(seed=0, options={"context": 1})
    from worldmodel.rollouts import EpisodeDataset

    frames = EpisodeDataset(data).frames(1, 0, 3)
    np.testing.assert_array_equal(observation, simulator.encode(frames[None])[0, -1].numpy())


def test_outcomes_change_no_frame(simulator: Simulator) -> None:
    """`step_outcome` draws the codes that `step` draws: who asks for rewards sees the same game."""
    frames, actions = random_contexts([3])[0]
    codes = []
    for step in (simulator.step, lambda action: simulator.step_outcome(action).codes):
        simulator.seed(5)
        simulator.reset(frames[None], actions[None])
        codes.append(torch.stack([step(np.array([i % 4])) for i in range(4)]))
    assert torch.equal(*codes)


def test_threads_change_no_code(monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> None:
    """Games that are shared among threads are the games that one thread imagines, to the last code."""
    alone = play_all(vector(simulator, 9), 6, seed=1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert play_all(vector(simulator, 9), 6, seed=1) == alone


@pytest.mark.parametrize(("num", "threads"), [(1, 1), (8, 2)])
def test_few_games_are_not_shared_among_threads(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, num: int, threads: int
) -> None:
    """Two threads are slower than one for a few games; the process's own number stays what it was."""
    before = torch.get_num_threads()
    env, seen = vector(simulator, num), []
    imagine = env.games.simulator.step_outcome
    monkeypatch.setattr(
        env.games.simulator,
        "step_outcome",
        lambda *args, **settings: (seen.append(torch.get_num_threads()), imagine(*args, **settings))[1],
    )
    torch.set_num_threads(2)
    try:
        env.reset(seed=0)
        env.step(np.zeros(num, dtype=np.int64))
        assert (seen, torch.get_num_threads()) == ([threads], 2)
    finally:
        torch.set_num_threads(before)


def test_a_copy_depends_on_its_seed_alone_in_bfloat16(simulator: Simulator) -> None:
    """Products in bfloat16 round a game's numbers, but not by how many games there are."""
    engine = Simulator(simulator.tokenizer, simulator.dynamics, precision="float32", engine="numpy-bfloat16")
    settings: dict[str, Any] = {"horizon": 5, "observation": "codes"}
    alone = play_all(ImaginedVectorEnv(1, engine, CONTEXTS, **settings), 10, seed=7)[0]
    assert play_all(ImaginedVectorEnv(6, engine, CONTEXTS, **settings), 10, seed=7)[0] == alone


@pytest.mark.parametrize("top_k", [0, 3])
def test_nats_are_those_of_the_drawn_codes(simulator: Simulator, top_k: int) -> None:
    """What is added up while sampling is -log p of the codes at temperature 1, by a second pass over the frame."""
    frames, actions = random_contexts([3])[0]
    steps = []
    for engine in ("numpy", "torch"):
        own = Simulator(
            simulator.tokenizer, simulator.dynamics, precision="float32", engine=engine, temperature=0.7, top_k=top_k
        )
        own.seed(2)
        own.reset(np.stack([frames] * 2), np.stack([actions] * 2))
        steps.append(own.step_outcome(np.array([1, 2])))
    assert torch.equal(steps[0].codes, steps[1].codes)
    torch.testing.assert_close(steps[0].nats, steps[1].nats, rtol=1e-4, atol=1e-3)
    assert (steps[0].nats > 0).all()
