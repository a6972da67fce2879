"""Which parsers, template and sampling a checkpoint is served with, and what the plan says of it.

The templates are short ones that teach calls in the words of the published ones.
"""

import pytest

from deployctl.engines.vllm import parsers
from deployctl.hardware import load_profile
from deployctl.model import Documents, facts_from
from deployctl.planning import families
from deployctl.planning.make import make_plan
from deployctl.spec import ServiceSpec

CONFIG = {
    "num_hidden_layers": 2,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}
PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"
HERMES = "{% if tools %}<tools>…</tools> <tool_call>{{ '{' }}\"name\": …</tool_call>{% endif %}"
HYBRID = HERMES + "{% if enable_thinking is false %}<think>\n\n</think>{% endif %}"
THINKS = HERMES + "<think>"
XML = "{% if tools %}<tool_call><function=example></function></tool_call>{% endif %}"
XML_THINKS = XML + "{% if enable_thinking is false %}<think></think>{% endif %}"
LLAMA = "{% if tools is not none %}Environment: ipython{% endif %}"
MISTRAL = "{% if tools is not none %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]"
GLM = "{% if tools %}<tool_call>name<arg_key>key</arg_key></tool_call>{% endif %}<think>"
R1 = "{{ message.content.split('</think>') }}<｜tool▁calls▁begin｜>"
KIMI = "{% if tools %}tool_declare{% endif %}"
PHI = "{% if message['role'] == 'system' and 'tools' in message %}{{ message['tools'] }}{% endif %}"
NEMOTRON = "{% if tools %}<TOOLCALL>[…]</TOOLCALL>{% endif %}</think>"
FOLDER = "/vllm-workspace/examples/tool_chat_template_"

