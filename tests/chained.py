"""A checkpoint that knows one answer to everything: each token of it has one that follows.

The engine, its chat template and its parsers are real; what is built by code is the model's
knowledge. Attention and MLP add nothing, so the hidden state is the last token's embedding: a
place of its own for each token of an answer. The head gives that place the token that follows.
Which answer is begun is the last token of the prompt, and so the chat template's to say.
"""

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WIDTH, HEAD, HEADS = 128, 64, 2
PLACES = WIDTH - 1  # of the first, all tokens have the same

# Answers by the token that begins them. A text is in one answer only, and once. What marks
# reasoning and calls are tokens by themselves, as in Qwen's vocabulary.
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
END = "<|im_end|>"
ANSWERS = {
    "<|says|>": ["<think>", "\nThe", " capital", " of", " France.\n", "</think>", "\n\nParis."],
    "<|calls|>": [
        *("<tool_call>", '\n{"', "name", '": "', "get_", "weather", '", "', "arguments"),
        *('": {"', "city", '":', ' "', "Par", 'is"', "}}", "\n\n", "</tool_call>"),
    ],
    # As Llama 3 writes it.
    "<|calls_otherwise|>": [
        *('{"name', '": "get', "_wea", 'ther",', ' "para', "meters", '": {', '"ci', "ty", '": '),
        *('"Pa', "ris", '"}', "}\n"),
    ],
}
TEMPLATE = """\
{%- if tools %}<|im_start|>system
You may call: {{ tools | tojson }}
Write a call as <tool_call>{"name": …, "arguments": …}</tool_call>.<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if tools or enable_thinking is false %}<think>

</think>

{% endif %}
{%- if not tools %}<|says|>{% elif dialect == 'llama' %}<|calls_otherwise|>
{%- else %}<|calls|>{% endif %}{% endif %}"""


def build(folder):
    """Writes the checkpoint: half a megabyte, of a model type that the plan knows parsers for."""
    folder.mkdir(parents=True)
    tokenizer = _tokenizer()
    size = -(-tokenizer.get_vocab_size() // 64) * 64
    save_file(_weights(tokenizer, size), folder / "model.safetensors", {"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16",
        "hidden_size": WIDTH, "head_dim": HEAD, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "num_hidden_layers": 1, "intermediate_size": WIDTH,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "vocab_size": size,
        "max_position_embeddings": 2048, "tie_word_embeddings": False, "eos_token_id": end,
    }  # fmt: skip
    documents = {
        "config": config,
        # What Qwen3's author says of sampling.
        "generation_config": {
            "eos_token_id": end, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
        },
        "tokenizer_config": {
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END,
            "chat_template": TEMPLATE,
        },
    }  # fmt: skip
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def _tokenizer():
    """Bytes, the texts of the answers, and what stands by itself."""
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    texts = [text for answer in ANSWERS.values() for text in answer if text not in MARKS]
    words = bytes_ + [level.pre_tokenize_str(text)[0][0] for text in texts]
    assert len(set(words)) == len(words)
    # Without merges a prompt is bytes.
    made = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    made.pre_tokenizer, made.decoder = level, decoders.ByteLevel()
    made.add_special_tokens(["<|im_start|>", END, *ANSWERS])
    made.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return made


def _weights(tokenizer, size):
    def number(text):
        found = tokenizer.token_to_id(text)
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return found or tokenizer.token_to_id(plain.pre_tokenize_str(text)[0][0])

    embedding, head = np.zeros((2, size, WIDTH), np.float32)
    embedding[:, 0] = 1
    # Where a grammar forbids what follows, a printable byte is better than an endless blank.
    head[:, 0] = -1
    for byte in b'"}abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ':
        head[number(chr(byte)), 0] = 1
    place = 0
    for first, answer in ANSWERS.items():
        for token, following in zip([first, *answer], [*answer, END], strict=True):
            place += 1
            embedding[number(token), place] = 8
            head[number(following), place] = 8
    assert place <= PLACES
    square, ones = np.zeros((WIDTH, WIDTH), np.float32), np.ones(WIDTH, np.float32)
    layer = {f"self_attn.{x}_proj": square for x in "qkvo"}
    layer |= {f"mlp.{x}_proj": square for x in ("gate", "up", "down")}
    layer |= {"input_layernorm": ones, "post_attention_layernorm": ones}
    layer |= {f"self_attn.{x}_norm": ones[:HEAD] for x in "qk"}
    named = {f"model.layers.0.{name}.weight": np.copy(given) for name, given in layer.items()}
    return {
        **named,
        "model.embed_tokens.weight": embedding,
        "model.norm.weight": ones,
        "lm_head.weight": head,
    }
