"""Container images: is the tag fixed, is it vLLM, and which release."""

import re
from typing import NamedTuple

MOVING = frozenset(
    {"", "latest", "nightly", "main", "master", "dev", "edge", "stable", "latest-nightly", "cpu"}
)
# Repositories whose tags are vLLM's own release numbers.
_RELEASES = re.compile(
    r"(^|/)(vllm/vllm-openai(-cpu|-rocm|-xpu)?|deployctl/vllm-cpu|vllm-cpu-release-repo)$"
)
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+(\.post\d+|rc\d+)?)")
_OTHER_PARTS = re.compile(
    r"router|production-stack|lmstack|operator|gateway|exporter|cache-?server"
)
_OTHER_DEVICES = re.compile(r"rocm|tpu|neuron|hpu|gaudi|xpu|ascend|npu")


class Image(NamedTuple):
    """An image reference, taken apart."""

    text: str
    repository: str
    tag: str
    digest: str

    @property
    def pinned(self) -> bool:
        """Whether it names the same bytes tomorrow, as far as a tag can promise that."""
        return bool(self.digest) or (self.tag not in MOVING and not self.tag.startswith("nightly"))

    @property
    def unknown(self) -> bool:
        """Whether a variable or a template stands for it."""
        return "$" in self.text or "{{" in self.text

    @property
    def version(self) -> str | None:
        """The vLLM release inside, where the repository's tags tell."""
        found = _VERSION.match(self.tag)
        return found[1] if found and _RELEASES.search(self.repository) else None

    @property
    def is_engine(self) -> bool:
        """Whether it looks like vLLM itself rather than something beside it."""
        name = self.repository.lower()
        return "vllm" in name and not _OTHER_PARTS.search(name)

    @property
    def cpu(self) -> bool:
        """Whether it is a build for CPUs."""
        return bool(re.search(r"(^|[-_./])cpu([-_./]|$)", f"{self.repository}:{self.tag}"))

    @property
    def cuda(self) -> bool:
        """Whether it is known to be a build for CUDA: vLLM's own image, or one made like it."""
        return self.repository.endswith("vllm-openai") and not (self.cpu or self.other_device)

    @property
    def other_device(self) -> bool:
        """Whether it is a build for hardware that is neither NVIDIA's nor a CPU."""
        return bool(_OTHER_DEVICES.search(f"{self.repository}:{self.tag}".lower()))


def image(reference: str) -> Image:
    """Takes an image reference apart: `registry:5000/repository:tag@digest`."""
    name, _, digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return Image(reference, f"{head}{slash}{last}", tag, digest)


NO_IMAGE = image("")
