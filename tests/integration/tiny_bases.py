"""Tiny models with random weights, of the architectures that the recipes are for, each with a tokenizer and a chat template of its family's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

END = {"llama-3.1-8b": "<|eot_id|>", "qwen2.5-7b": "<|im_end|>", "mistral-7b": "</s>", "gemma-2-9b": "<end_of_turn>"}
TEMPLATES = {
    "llama-3.1-8b": "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "qwen2.5-7b": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "mistral-7b": "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}</s>{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}",
    "gemma-2-9b": "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
}
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


def make_base(name: str, folder: Path, *, template: bool = True) -> Path:
    """Writes the model to `folder`."""
    tokenizer = _tokenizer(END[name])
    if template:
        tokenizer.chat_template = TEMPLATES[name]
    ids: dict[str, Any] = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    model = {
        "llama-3.1-8b": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, **ids)),
        "qwen2.5-7b": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, **ids)),
        "mistral-7b": lambda: MistralForCausalLM(MistralConfig(**SHAPE, **ids)),
        "gemma-2-9b": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, **ids, head_dim=8)),
    }[name]()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(end: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["my wound hurts and it is red"], trainers.BpeTrainer(vocab_size=400, special_tokens=[end, "<pad>"], initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token="<pad>", clean_up_tokenization_spaces=False)
