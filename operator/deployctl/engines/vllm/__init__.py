"""vLLM: the release deployctl is tested with and its images; flags, metrics and log by version."""

DEFAULT_VERSION = "0.32.0"
# Images with this prefix are built on the host: nobody publishes them, so none is ever pulled.
BUILT_HERE = "deployctl/"


def image(version: str, accelerator: str) -> str:
    """Returns the pinned image of `version` for `cuda` or `cpu`.

    The CPU image is built from docker/cpu.Dockerfile; the CUDA image is vLLM's own, whose
    tags carry a leading v.
    """
    if accelerator == "cpu":
        return f"{BUILT_HERE}vllm-cpu:{version}"
    # A tag may hold no plus sign, which local versions have.
    return f"vllm/vllm-openai:v{version.replace('+', '-')}"
