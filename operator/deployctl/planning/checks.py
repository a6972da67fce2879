"""What cannot run, whatever the memory: known from the documents, refused before a download."""

from collections.abc import Iterator

from deployctl.engines.vllm import flags
from deployctl.engines.vllm.versions import OLDEST, at_least, dropped
from deployctl.errors import Reason
from deployctl.hardware import GpuProfile, nvidia
from deployctl.model import ModelFacts, meaning
from deployctl.planning.settings import SHARED, EngineSettings
from deployctl.planning.shape import Shape
from deployctl.spec import ServiceSpec

_SERVERS = {"llama.cpp": "llama.cpp (llama-server)", "onnxruntime": "ONNX Runtime"}


def checkpoint(spec: ServiceSpec, facts: ModelFacts) -> Iterator[Reason]:
    """Refuses checkpoints that vLLM does not serve, or not without the user's consent."""
    made_up = spec.engine_args.get("load_format") == "dummy"  # the checkpoint's are not read
    if facts.engine != "vllm" and (facts.format != "unknown" or facts.architecture is None):
        server = _SERVERS.get(facts.engine)
        yield Reason(
            "format_not_served",
            f"vLLM does not serve {facts.format} weights"
            if facts.format != "unknown"
            else "there are no weights that vLLM could serve",
            f"serve it with {server}, or take a safetensors checkpoint (AWQ, GPTQ or BF16)"
            if server
            else "take a safetensors checkpoint (AWQ, GPTQ or BF16)",
        )
    elif facts.packed and facts.quantization is None and not made_up:
        said = meaning.remark("quantization_undeclared")
        yield Reason(said.code, said.message, said.fix)
    elif facts.architecture is None:
        yield Reason(
            "format_not_served",
            "config.json describes no language model that vLLM could serve",
            "take a checkpoint of a language model",
        )
    if facts.pickle and not spec.allow_pickle:
        yield Reason(
            "pickle_weights",
            "the weights are pickle files, which can run any code when they are loaded",
            "take a safetensors checkpoint, or accept the risk with --allow-pickle",
        )
    if facts.remote_code and not spec.trust_remote_code:
        yield Reason(
            "remote_code",
            "the checkpoint can only be read by its own Python code",
            "read that code, then add --trust-remote-code; or take a native checkpoint",
        )


def architecture(facts: ModelFacts, settings: EngineSettings) -> Iterator[Reason]:
    """Refuses an architecture that earlier releases served, and this one does not."""
    name = facts.architecture.name if facts.architecture else ""
    last = dropped(name, settings.version)
    if last is not None:
        yield Reason(
            "architecture_dropped",
            f"vLLM {settings.version} serves no {name} any more; {last} was the last that did",
            f"use --engine-version {last}",
        )


def engine_arguments(spec: ServiceSpec, settings: EngineSettings) -> Iterator[Reason]:
    """Refuses arguments that this version does not have or that have the wrong type."""
    version = settings.version
    if not at_least(version, OLDEST) or not flags.known(version):
        return
    given = sorted(settings.rest.items())
    given += [(name, value) for name in SHARED if (value := getattr(spec, name))]
    yield from filter(None, (flags.check(name, value, version) for name, value in given))


def batches(spec: ServiceSpec, settings: EngineSettings) -> Iterator[Reason]:
    """Refuses batch settings that vLLM's scheduler would reject (vllm/config/scheduler.py)."""
    if settings.batch.tokens < settings.batch.sequences:
        yield Reason(
            "batch_settings_conflict",
            f"max_num_batched_tokens ({settings.batch.tokens}) is less than max_num_seqs "
            f"({settings.batch.sequences})",
            f"set --max-num-batched-tokens to {settings.batch.sequences} or more",
        )
    if settings.rest.get("enable_chunked_prefill") is False and (
        spec.max_num_batched_tokens is not None and spec.max_num_batched_tokens < settings.length
    ):
        yield Reason(
            "batch_settings_conflict",
            "without chunked prefill a prompt of the full context must fit in one step",
            f"set --max-num-batched-tokens to {settings.length}, or allow chunked prefill",
        )