# Hub id, model_type, chat template (None: not read) -> tool parser, reasoning parser.
KNOWN = [
    ("Qwen/Qwen2.5-7B-Instruct-AWQ", "qwen2", HERMES, "hermes", None),
    ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", "qwen2", HERMES, "hermes", None),
    ("Qwen/Qwen2.5-Coder-7B-Instruct-AWQ", "qwen2", HERMES, "hermes", None),
    ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", "qwen2_5_vl", PLAIN, None, None),
    ("Qwen/QwQ-32B-AWQ", "qwen2", THINKS, "hermes", "deepseek_r1"),
    ("Qwen/Qwen3-8B-AWQ", "qwen3", HYBRID, "hermes", "qwen3"),
    ("Qwen/Qwen3-32B-AWQ", "qwen3", HYBRID, "hermes", "qwen3"),
    ("Qwen/Qwen3-30B-A3B-GPTQ-Int4", "qwen3_moe", HYBRID, "hermes", "qwen3"),
    ("Qwen/Qwen3-4B-Instruct-2507", "qwen3", HERMES, "hermes", None),
    ("cpatonnet/Qwen3-30B-A3B-Instruct-2507-AWQ-4bit", "qwen3_moe", HERMES, "hermes", None),
    ("Qwen/Qwen3-30B-A3B-Thinking-2507-FP8", "qwen3_moe", THINKS, "hermes", "deepseek_r1"),
    ("Qwen/Qwen3-8B-Base", "qwen3", HYBRID, None, None),
    ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_moe", XML, "qwen3_coder", None),
    ("stelterlab/Qwen3-Coder-30B-A3B-Instruct-AWQ", "qwen3_moe", XML, "qwen3_coder", None),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "qwen3_next", HERMES, "hermes", None),
    ("Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", HERMES, "hermes", None),
    ("Qwen/Qwen3.5-9B", "qwen3_5", XML_THINKS, "qwen3_coder", "qwen3"),
    ("Qwen/Qwen3.5-35B-A3B-GPTQ-Int4", "qwen3_5_moe", XML_THINKS, "qwen3_coder", "qwen3"),
    ("Qwen/Qwen3.6-27B", "qwen3_5", XML_THINKS, "qwen3_coder", "qwen3"),
    ("meta-llama/Llama-3.1-8B-Instruct", "llama", LLAMA, "llama3_json", None),
    ("hugging-quants/Meta-Llama-3.1-8B-Instruct-GPTQ-INT4", "llama", LLAMA, "llama3_json", None),
    ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "llama", LLAMA, "llama3_json", None),
    ("casperhansen/llama-3.3-70b-instruct-awq", "llama", LLAMA, "llama3_json", None),
    ("casperhansen/llama-3-70b-instruct-awq", "llama", PLAIN, None, None),
    ("meta-llama/Llama-3.2-3B-Instruct", "llama", LLAMA, "llama3_json", None),
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4", None, "llama4_pythonic", None),
    ("TheBloke/Llama-2-7B-Chat-AWQ", "llama", PLAIN, None, None),
    ("TheBloke/Mistral-7B-Instruct-v0.2-AWQ", "mistral", PLAIN, None, None),
    ("solidrust/Mistral-7B-Instruct-v0.3-AWQ", "mistral", MISTRAL, "mistral", None),
    ("casperhansen/mistral-nemo-instruct-2407-awq", "mistral", MISTRAL, "mistral", None),
    ("TheBloke/Mixtral-8x7B-Instruct-v0.1-GPTQ", "mixtral", PLAIN, None, None),
    ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", "mistral3", MISTRAL, "mistral", None),
    ("NousResearch/Hermes-3-Llama-3.1-8B", "llama", HERMES, "hermes", None),
    ("solidrust/Hermes-2-Pro-Mistral-7B-AWQ", "mistral", HERMES, "hermes", None),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2", R1, None, "deepseek_r1"),
    ("casperhansen/deepseek-r1-distill-llama-70b-awq", "llama", R1, None, "deepseek_r1"),
    ("deepseek-ai/DeepSeek-R1", "deepseek_v3", R1, "deepseek_v3", "deepseek_r1"),
    ("cognitivecomputations/DeepSeek-V3-AWQ", "deepseek_v3", PLAIN, "deepseek_v3", None),
    ("deepseek-ai/DeepSeek-V3.1", "deepseek_v3", R1, "deepseek_v31", "deepseek_v3"),
    ("deepseek-ai/DeepSeek-V3.2", "deepseek_v32", None, "deepseek_v32", "deepseek_v3"),
    ("zai-org/GLM-4.5-Air", "glm4_moe", GLM, "glm45", "glm45"),
    ("cpatonnet/GLM-4.6-AWQ", "glm4_moe", GLM, "glm45", "glm45"),
    ("zai-org/GLM-4.7-Flash", "glm4_moe_lite", GLM, "glm47", "glm45"),
    ("moonshotai/Kimi-K2-Instruct", "kimi_k2", KIMI, "kimi_k2", None),
    ("moonshotai/Kimi-K2-Thinking", "kimi_k2", KIMI + "<think>", "kimi_k2", "kimi_k2"),
    ("openai/gpt-oss-20b", "gpt_oss", "{{ tools }}thinking", "openai", "openai_gptoss"),
    ("google/gemma-3-12b-it", "gemma3", PLAIN, None, None),
    ("google/gemma-4-31B-it", "gemma4", "{{ tools }}<|tool_call>think", "gemma4", "gemma4"),
    ("ibm-granite/granite-3.1-8b-instruct", "granite", "{{ tools }}<|tool_call|>", "granite", None),
    ("ibm-granite/granite-3.2-8b-instruct", "granite", "{{ tools }}thinking", "granite", "granite"),
    ("ibm-granite/granite-4.0-h-small", "granitemoehybrid", HERMES, "granite4", None),
    ("internlm/internlm2_5-7b-chat", "internlm2", PLAIN, "internlm", None),
    ("microsoft/Phi-4-mini-instruct", "phi3", PHI, None, None),
    ("ai21labs/AI21-Jamba-1.5-Mini", "jamba", "{{ tools }}<tool_calls>", "jamba", None),
    ("MiniMaxAI/MiniMax-M2", "minimax_m2", "{{ tools }}<minimax:tool_call><think>",
     "minimax_m2", "minimax_m2"),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "nemotron_h", XML_THINKS,
     "qwen3_coder", "nemotron_v3"),
    ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "nemotron_h", NEMOTRON, None, None),
    ("nvidia/Llama-3_3-Nemotron-Super-49B-v1_5", "nemotron-nas", NEMOTRON, None, None),
    ("ByteDance-Seed/Seed-OSS-36B-Instruct", "seed_oss",
     "{{ tools }}<seed:tool_call><function=x><seed:think>", "seed_oss", "seed_oss"),
    ("tencent/Hunyuan-A13B-Instruct", "hunyuan_v1_moe", "{{ tools }}<tool_calls><think>",
     "hunyuan_a13b", "hunyuan_a13b"),
    ("CohereLabs/command-a-reasoning-08-2025", "cohere2", "{{ tools }}<|START_ACTION|>",
     None, None),
    ("HuggingFaceTB/SmolLM3-3B", "smollm3", HYBRID, "hermes", None),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "llama", PLAIN, None, None),
    ("allenai/Olmo-3-32B-Think", "olmo3", "{{ tools }}<function_calls><think>", "olmo3", "olmo3"),
    ("LiquidAI/LFM2.5-1.2B-Instruct", "lfm2", "{{ tools }}<|tool_call_start|>", "lfm2", None),
    ("stepfun-ai/Step-3.5-Flash", "step3p5", XML_THINKS, "step3p5", "step3p5"),
    ("swiss-ai/Apertus-8B-Instruct-2509", "apertus", "{{ tools }}<|tools_prefix|>",
     "apertus", None),
]  # fmt: skip


