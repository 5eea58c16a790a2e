"""MiniLM against torch's own encoder layers, token by token; its files; what is refused.

Weights are random ones; the tokeniser has a dozen words.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from torch.nn import functional

from cmh.networks import minilm, text_encoders
from cmh.networks.minilm import MiniLMText

TEXTS = ["a red apple", "", "dog", "a dog in the snow " * 60, "a red apple", "Dog!"]


def tokenizer() -> str:
    """A publisher's tokeniser in small."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "apple", "dog", "in", "the", "snow", "##s"]
    built = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer()
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return str(built.to_str())


@pytest.fixture(scope="module")
def network() -> MiniLMText:
    torch.manual_seed(0)
    return MiniLMText(2, tokenizer()).eval()


def by_torch(network: MiniLMText, text: str) -> np.ndarray:
    """The same arithmetic by `nn.TransformerEncoderLayer`, of one text without padding."""
    state = network.network.state_dict()
    ids = torch.tensor(Tokenizer.from_str(network.tokenizer).encode(text).ids[: minilm.TOKENS])
    ids[-1] = 3  # a text that is cut still ends
    name = "embeddings.{}.weight".format
    x = state[name("word_embeddings")][ids] + state[name("position_embeddings")][: len(ids)]
    x = x + state[name("token_type_embeddings")][0]
    x = functional.layer_norm(x, (384,), state[name("LayerNorm")], state["embeddings.LayerNorm.bias"], 1e-12)
    for number in range(2):
        layer = nn.TransformerEncoderLayer(384, 12, 1536, 0.0, "gelu", 1e-12, batch_first=True).eval()
        at = f"encoder.layer.{number}."
        parts = [f"{at}attention.self.{part}" for part in ("query", "key", "value")]
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": torch.cat([state[f"{part}.weight"] for part in parts]),
                "self_attn.in_proj_bias": torch.cat([state[f"{part}.bias"] for part in parts]),
            }
            | {
                f"{ours}.{kind}": state[f"{at}{theirs}.{kind}"]
                for ours, theirs in (
                    ("self_attn.out_proj", "attention.output.dense"),
                    ("norm1", "attention.output.LayerNorm"),
                    ("linear1", "intermediate.dense"),
                    ("linear2", "output.dense"),
                    ("norm2", "output.LayerNorm"),
                )
                for kind in ("weight", "bias")
            }
        )
        with torch.inference_mode():
            x = layer(x[None])[0]
    return np.asarray(functional.normalize(x.mean(0), dim=0))


def test_features_are_those_of_torchs_layers(network: MiniLMText) -> None:
    """Of short, empty and long texts; padding, order and repetition do not show."""
    found = network.features(TEXTS)
    assert found.dtype == np.float32
    for text, feature in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(feature, by_torch(network, text), atol=2e-6)
    np.testing.assert_allclose(network.features(TEXTS[::-1]), found[::-1], atol=2e-6)
    np.testing.assert_allclose(network.features(["x y z"] * 200 + ["dog"])[-1], found[2], atol=2e-6)
    assert network.features([]).shape == (0, minilm.FEATURES)


def test_files_load(network: MiniLMText, tmp_path: Path) -> None:
    """Weights under the publisher's names, with the parts that are not needed, and the tokeniser beside."""
    torch.manual_seed(1)
    whole = MiniLMText(6, tokenizer()).eval()
    more = {"pooler.dense.weight": torch.ones(2), "embeddings.position_ids": torch.arange(4)}
    save_file(whole.network.state_dict() | more, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"tokenizer\.json is missing; put the publisher's"):
        text_encoders.load("minilm_l6_v2", tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text(tokenizer())
    loaded = text_encoders.load("minilm_l6_v2", tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.features(TEXTS), whole.features(TEXTS))
    with pytest.raises(ValueError, match="weights of the text network lack encoder"):
        text_encoders.load("multilingual_minilm_l12_v2", tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokeniser: .*; fetch it again"):
        text_encoders.load("minilm_l6_v2", tmp_path / "model.safetensors")


def test_every_network_is_described() -> None:
    """An unknown name is refused with those there are; words stand beside features at their size."""
    with pytest.raises(
        ValueError, match="text network 'bert' unknown; available: clip_vit_b32, minilm_l6_v2"
    ):
        text_encoders.spec("bert")
    both = text_encoders.with_words(np.full((2, 4), 0.5, np.float32), np.array([[1, 0], [0, 2]], np.uint8))
    assert both.tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 2]]