def context(spec: ServiceSpec, facts: ModelFacts, settings: EngineSettings) -> Iterator[Reason]:
    """Refuses a context beyond what the model was made for."""
    architecture = facts.architecture
    if architecture is None or spec.max_model_len is None:
        return
    own = architecture.max_position_embeddings
    allowed = spec.env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1"
    if spec.max_model_len > own and not allowed:
        yield Reason(
            "context_beyond_model",
            f"max_model_len {spec.max_model_len} is beyond the model's own context of {own} tokens",
            f"set --max-model-len {own} or less, or extend it with rope scaling "
            "(--engine-arg hf_overrides=…)",
        )


def parallel(shape: Shape, settings: EngineSettings) -> Iterator[Reason]:
    """Refuses a tensor-parallel size that does not divide the model."""
    tensor, stages = settings.sharding.tensor, settings.sharding.pipeline
    if shape.heads % tensor:
        fitting = [n for n in range(1, tensor) if not shape.heads % n]
        yield Reason(
            "heads_not_divisible",
            f"{shape.heads} attention heads do not divide by a tensor-parallel size of {tensor}",
            f"use --tensor-parallel-size {fitting[-1] if fitting else 1}",
        )
    elif not shape.latent and shape.kv_heads % tensor and tensor % max(1, shape.kv_heads):
        yield Reason(
            "heads_not_divisible",
            f"{shape.kv_heads} key-value heads neither divide by nor into a "
            f"tensor-parallel size of {tensor}",
            f"use --tensor-parallel-size {_common(shape.kv_heads, shape.heads, tensor)}",
        )
    elif (shape.intermediate and shape.intermediate % tensor) or (
        shape.experts and not settings.whole_experts and shape.expert_size % tensor
    ):
        yield Reason(
            "kernel_shape_unsupported",
            f"the MLP's {shape.intermediate} columns do not divide by a tensor-parallel "
            f"size of {tensor}",
            "use a smaller --tensor-parallel-size",
        )
    if stages > max(1, shape.layers):
        yield Reason(
            "gpu_count",
            f"{shape.layers} layers cannot be spread over {stages} stages",
            f"use --pipeline-parallel-size {max(1, shape.layers)} or less",
        )


def _common(kv_heads: int, heads: int, below: int) -> int:
    for size in range(below - 1, 0, -1):
        if heads % size == 0 and (kv_heads % size == 0 or size % max(1, kv_heads) == 0):
            return size
    return 1


def gpu_count(spec: ServiceSpec, profile: GpuProfile, settings: EngineSettings) -> Iterator[Reason]:
    """Refuses to use more GPUs than there are."""
    sharding, replicas = settings.sharding, spec.replicas or 1
    needed = sharding.gpus * replicas
    if profile.slice and sharding.gpus > 1:
        yield Reason(
            "gpu_count",
            f"MIG slices do not reach each other, so a model cannot be split over {sharding.gpus}",
            "leave --tensor-parallel-size and --pipeline-parallel-size unset, and take a larger "
            "slice or whole cards",
        )
        return
    if needed > spec.gpus and profile.kind != "cpu":
        parts = [f"tensor-parallel size {sharding.tensor}"]
        if sharding.pipeline > 1:
            parts.append(f"{sharding.pipeline} pipeline stages")
        if replicas > 1:
            parts.append(f"{replicas} replicas")
        yield Reason(
            "gpu_count",
            f"{' × '.join(parts)} needs {needed} GPUs; {spec.gpus} were given",
            f"add --gpus {needed}, or use fewer",
        )
    elif sharding.tensor > profile.max_per_host:
        yield Reason(
            "gpu_count",
            f"a host holds {profile.max_per_host} of these; tensor parallelism over "
            f"{sharding.tensor} would cross hosts",
            f"use --tensor-parallel-size {profile.max_per_host} and "
            f"--pipeline-parallel-size {-(-sharding.tensor // profile.max_per_host)}",
        )


def image(spec: ServiceSpec, profile: GpuProfile, version: str) -> Iterator[Reason]:
    """Refuses a card for which the release's image has no code at all."""
    own = profile.capability
    if profile.kind != "cuda" or not own or spec.image or nvidia.image_takes(own, version):
        return
    yield Reason(
        "engine_not_built_for_gpu",
        f"the image of vLLM {version} (CUDA {nvidia.image_cuda(version)}) has no kernels for "
        f"{profile.title}, of compute capability {profile.compute_capability}",
        nvidia.releases_taking(own, version) or "name an image built for it with --image",
    )
