#!/usr/bin/env bash
# ViZDoom's My Way Home from nothing, by the shipped defaults: record, train, evaluate.
#
#   bash recipes/maze.sh [OPTION OF collect-rollouts ...]
#
# The checkpoint ends up in $RUNS/maze/dynamics, its numbers and page in $RUNS/maze/evaluated. On two CPU cores, without
# a GPU: recording 12 minutes, training as long as the minutes below say (3.5 hours), evaluation 20 minutes.
# Every step goes on where it was stopped: repeat the command. Change a size with e.g. `DYNAMICS_MINUTES=300 bash ...`.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${NAME:=maze}" "${ENV_ID:=VizdoomMyWayHome-v1}"
: "${TRAIN_FRAMES:=440000}" "${TEST_FRAMES:=24000}"
: "${TOKENIZER_MINUTES:=42}"  # all of the tokenizer
: "${DECODER_MINUTES:=16}"    # then its decoder alone, with the codes fixed: +1.5 dB; 0 leaves it out
: "${DYNAMICS_MINUTES:=150}"  # the first third is the learned map's, where the data set's world repeats
: "${CLIPS:=40}"

source recipes/steps.sh
record "$@"
train_tokenizer
train_decoder
train_dynamics
evaluate
