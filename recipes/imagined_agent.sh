#!/bin/sh
# An agent that learnt in imagination alone, shown in the real game.
#
#   recipes/imagined_agent.sh OUT
#
# records random play, trains a tokenizer and a dynamics with reward and end heads on it, trains agents (PPO) in
# imagination at several temperatures, in the control with meaningless actions, and in the real game with as many steps,
# and plays the same fresh episodes of the real game with all of them. The table is OUT/table.txt, its numbers
# OUT/table.json. About three hours on two cores. A run that was interrupted goes on when it is started again.
#
# Every size is a variable:
set -eu
OUT=${1:?usage: recipes/imagined_agent.sh OUT}
ENV=${ENV:-VizdoomBasic-v1}
FRAMES=${FRAMES:-40000}              # real frames that are recorded, all that imagination learns from
FRAME_SIZE=${FRAME_SIZE:-64}
POLICY=${POLICY:-random}
TOKENIZER_MINUTES=${TOKENIZER_MINUTES:-15}
TOKENIZER_FLAGS=${TOKENIZER_FLAGS:-}
DYNAMICS_MINUTES=${DYNAMICS_MINUTES:-65}
DYNAMICS_FLAGS=${DYNAMICS_FLAGS:---set learned_map=no --set batch=4 --set clip=9 --set activity_weight=4}
STEPS=${STEPS:-60000}                # of each agent
HORIZON=${HORIZON:-72}               # imagined steps; the real game ends after 75, less the 3 that lead in
AGENT_FLAGS=${AGENT_FLAGS:-}
TEMPERATURES=${TEMPERATURES:-0.5 1 1.2}
EPISODES=${EPISODES:-100}
SEED=${SEED:-0}
WORLDMODEL=${WORLDMODEL:-worldmodel}

# A part that is complete leaves a mark, and is not done again.
part() {
  mark="$OUT/.$1.done"
  shift
  [ -e "$mark" ] && return
  "$@"
  touch "$mark"
}

# A training that was cut off is continued.
resume() {
  if [ -e "$1" ]; then echo --resume; fi
}

record() {
  $WORLDMODEL collect-rollouts --env "$ENV" --frames "$FRAMES" --policy "$POLICY" --set frame_size="$FRAME_SIZE" \
    --set seed="$SEED" --out "$OUT/data"
}

tokenizer() {
  $WORLDMODEL train-tokenizer --data "$OUT/data" --out "$OUT/tokenizer" --minutes "$TOKENIZER_MINUTES" \
    --seed "$SEED" $(resume "$OUT/tokenizer/config.json") $TOKENIZER_FLAGS
}

dynamics() {
  $WORLDMODEL train-dynamics --data "$OUT/data" --tokenizer "$OUT/tokenizer" --out "$OUT/dynamics" \
    --minutes "$DYNAMICS_MINUTES" --seed "$SEED" $(resume "$OUT/dynamics/config.json") $DYNAMICS_FLAGS
}

# agent NAME WORLD TEMPERATURE
agent() {
  $WORLDMODEL train-agent --checkpoint "$OUT/dynamics" --data "$OUT/data" --out "$OUT/$1" --steps "$STEPS" \
    --world "$2" --seed "$SEED" --set temperature="$3" --set horizon="$HORIZON" $(resume "$OUT/$1/agent.json") $AGENT_FLAGS
}

mkdir -p "$OUT"
part record record
part tokenizer tokenizer
part dynamics dynamics
agents=""
for temperature in $TEMPERATURES; do
  part "imagination-$temperature" agent "imagination-$temperature" imagination "$temperature"
  agents="$agents $OUT/imagination-$temperature"
done
part shuffled agent shuffled shuffled 1
part real agent real real 1
$WORLDMODEL test-agent $agents "$OUT/shuffled" "$OUT/real" --episodes "$EPISODES" --seed "$SEED" \
  --json "$OUT/table.json" > "$OUT/table.txt"
cat "$OUT/table.txt"
