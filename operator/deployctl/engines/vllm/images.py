"""Which vLLM deployctl is tested with, and the images that carry it."""

DEFAULT_VERSION = "0.32.0"


def image(version: str, accelerator: str) -> str:
    """Returns the pinned image of `version` for `cuda` or `cpu`.

    The CPU image is built from docker/cpu.Dockerfile; the CUDA image is vLLM's own, whose
    tags carry a leading v.
    """
    if accelerator == "cpu":
        return f"deployctl/vllm-cpu:{version}"
    # A tag may hold no plus sign, which local versions have.
    return f"vllm/vllm-openai:v{version.replace('+', '-')}"
