"""Promises of the Gymnasium environments: the imagined game needs no engine, and a real one's death is an error."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.envs.test_remote import GAME
from tests.faults.promises import Outcome, promise
from tests.models import tiny_tokenizer
from tests.worlds import record_toy, save_outcome_simulator
from worldmodel.environment.observation import Observer
from worldmodel.environment.real_game import RealGameEnv
from worldmodel.envs import GameDiedError, make_env

PLAYER = """
import json, sys
for name in ("vizdoom", "ale_py", "minigrid", "highway_env"):
    sys.modules[name] = None  # an import of it is an error
started = []
starts = {"subprocess.Popen", "os.fork", "os.posix_spawn"}
sys.addaudithook(lambda event, arguments: started.append(event) if event in starts else None)
import gymnasium, worldmodel
env = gymnasium.make("worldmodel/Imagined-v0", checkpoint=sys.argv[1], contexts=sys.argv[2], horizon=20)
env.reset(seed=0)
for step in range(int(sys.argv[3])):
    *_, terminated, truncated, _ = env.step(step % int(env.action_space.n))
    if terminated or truncated:
        env.reset()
env.close()
env.close()
print(json.dumps(started))
"""


@promise(1000, briefly=100, is_slow=True)
def an_imagined_game_needs_no_engine(work: Path, times: int, rng: random.Random) -> Outcome:
    """steps of worldmodel/Imagined-v0 where no engine can be imported: no process is started; it is closed twice"""
    model, data = save_outcome_simulator(work / "m"), record_toy(work / "d", episodes=2)
    words = [sys.executable, "-c", PLAYER, str(model), str(data), str(times)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    right = done.returncode == 0 and json.loads(done.stdout) == []
    return Outcome(tried=times, survived=times if right else 0)


@promise(20, briefly=3, is_slow=True)
def a_killed_game_is_played_anew(work: Path, times: int, rng: random.Random) -> Outcome:
    """a real game's process killed in an episode: the step says so in one line, the next reset plays the same game"""
    (work / "square.py").write_text(GAME)
    with closing(make_env(f"{work}/square.py:Square", frame_size=32, frame_skip=1)) as game:
        settings, names = dict(game.settings), game.action_names
    observer, survived = Observer(tiny_tokenizer(), "codes"), 0
    with closing(RealGameEnv(settings, observer, action_names=names, context_frames=2)) as env:
        first, _ = env.reset(options={"game_seed": 3})
        for _ in range(times):
            for _ in range(rng.randrange(4)):
                env.step(0)
            os.kill(env.game.pid, signal.SIGKILL)  # type: ignore[attr-defined]
            try:
                env.step(0)
            except GameDiedError as error:
                survived += "\n" not in str(error)
            again, _ = env.reset(options={"game_seed": 3})
            survived -= bool((again != first).any())
    env.close()
    return Outcome(tried=times, survived=survived)
