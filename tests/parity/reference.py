"""The real packages' answers to the questions of tiny.py; needs the extra [parity] (torch, diffusers, transformers)."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import UMT5EncoderModel

from tests.parity import strings

torch.set_num_threads(1)


def strict(cls, folder: Path):
    """The model in float32, refusing a folder that doesn't name every one of its tensors exactly."""
    model, info = cls.from_pretrained(folder, torch_dtype=torch.float32, output_loading_info=True)
    tied = {"encoder.embed_tokens.weight"}
    wrong = {k: set(v) - tied for k, v in info.items() if v and k != "error_msgs"}
    assert not any(wrong.values()), wrong
    return model.eval()


@torch.no_grad()
def velocity(folder: Path, z, tau, text, first_clean: bool = False) -> np.ndarray:
    model = strict(WanTransformer3DModel, folder / "transformer")
    b, t, y, x, _ = z.shape
    time = torch.from_numpy(tau * np.float32(1000))
    if first_clean:
        _, py, px = model.config.patch_size
        mask = torch.ones(t, y // py, x // px)
        mask[0] = 0
        time = time[:, None] * mask.flatten()[None]
    out = model(channels_first(z), time, torch.from_numpy(text), return_dict=False)[0]
    return channels_last(out)


@torch.no_grad()
def encode(folder: Path, video: np.ndarray) -> np.ndarray:
    vae = strict(AutoencoderKLWan, folder / "vae")
    mode = vae.encode(channels_first(video)).latent_dist.mode()
    return (channels_last(mode) - np.float32(vae.config.latents_mean)) / np.float32(vae.config.latents_std)


@torch.no_grad()
def decode(folder: Path, z: np.ndarray) -> np.ndarray:
    vae = strict(AutoencoderKLWan, folder / "vae")
    z = z * np.float32(vae.config.latents_std) + np.float32(vae.config.latents_mean)
    return channels_last(vae.decode(channels_first(z), return_dict=False)[0])


@torch.no_grad()
def embed(folder: Path, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    model = strict(UMT5EncoderModel, folder / "text_encoder")
    mask = torch.from_numpy(np.arange(ids.shape[1])[None] < lengths[:, None])
    out = model(torch.from_numpy(ids).long(), attention_mask=mask.long()).last_hidden_state
    return (out * mask[..., None]).numpy()


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def channels_last(x: torch.Tensor) -> np.ndarray:
    return np.moveaxis(x.numpy(), 1, -1)


def tokenizer(folder: Path, rule: str):
    """A sentencepiece vocabulary trained on our strings, as transformers loads it; leaves its tokenizer.json in `folder`."""
    import sentencepiece
    from transformers import AutoTokenizer

    (folder / "corpus.txt").write_text("\n".join(strings.CORPUS * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "spiece"), vocab_size=400, character_coverage=0.98,
        normalization_rule_name=rule, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 0}')
    loaded = AutoTokenizer.from_pretrained(folder)
    loaded.save_pretrained(folder)
    return loaded


def ids(loaded, texts, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask as the published pipelines ask for them."""
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    out = loaded(
        [prompt_clean(s) for s in texts], padding="max_length", max_length=length, truncation=True, add_special_tokens=True,
        return_attention_mask=True, return_tensors="np",
    )  # fmt: skip
    return out.input_ids, out.attention_mask
