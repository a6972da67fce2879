"""What a release does that planning must know: read from its source where a pattern can tell.

A key of deploy/engines/vllm-behaviour.json is either in `PROBES`, and then a pattern in the source
gives its value, or in `JUDGED`: a person read it, or fitted it to logs of start-ups. Of those the
functions are named on which it rests; `changed` says which of them are not what they were.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vllm_source import Found, Package
from vllm_tables import ENGINES

from deployctl.engines.vllm.versions import in_force
from deployctl.engines.vllm.versions import key as order

ABOUT = "about"
FILE = "vllm-behaviour.json"


class Probe(NamedTuple):
    """How a key is read: the first match of `pattern` in `files` gives the value, none `absent`."""

    pattern: str
    files: tuple[str, ...]
    value: Callable[[Found], Any] = lambda found: True
    absent: Any = False


def _number(found: Found) -> float:
    return float(found.group)


def _variable(name: str) -> str:
    """A switch among the environment variables that is on by default."""
    return rf'getenv\(\s*"{name}",\s*"1"\s*\)'


_CONFIG = ("config.py", "config/*.py")
_CACHE = ("v1/core/kv_cache*.py",)  # kv_cache_utils.py; from 0.33 kv_cache_planning.py too
PROBES: Mapping[str, Probe] = {
    "gpu_memory_utilization": Probe(
        r"gpu_memory_utilization: float = (?:Field\(default=)?([\d.]+)", _CONFIG, _number, None
    ),
    "batch_a100_is_small": Probe(r'"a100" not in device_name', ("engine/arg_utils.py",)),
    "batch_160_gib_tier": Probe(r"device_memory >= 160 \* GiB_bytes", ("engine/arg_utils.py",)),
    "batch_gb10_is_small": Probe(r"and not is_gb10\b", ("engine/arg_utils.py",)),
    "cudagraphs_in_budget": Probe(
        _variable("VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"), ("envs.py",)
    ),
    "cublas_before_snapshot": Probe(
        r"torch\.mm\(x, x\).{0,400}memory snapshot", ("v1/worker/gpu_worker.py",)
    ),
    "nccl_before_snapshot": Probe(
        r"snapshot after NCCL is initialized", ("v1/worker/gpu_worker.py",)
    ),
    "combo_kernels_timed": Probe(
        r'inductor_compile_config\["benchmark_combo_kernel"\] = (?:True|not )',
        ("config/compilation.py",),
    ),
    "runner_tensors_counted": Probe(r"total_consumed", ("utils/mem_utils.py",)),
    "fp8_experts_refined": Probe(
        r"resolve_fp8_moe_weight_block_shape", ("model_executor/layers/quantization/fp8.py",)
    ),
    "load_unsplit": Probe(r"_scoped_allocator_max_split", ("v1/worker/gpu_worker.py",)),
    "full_cudagraphs": Probe(
        r"cudagraph_mode(?: =\W+|\": )CUDAGraphMode\.FULL_AND_PIECEWISE",
        ("config/__init__.py", "config/vllm.py"),
    ),
    "cudagraph_step": Probe(r"range\(\s*256,[^)]*, 16\s*\)", ("config/*.py",), lambda found: 16, 8),
    "v1_sampler_buffer": Probe(r"def ", ("v1/sample/ops/topk_topp_triton.py",)),
    "allreduce_fusion": Probe(
        r'"fuse_allreduce_rms": enable_allreduce_rms_fusion', ("config/vllm.py",)
    ),
    "hybrid_chunked": Probe(
        _variable("VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE"), ("envs.py",)
    ),
    "video_outputs_expanded": Probe(
        r"expanded_outputs\.append", ("v1/worker/gpu_model_runner.py",)
    ),
    "shared_layers_project": Probe(
        r"if self\.is_kv_shared_layer:.{0,300}self\.q_proj = ColumnParallelLinear",
        ("model_executor/models/gemma4.py",),
        lambda found: False,
        True,
    ),
    "group_padding_ratio": Probe(
        r"max_num_layers < min_num_layers \* ([\d.]+)", _CACHE, _number, 1.0
    ),
    "tokens_from_concurrency": Probe(r"int\(max_concurrency \* max_model_len\)", _CACHE),
    "null_block_reserved": Probe(r"Reserve the null block", _CACHE),
    "window_in_flight_batches": Probe(
        r"max_in_flight_tokens", ("v1/kv_cache_interface.py",), lambda found: 2, 1
    ),
    "marlin_capability": Probe(
        r"device_capability < (\d+)",
        ("model_executor/layers/quantization/utils/marlin_utils.py",),
        lambda found: int(found.group) / 10,
        None,
    ),
    "float_cache_is_models": Probe(r"def _reject_mismatched_float_kv_cache", ("config/vllm.py",)),
}

_PROFILE = {
    "determine_available_memory": "v1/worker/gpu_worker.py",
    "init_device": "v1/worker/gpu_worker.py",
    "memory_profiling": "utils/mem_utils.py",
}
_V2 = "v1/worker/gpu/model_runner.py"
_MODELS = {"verify_and_update_config": "model_executor/models/config.py"}
_ALIGN = {"_align_hybrid_block_size": "platforms/interface.py"}
# The functions on which a judged key rests, and where they are.
JUDGED: Mapping[str, Mapping[str, str]] = {
    "engine": {},  # V1 alone since the V0 engine was removed
    "min_capability": {"get_min_capability": "model_executor/layers/quantization/**/*.py"},
    "hybrid_kv_cache": {"get_kv_cache_groups": "v1/core/kv_cache*.py"},
    "sampler_profiled": {"profile_run": "v1/worker/gpu_model_runner.py"},
    "moe_workspace_four_bits": {
        "make_wna16_moe_kernel": "model_executor/layers/fused_moe/oracle/int_wna16.py"
    },
    "lora_graphs_apart": {"_get_lora_cases": "v1/cudagraph_dispatcher.py"},
    "moe_chunk_tokens": {"_allocate_buffers": "model_executor/layers/fused_moe/modular_kernel.py"},
    "moe_workspace": {"current_workspace_manager": "v1/worker/workspace.py"},
    "hybrid_prefix_caching": {"is_prefix_caching_supported": "config/model.py"},
    "state_modes": _MODELS,
    "state_checkpoints": {"get_kv_cache_spec": "model_executor/layers/mamba/*.py"},
    "state_step_is_block": _ALIGN,
    "latent_state_step": _ALIGN,
    "nemotron_state_dtype": _MODELS,
    "sparse_cache_packed": _MODELS,
    "v2_runner": {"use_v2_model_runner": "config/vllm.py"},
    "v2_cudagraphs_in_budget": {"profile_cudagraph_memory": _V2},
    "v2_sampler_bytes_per_logit": {
        "_dummy_sampler_run": _V2,
        "apply_sampling_params": "v1/worker/gpu/sample/sampler.py",
        "_sample_random": "v1/worker/gpu/sample/sampler.py",
    },
    "v1_sampler_bytes_per_logit": {
        "_dummy_sampler_run": "v1/worker/gpu_model_runner.py",
        "sample": "v1/sample/sampler.py",
        "forward_cuda": "v1/sample/ops/topk_topp_sampler.py",
    },
    "fragments_gib": _PROFILE,
    "non_torch_gib": _PROFILE,
    "non_torch_small_gib": _PROFILE,
    "non_torch_counts_context_gib": _PROFILE,
}
# What planning computes itself and no key says: defaults of a batch, what a cache takes.
BESIDE: Mapping[str, Mapping[str, str]] = {
    "planning/settings.py, batch": {
        "get_batch_defaults": "engine/arg_utils.py",
        "_set_default_max_num_seqs_and_batched_tokens_args": "engine/arg_utils.py",
    },
    "planning/settings.py, resolved_dtype": {"_resolve_auto_dtype": "config/model.py"},
    "planning/kvcache.py": {
        "get_kv_cache_config_from_groups": "v1/core/kv_cache*.py",
        "_check_enough_kv_cache_memory": "v1/core/kv_cache*.py",
        "max_memory_usage_bytes": "v1/kv_cache_interface.py",
        "page_size_bytes": "v1/kv_cache_interface.py",
    },
}


class Reading(NamedTuple):
    """A key's value in a release, and the place in the source that says so."""

    value: Any
    source: str


