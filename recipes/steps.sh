# The steps of a recipe, as functions; sourced by recipes that set NAME, ENV_ID, sizes and minutes.
#
# BIN: where the commands are. RUNS: where everything is written. PROCESSES: of the training, 0 means one a GPU or core.
# STEPS: an upper limit of each training, for trials. EVALUATE: more options of `worldmodel evaluate`, such as --quick.

: "${BIN:=.venv/bin}" "${RUNS:=runs}" "${PROCESSES:=0}" "${STEPS:=}" "${EVALUATE:=}"
DIR="$RUNS/$NAME"

run() { # COMMAND OPTION...: show the command, then run it.
  echo "+ $*" >&2
  "$BIN/$1" "${@:2}"
}

train() { # COMMAND OUT MINUTES OPTION...: train, or go on with a run that was stopped, also in a part of its own.
  local command=$1 out=$2 minutes=$3
  shift 3
  set -- --data "$DIR/train" --out "$out" --minutes "$minutes" --processes "$PROCESSES" "$@"
  if [[ -n "$STEPS" ]]; then set -- "$@" --steps "$STEPS"; fi
  if compgen -G "$out/training" >/dev/null || compgen -G "$out/*/training" >/dev/null; then set -- "$@" --resume; fi
  run "$command" "$@"
}

record() { # OPTION...: record the training episodes and the test episodes, which have seeds of their own.
  run collect-rollouts --env "$ENV_ID" --frames "$TRAIN_FRAMES" --out "$DIR/train" "$@"
  run collect-rollouts --env "$ENV_ID" --frames "$TEST_FRAMES" --set split=test --out "$DIR/test" "$@"
}

train_tokenizer() {
  train train-tokenizer "$DIR/tokenizer" "$TOKENIZER_MINUTES"
  TOKENIZER="$DIR/tokenizer"
}

train_decoder() { # The tokenizer's decoder alone: the codes stay what they are.
  if [[ "$DECODER_MINUTES" == 0 ]]; then return; fi
  train train-tokenizer "$DIR/tokenizer-decoder" "$DECODER_MINUTES" \
    --set init="$TOKENIZER" --set trained=decoder. --set batch=8 --set cooldown=0.5
  TOKENIZER="$DIR/tokenizer-decoder"
}

train_dynamics() { # OPTION...
  train train-dynamics "$DIR/dynamics" "$DYNAMICS_MINUTES" --tokenizer "$TOKENIZER" "$@"
}

evaluate() {
  # shellcheck disable=SC2086  # EVALUATE holds several words
  run worldmodel evaluate --checkpoint "$DIR/dynamics" --data "$DIR/test" --out "$DIR/evaluated" --clips "$CLIPS" $EVALUATE
}
