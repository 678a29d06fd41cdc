#!/usr/bin/env bash
# Any game from nothing, by the shipped defaults: the one recipe of every game that the README shows.
#
#   bash recipes/game.sh NAME ENV_ID [OPTION OF collect-rollouts ...]
#   bash recipes/game.sh pong ALE/Pong-v5 --env-set repeat_action_probability=0
#
# The checkpoint ends up in $RUNS/NAME/dynamics, its numbers and page in $RUNS/NAME/evaluated. On two CPU cores, without
# a GPU: recording a few minutes, training as long as the minutes below say, evaluation 20 minutes.
# Every step goes on where it was stopped: repeat the command. Change a size with e.g. `DYNAMICS_MINUTES=300 bash ...`.
set -euo pipefail
cd "$(dirname "$0")/.."

if (($# < 2)); then
  echo "usage: bash recipes/game.sh NAME ENV_ID [OPTION OF collect-rollouts ...]" >&2
  exit 2
fi
NAME=$1 ENV_ID=$2
shift 2
: "${TRAIN_FRAMES:=60000}" "${TEST_FRAMES:=12000}"
: "${TOKENIZER_MINUTES:=8}" "${DYNAMICS_MINUTES:=60}" "${PROCESSES:=1}"
: "${CLIPS:=40}"

source recipes/steps.sh
record "$@"
train_tokenizer
train_dynamics --set activity_weight=8 # most of a still scene is learnt at once: what moves counts more
evaluate
