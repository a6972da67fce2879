# Looks whether the door before the engine opens, then becomes the engine: what is wrong with its
# keys shows now, and not when the model is loaded.
set -eu
python3 -m deployctl_door
exec python3 -m vllm.entrypoints.openai.api_server "$@"
