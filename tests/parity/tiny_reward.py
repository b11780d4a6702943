"""A tiny random VEFX-Reward: the published folder's files and keys, a byte-level vocabulary, a question in words of our own."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from v2v.evaluation.judge.programs.vefx_reward import ADDED_TOKENS

CHAT = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>", "<|image_pad|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION = (
    'Grade this edit: "{instruction}".\nDone <|IF_reward|>\nClean <|RQ_reward|>\nNothing else <|EE_reward|>\n'
)


def write_folder(folder: Path) -> Path:
    """Write the model, its tokenizer and configurations, and question.txt."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: k for k, letter in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, chat_template=TEMPLATE)
    tokenizer.add_special_tokens({"extra_special_tokens": [*CHAT, *ADDED_TOKENS]})
    tokenizer.pad_token = "<|im_end|>"
    tokenizer.save_pretrained(folder)
    token = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 16, "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True,
            }, "pad_token_id": None,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 40, "num_heads": 2, "out_hidden_size": 32,
            "deepstack_visual_indexes": [0], "num_position_embeddings": 16,
        },
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"), vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"), tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(3)
    model = Qwen3VLForConditionalGeneration(config)
    model.rm_head = torch.nn.Linear(32, 3, bias=False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    model.save_pretrained(folder)
    (folder / "vefx_config.json").write_text(
        json.dumps({"num_classes": 4, "output_dim": 3, "use_ordinal": True, "reward_token": "special"})
    )
    # Small frames: 32 * 32 * 48 pixels of a clip at most.
    settings = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}  # fmt: skip
    sizes = {"shortest_edge": 4096, "longest_edge": 32 * 32 * 48}
    processor = {"processor_class": "Qwen3VLProcessor", **settings, "size": sizes}
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps({"video_processor_type": "Qwen3VLVideoProcessor", **processor})
    )
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Qwen2VLImageProcessorFast", **processor})
    )
    (folder / "question.txt").write_text(QUESTION)
    return folder
