# Looks whether the door before the engine opens, then starts the engine: what is wrong with its keys
# shows now, and not when the model is loaded.
# Stays as process 1, which the kernel gives no signal that it has no handler for: an engine that has
# none yet, because it loads, would go on for the whole grace period, with its card.
set -eu
engine=
trap 'if [ "$engine" ]; then kill -s TERM "$engine" 2>/dev/null || :; else exit 143; fi' TERM
python3 -m deployctl_door
python3 -m vllm.entrypoints.openai.api_server "$@" &
engine=$!
while :; do  # a signal ends a wait
  status=0
  wait "$engine" || status=$?
  kill -0 "$engine" 2>/dev/null || exit "$status"
done
