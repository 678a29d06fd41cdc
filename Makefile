# Every target works on a fresh clone; PYTHON names the interpreter that makes .venv.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo play test check pretrained clean

demo: .venv/installed
	$(BIN)/imagine --context 6 --steps 10 --action forward,right
	@echo "Open imagined/imagine.mp4 and imagined/imagine.png."

play: .venv/installed-web
	$(BIN)/worldmodel play

test: .venv/installed-dev
	$(PYTEST) -m "not slow"
	$(PYTEST) -m slow

faults: .venv/installed-dev
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.faults

check: .venv/installed-dev build/typed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/typed $(BIN)/mypy
	$(PYTEST) -m "not slow"

# The shipped checkpoints from nothing, hours each: each ends up in runs/NAME/dynamics.
pretrained: .venv/installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[atari,minigrid]'
	bash recipes/maze.sh
	bash recipes/game.sh basic VizdoomBasic-v1 --set frame_size=64 --policy explore=0.5,sticky=0.3,random=0.2
	bash recipes/game.sh takecover VizdoomTakeCover-v1
	bash recipes/game.sh pong ALE/Pong-v5 --env-set repeat_action_probability=0
	bash recipes/game.sh doorkey MiniGrid-DoorKey-6x6-v0
	bash recipes/game.sh breakout ALE/Breakout-v5 --env-set repeat_action_probability=0

clean:
	rm -rf .venv build dist imagined evaluated played *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/installed-web: .venv/installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[web]'
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# The package as it is installed, for mypy: envs/ and rollouts/ inside worldmodel/.
.PHONY: build/typed
build/typed:
	rm -rf $@
	mkdir -p $@/worldmodel
	ln -s $(CURDIR)/worldmodel/* $(CURDIR)/envs $(CURDIR)/rollouts $@/worldmodel/