@pytest.fixture
def served():
    """`served(id, model_type, template, …)`: the plan of such a checkpoint on an H100."""

    def get(source, kind="llama", template=None, *, documents=None, gpu="h100", **settings):
        tokenizer = None if template is None else {"chat_template": template}
        mla = {"kv_lora_rank": 64, "qk_rope_head_dim": 16, "v_head_dim": 64}
        config = {**CONFIG, "architectures": ["XForCausalLM"], "model_type": kind}
        config |= mla if kind.startswith(("deepseek", "kimi", "glm4_moe_lite")) else {}
        facts = facts_from(
            Documents(
                source=source,
                local=False,
                config=config,
                files={"config.json": 1, "model.safetensors": 1},
                tokenizer_config=tokenizer,
                **(documents or {}),
            )
        )
        spec = ServiceSpec(model=source, gpu=gpu, max_model_len=1024, **settings)
        return make_plan(spec, facts, load_profile(gpu))

    return get


def flag(plan, name):
    """The word after `name` in the engine's arguments; None without it."""
    words = plan.engine.args
    return words[words.index(name) + 1] if name in words else None


def note(plan, start):
    """The note that begins so; None without it."""
    return next((n for n in plan.notes if n.startswith(start)), None)


@pytest.mark.parametrize(("source", "kind", "template", "tools", "reasoning"), KNOWN)
def test_known_checkpoints_get_their_parsers(served, source, kind, template, tools, reasoning):
    plan = served(source, kind, template)
    assert flag(plan, "--tool-call-parser") == tools
    assert ("--enable-auto-tool-choice" in plan.engine.args) == (tools is not None)
    assert flag(plan, "--reasoning-parser") == reasoning
    assert (plan.serving.tool_parser, plan.serving.reasoning_parser) == (tools, reasoning)
    assert "--trust-remote-code" not in plan.engine.args


def test_the_plan_says_why(served):
    plan = served("Qwen/Qwen3-8B-AWQ", "qwen3", HYBRID)
    assert note(plan, "Tool calls") == "Tool calls: hermes, because model_type qwen3 is of Qwen3."
    assert note(plan, "Reasoning") == "Reasoning: qwen3, because model_type qwen3 is of Qwen3."
    plan = served("TheBloke/Mistral-7B-Instruct-v0.2-AWQ", "mistral", PLAIN)
    said = "Tool calls: none, because its chat template knows no tools."
    assert note(plan, "Tool calls") == said
    assert note(plan, "Reasoning") is None


def test_where_nothing_is_known_nothing_is_said(served):
    plan = served("/models/m")
    assert note(plan, "Tool calls") is None
    assert plan.serving.tool_calls == "none"


def test_a_name_that_says_nothing_is_served_by_what_it_was_made_of(served):
    card = {"base_models": ("meta-llama/Llama-3.1-8B-Instruct",)}
    plan = served("me/legal-8b-awq", "llama", LLAMA, documents=card)
    assert flag(plan, "--tool-call-parser") == "llama3_json"
    assert "meta-llama/Llama-3.1-8B-Instruct is of Llama 3.1" in note(plan, "Tool calls")


def test_a_base_model_below_says_nothing_of_how_it_was_tuned(served):
    card = {"base_models": ("Qwen/Qwen3-8B-Base",)}
    plan = served("me/chatty", "qwen3", HYBRID, documents=card)
    assert flag(plan, "--tool-call-parser") == "hermes"


