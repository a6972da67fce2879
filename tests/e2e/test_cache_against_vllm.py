"""The cache and the weights of models with several kinds of layers, against vLLM's own account.

vLLM builds each model without weights (on the meta device), asks its layers what they keep,
groups them and counts blocks: what a start does, without one. Models are rebuilt from their
published architecture: the configuration class of transformers with what differs from it.
"""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from deployctl.hardware import load_profile
from deployctl.model import Documents, facts_from
from deployctl.planning.kvcache import layout
from deployctl.planning.pages import state_bytes
from deployctl.planning.settings import Sharding, resolve
from deployctl.planning.shape import shape_of
from deployctl.planning.states import STATEFUL
from deployctl.planning.weights import parts
from deployctl.spec import ServiceSpec
from whole_models import MODELS

pytestmark = pytest.mark.vllm

LENGTH, POOL = 5000, 8 << 30  # tokens, no multiple of a block; bytes

ASK = """
import importlib.abc, importlib.machinery, json, os, sys, tempfile, traceback, warnings
import unittest.mock
warnings.filterwarnings("ignore")
os.environ.update(VLLM_LOGGING_LEVEL="ERROR", HF_HUB_OFFLINE="1")
import torch
models, length, pool, card = json.load(sys.stdin)
torch.cpu._is_avx512_bf16_supported = lambda: not card  # a CPU's states are in float32 then
torch.cpu._is_amx_tile_supported = lambda: card  # without it latent attention has no prefix cache
read = torch.Tensor.item
torch.Tensor.item = lambda tensor: 1.0 if tensor.is_meta else read(tensor)

class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    # Kernels of cards: imported with the models, never called.
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("cutlass", "cuda"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        made = unittest.mock.MagicMock(name=spec.name)
        made.__path__ = []
        return made
    def exec_module(self, module):
        pass

from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader.utils import get_model_cls, initialize_model
from vllm.model_executor.models import registry
from vllm.platforms import current_platform
from vllm.platforms.interface import Platform
from vllm.transformers_utils.config import _CONFIG_REGISTRY
from vllm.utils.torch_utils import set_default_torch_dtype
from vllm.v1.attention.backend import MultipleOf
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend
from vllm.v1.attention.backends.mla.amx_mla import AMXMLABackend
from vllm.v1.attention.backends.mla.flashmla_sparse import FlashMLASparseImpl
from vllm.v1.attention.backends.registry import AttentionBackendEnum
from vllm.v1.core import kv_cache_utils as cache
from vllm.v1.kv_cache_interface import MambaSpec
from vllm.v1.worker.gpu.attn_utils import get_kv_cache_spec
from vllm.v1.worker.workspace import init_workspace_manager

sys.meta_path.append(Absent())
# Without a process of its own for each model class.
registry._LazyRegisteredModel.inspect_model_cls = (
    lambda self: registry._ModelInfo.from_model_cls(self.load_model_cls()))
if card:  # a card's platform, kernels and scheduler
    torch.cuda.Stream = unittest.mock.MagicMock()
    FlashMLASparseImpl.__init__ = lambda self, *_, **__: None  # asks the card
    for backend in (CPUAttentionBackend, AMXMLABackend):
        backend.get_supported_kernel_block_sizes = staticmethod(
            lambda kv_cache_spec=None: [MultipleOf(16)])
        backend.supports_block_size = classmethod(lambda cls, size: size is None or size % 16 == 0)
    own = type(current_platform).get_attn_backend_cls.__func__

    def chosen(cls, asked, attn_selector_config, **more):
        if attn_selector_config.use_sparse:
            return AttentionBackendEnum.FLASHMLA_SPARSE.get_path()
        return own(cls, asked, attn_selector_config, **more)

    type(current_platform).get_attn_backend_cls = classmethod(chosen)
    type(current_platform).update_block_size_for_backend = classmethod(
        Platform.update_block_size_for_backend.__func__)
    VllmConfig.max_in_flight_tokens = property(
        lambda self: 2 * self.scheduler_config.max_num_batched_tokens)

def config_of(kind, name, changes):
    made = (CONFIG_MAPPING if kind in CONFIG_MAPPING else _CONFIG_REGISTRY)[kind](**changes)
    config = {**made.to_dict(), **changes, "architectures": [name], "torch_dtype": "bfloat16"}
    config.pop("dtype", None)
    return {key: value for key, value in config.items() if value is not None}

def engine(config, **wish):
    folder = tempfile.mkdtemp()
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file)
    return EngineArgs(
        model=folder, skip_tokenizer_init=True, load_format="dummy", enforce_eager=True,
        max_model_len=length, max_num_batched_tokens=2048, max_num_seqs=128, **wish,
    ).create_engine_config()

def states(given):
    found = {}
    model = get_model_cls(given.model_config)
    if not hasattr(model, "get_mamba_state_shape_from_config"):
        return found
    for ranks in (1, 2, 4):
        given.parallel_config.tensor_parallel_size = ranks
        found[ranks] = MambaSpec(
            shapes=model.get_mamba_state_shape_from_config(given),
            dtypes=model.get_mamba_state_dtype_from_config(given), block_size=-1,
        ).page_size_bytes
    given.parallel_config.tensor_parallel_size = 1
    return found

def ask(config, **wish):
    given = engine(config, **wish)
    with set_current_vllm_config(given):
        if not torch.distributed.is_initialized():
            init_distributed_environment(1, 0, f"file://{tempfile.mkdtemp()}/ranks", 0, "gloo")
            initialize_model_parallel(1)
            init_workspace_manager(torch.device("cpu"))
        with set_default_torch_dtype(torch.bfloat16), torch.device("meta"):
            model = initialize_model(given)
        current_platform.update_block_size_for_backend(given)
    specs = get_kv_cache_spec(given)
    given.cache_config.kv_cache_layout = "LBHNC"
    found = cache.get_kv_cache_configs(given, [specs], [pool])[0]
    block = cache._pool_bytes_per_block(given, found.kv_cache_groups)
    tokens, concurrency = cache.get_kv_cache_capacity(given, found)
    given.model_config.max_model_len = 1 << 24
    longest = cache._estimate_max_model_len_from_groups(
        given, found.kv_cache_groups, pool // 50 - block)
    return {"groups": len(found.kv_cache_groups), "block bytes": block,
            "blocks": found.num_blocks, "tokens": tokens, "concurrency": concurrency,
            "longest": longest, "states": states(given), "weights": weights(model)}

def weights(model):
    named = [*model.named_parameters(), *model.named_buffers()]
    # These are views of another.
    return sum(t.nbytes for name, t in named if not name.endswith("conv_weights"))

answers = []
for name, kind, architecture, changes in models:
    config, said = config_of(kind, architecture, changes), []
    # On a CPU the plan chooses whether prefixes are kept.
    usual = {} if card else {"enable_prefix_caching": True}
    for wish in (usual, {"enable_prefix_caching": False}, {**usual, "kv_cache_dtype": "fp8"}):
        try:
            said.append([wish, ask(config, **wish)])
        except Exception as error:
            said.append([wish, "".join(traceback.format_exception(error)[-4:])])
    answers.append([name, config, said])
sys.stdout.write("ANSWER" + json.dumps(answers, default=str))
"""


