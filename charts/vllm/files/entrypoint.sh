# Gives the engine its secrets from files, then becomes the engine. In the environment of
# the engine alone, they show in no argument list and in no `docker inspect`.
set -eu
key=/run/secrets/api_key
if [ -s "$key" ]; then
  VLLM_API_KEY=$(cat "$key")
  export VLLM_API_KEY
elif [ "${API_KEY_REQUIRED:-0}" = 1 ]; then
  echo "deployctl: this service needs an API key: write one to secrets/api_key" >&2
  exit 78
fi
exec python3 -m vllm.entrypoints.openai.api_server "$@"