def test_the_template_wins_over_an_ancestor(served):
    card = {"base_models": ("meta-llama/Llama-3.1-8B",)}
    plan = served("me/agent-8b", "llama", HERMES, documents=card)
    assert flag(plan, "--tool-call-parser") == "hermes"
    assert "its chat template writes calls with <tool_call>" in note(plan, "Tool calls")


def test_a_model_that_never_ends_its_reasoning_gets_no_reasoning_parser(served):
    # The parser would take the whole answer for reasoning.
    plan = served("/models/qwen", "qwen3", HERMES)
    assert flag(plan, "--reasoning-parser") is None
    assert note(plan, "Reasoning") == (
        "Reasoning: none, because its chat template knows no reasoning."
    )


def test_a_release_without_the_parser_is_said_and_not_flagged(served):
    plan = served("zai-org/GLM-4.5-Air", "glm4_moe", GLM, engine_version="0.9.2")
    assert flag(plan, "--tool-call-parser") is None
    assert "vLLM 0.9.2 has no parser glm45" in note(plan, "Tool calls")
    assert plan.serving.tool_calls == "text"
    assert [w.code for w in plan.warnings if "tool" in w.code] == ["tool_calls_unparsed"]
    older = served("Qwen/Qwen3-8B", "qwen3", HYBRID, engine_version="0.8.5")
    assert "vLLM 0.8.5 has no parser qwen3" in note(older, "Reasoning")


def test_the_oldest_release_needs_a_switch_for_reasoning(served):
    plan = served("Qwen/QwQ-32B", "qwen2", THINKS, engine_version="0.8.5")
    assert "--enable-reasoning" in plan.engine.args
    newer = served("Qwen/QwQ-32B", "qwen2", THINKS, engine_version="0.9.1")
    assert "--enable-reasoning" not in newer.engine.args


def test_the_user_names_a_parser(served):
    plan = served("Qwen/Qwen3-8B", "qwen3", HYBRID, engine_args={"tool-call-parser": "qwen3_coder"})
    assert plan.engine.args.count("--tool-call-parser") == 1
    assert flag(plan, "--tool-call-parser") == "qwen3_coder"
    assert "--enable-auto-tool-choice" in plan.engine.args
    assert note(plan, "Tool calls") == "Tool calls: qwen3_coder, as asked."


@pytest.mark.parametrize(
    "given",
    [
        {"tool-call-parser": "none"},
        {"tool_call_parser": "none"},
        {"enable-auto-tool-choice": False},
    ],
)
def test_the_user_wants_no_tools(served, given):
    plan = served("Qwen/Qwen3-8B", "qwen3", HYBRID, engine_args=given)
    assert plan.verdict == "fits"
    assert "--tool-call-parser" not in plan.engine.args
    assert "--enable-auto-tool-choice" not in plan.engine.args
    assert plan.serving.tool_calls == "off"
    assert note(plan, "Tool calls") == "Tool calls: none, as asked."
    assert flag(plan, "--reasoning-parser") == "qwen3"


def test_the_user_wants_no_reasoning_parser(served):
    plan = served("Qwen/Qwen3-8B", "qwen3", HYBRID, engine_args={"reasoning-parser": "none"})
    assert "--reasoning-parser" not in plan.engine.args
    assert plan.serving.reasoning_parser is None


def test_a_parser_that_the_release_does_not_have_is_refused(served):
    plan = served("me/m", "llama", LLAMA, engine_args={"tool-call-parser": "hermez"})
    refused = [r for r in plan.reasons if r.code == "wrong_flag_value"]
    assert [r.message for r in refused] == ["vLLM 0.32.0 has no tool parser 'hermez'"]
    assert refused[0].fix == "did you mean hermes?"
    other = served("me/m", "llama", LLAMA, engine_args={"tool-call-parser": "qqq"}).reasons[0]
    assert "takes apertus, " in other.fix
    plugin = {"tool-call-parser": "mine", "tool-parser-plugin": "/mine.py"}
    assert served("me/m", "llama", LLAMA, engine_args=plugin).verdict == "fits"


def test_vllm_s_template_where_its_image_has_it(served):
    plan = served("deepseek-ai/DeepSeek-V3.1", "deepseek_v3", R1)
    assert flag(plan, "--chat-template") == FOLDER + "deepseekv31.jinja"
    assert note(plan, "The chat template is /vllm-workspace")