@pytest.fixture(scope="module", params=["cpu", "card"])
def answers(request):
    card = request.param == "card"
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([MODELS, LENGTH, POOL, card]),
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return card, json.loads(done.stdout.split("ANSWER", 1)[1])


def counted(config, wish, *, card):
    """What the plan says, in the same words."""
    documents = Documents(source="/m", local=True, config=config, files={"model.safetensors": 1})
    facts = facts_from(documents)
    profile = load_profile("rtx4090" if card else "cpu")
    dtype = {"kv_cache_dtype": wish["kv_cache_dtype"]} if "kv_cache_dtype" in wish else {}
    arguments = {k: v for k, v in wish.items() if k != "kv_cache_dtype"}
    spec = ServiceSpec(
        model="/m", gpu=profile.name, max_model_len=LENGTH, engine_version="0.32.0",
        max_num_batched_tokens=2048, max_num_seqs=128, engine_args=arguments, **dtype,
    )  # fmt: skip
    settings = resolve(spec, facts, profile, Sharding())
    shape = shape_of(facts.architecture)
    found = layout(shape, settings, (0, shape.layers), cpu=not card)
    states = {}
    if shape.state is not None:
        for ranks in (1, 2, 4):
            split = replace(settings, sharding=Sharding(ranks))
            states[str(ranks)] = state_bytes(shape.state, split)
    return {
        "groups": len(found.groups),
        "block bytes": found.block_bytes,
        "blocks": found.blocks(POOL),
        "tokens": found.tokens(POOL, LENGTH),
        "concurrency": found.concurrency(POOL, LENGTH),
        "longest": found.longest(POOL // 50, 1 << 24),
        "states": states,
    }


# Models that vLLM makes for a card alone.
CARD_ALONE = {"Kimi-Linear-48B-A3B", "DeepSeek-V3.2"}


def test_blocks_groups_and_states_are_the_engines(answers):
    card, asked = answers
    assert len(asked) == len(MODELS)
    different = {}
    for name, config, said in asked:
        if name in CARD_ALONE and not card:
            continue
        for wish, expected in said:
            found = counted(config, wish, card=card)
            expected = {key: expected[key] for key in expected if key != "weights"}
            if found != expected:
                different[f"{name} {wish}"] = (found, expected)
    assert different == {}


def computed(config):
    """The weights that the plan computes where there are no headers, in bytes."""
    documents = Documents(source="/m", local=True, config=config, files={"model.safetensors": 1})
    shape = shape_of(facts_from(documents).architecture)
    found = parts(shape, None, Sharding(), stage=0, dtype_bytes=2, rounded=False).total
    # Copies that latent attention makes once it is loaded.
    latent = shape.layers - sum(kind in STATEFUL for kind in shape.kinds)
    copies = shape.kv_rank * shape.heads * (shape.nope_dim + shape.v_dim) * 2
    return found - latent * copies


def test_weights_from_the_architecture_are_the_engines(answers):
    card, asked = answers
    different = {}
    for name, config, said in asked:
        if name not in CARD_ALONE or card:
            expected, found = said[0][1]["weights"], computed(config)
            if abs(found / expected - 1) > 0.0015:  # tables are counted as torch allocates them
                different[name] = (found, expected)
    assert different == {}