def read(package: Package, version: str) -> dict[str, Reading]:
    """Every key that a pattern can tell."""
    readings = {}
    for key, probe in PROBES.items():
        found = package.search(probe.pattern, *probe.files)
        if found is not None:
            text = " ".join(found.group.split())
            place = f"vllm/{found.file} {version}: {text[:80]}"
            readings[key] = Reading(probe.value(found), place)
        elif probe.absent is not None:
            place = f"vllm/{probe.files[-1]} {version}: without {probe.pattern[:60]}"
            readings[key] = Reading(probe.absent, place)
    return readings


def load(folder: Path = ENGINES) -> dict[str, Any]:
    """The file, its description included."""
    document: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return document


def add(document: Mapping[str, Any], version: str, readings: Mapping[str, Reading]) -> Any:
    """The file with what differs in a release, in the order of releases; other entries stay."""
    added = dict(document)
    for key, reading in readings.items():
        if key not in added:
            added[key] = [["0", PROBES[key].absent, "vLLM before"]]
        if in_force(added[key], version) != reading.value:
            others = [entry for entry in added[key] if entry[0] != version]
            added[key] = sorted([*others, [version, *reading]], key=lambda entry: order(entry[0]))
    return added


def save(document: Mapping[str, Any], folder: Path = ENGINES) -> None:
    """Writes the file, an entry a line."""
    parts = [f"  {json.dumps(ABOUT)}: {json.dumps(document[ABOUT], ensure_ascii=False)}"]
    for key, entries in document.items():
        if key != ABOUT:
            lines = [f"    {json.dumps(entry, ensure_ascii=False)}" for entry in entries]
            parts.append(f"  {json.dumps(key)}: [\n" + ",\n".join(lines) + "\n  ]")
    (folder / FILE).write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def changed(before: Package, after: Package) -> Iterator[tuple[str, str]]:
    """Judged keys, and parts of planning, whose functions differ: the key and `file: function`."""
    codes: dict[tuple[str, str], bool] = {}
    for key, functions in [*JUDGED.items(), *BESIDE.items()]:
        for function, files in functions.items():
            place = (function, files)
            if place not in codes:
                codes[place] = before.code(*place) != after.code(*place)
            if codes[place]:
                yield key, f"{files}: {function}"