@pytest.mark.parametrize("settings", [{"target": "process"}, {"image": "me/vllm:1"}])
def test_vllm_s_template_is_named_where_it_is_not_there(served, settings):
    plan = served("deepseek-ai/DeepSeek-V3.1", "deepseek_v3", R1, **settings)
    assert flag(plan, "--chat-template") is None
    assert flag(plan, "--tool-call-parser") is None
    assert "--engine-arg chat_template=FILE" in note(plan, "Tool calls")


def test_the_user_s_template_is_trusted(served):
    plan = served(
        "microsoft/Phi-4-mini-instruct", "phi3", PHI, engine_args={"chat-template": "/t.jinja"}
    )
    assert flag(plan, "--tool-call-parser") == "phi4_mini_json"


def test_what_the_engine_needs_to_write_prompts_itself(served):
    plan = served("deepseek-ai/DeepSeek-V3.2", "deepseek_v32")
    assert flag(plan, "--tokenizer-mode") == "deepseek_v32"
    said = "model_type deepseek_v32 is of DeepSeek-V3.2"
    assert note(plan, "--tokenizer-mode") == f"--tokenizer-mode deepseek_v32, because {said}."
    own = served(
        "deepseek-ai/DeepSeek-V3.2", "deepseek_v32", engine_args={"tokenizer-mode": "auto"}
    )
    assert own.engine.args.count("--tokenizer-mode") == 1
    assert note(own, "--tokenizer-mode") is None


def test_mistral_s_reasoning_parser_needs_its_tokenizer(served):
    name = "mistralai/Magistral-Small-2509"
    template = MISTRAL + "[THINK]"
    assert flag(served(name, "mistral3", template), "--reasoning-parser") is None
    files = {"config.json": 1, "tekken.json": 1, "consolidated.safetensors": 1}
    config = {**CONFIG, "architectures": ["X"], "model_type": "mistral3"}
    facts = facts_from(Documents(source=name, local=False, config=config, files=files))
    plan = make_plan(ServiceSpec(model=name, gpu="h100"), facts, load_profile("h100"))
    assert flag(plan, "--reasoning-parser") == "mistral"
    assert flag(plan, "--tool-call-parser") == "mistral"


def test_default_sampling_is_said(served):
    generation = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "do_sample": True}
    documents = {"generation_config": generation}
    plan = served("Qwen/Qwen2.5-7B-Instruct", "qwen2", HERMES, documents=documents)
    assert plan.serving.sampling == {"temperature": 0.7, "top_p": 0.8, "top_k": 20}
    assert "temperature 0.7, top_p 0.8, top_k 20" in note(plan, "Where a request does not say")
    own = {"generation-config": "vllm"}
    plan = served("Qwen/Qwen2.5-7B-Instruct", "qwen2", HERMES, documents=documents, engine_args=own)
    assert plan.serving.sampling == {}


def test_sampling_that_the_family_wants_otherwise(served):
    plan = served(
        "XiaomiMiMo/MiMo-V2.5", "mimo", HERMES, documents={"generation_config": {"top_k": 7}}
    )
    assert flag(plan, "--generation-config") == "vllm"
    why = "because XiaomiMiMo/MiMo-V2.5 is of MiMo-V2.5."
    assert note(plan, "Where a request").endswith(f"not top_k 7 of generation_config.json, {why}")


def test_a_model_that_embeds_is_left_alone(served):
    plan = served("Qwen/Qwen3-Embedding-8B", "qwen3", HYBRID, engine_args={"runner": "pooling"})
    assert "--tool-call-parser" not in plan.engine.args
    assert note(plan, "Tool calls") is None


def test_every_parser_and_template_of_a_family_is_one_that_some_release_has():
    tool = {name for v in ("0.10.0", "0.32.0") for name in parsers.names("tool", v)}
    reasoning = {name for v in ("0.10.0", "0.32.0") for name in parsers.names("reasoning", v)}
    for family in families.every():
        assert set(family.tools) <= tool, family.title
        assert set(family.reasoning) <= reasoning, family.title
        assert family.names or family.types, family.title
        assert family.source or family.without, family.title
        if family.template not in (None, families.ENGINE):
            assert families.in_image(family.template, "0.32.0"), family.title
