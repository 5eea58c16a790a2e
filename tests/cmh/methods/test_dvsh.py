"""DVSH's networks and loss terms against slow loops written from their formulas, in float64, to 1e-10."""

import pytest
import torch
from torch import Tensor

from cmh import methods
from cmh.data.batches import Batch
from cmh.hashing.code_memory import CodeMemory
from cmh.methods.dvsh import DVSH, cosine_hinge
from cmh.networks.text_networks import WordSequence
from tests.cmh.methods.pairs import B, D, K, batch, build, cosine, memory, relevant

SETTINGS = {
    "hidden": 5,
    "margin": 0.3,
    "bit_margin": 0.4,
    "lambda_": 0.7,
    "beta": 2.0,
    "relevant_weight": 3.0,
}


def sentences(filled: CodeMemory | None = None) -> Batch:
    """A batch whose texts have 1, 2, ... words of the vocabulary, and one of no known word."""
    tokens_BT = torch.randint(1, D + 1, (B, B + 2), dtype=torch.int32)
    for row, length in enumerate([*range(1, B), 0]):
        tokens_BT[row, length:] = 0
    return batch(filled)._replace(text_BD=tokens_BT)


def states(words: WordSequence, tokens_T: Tensor) -> list[Tensor]:
    """What the LSTM knows after each word of one text, by the gates' equations; no word is an empty one."""
    lstm, hidden = words.lstm, words.lstm.hidden_size
    h_H = c_H = torch.zeros(hidden, dtype=torch.float64)
    known = []
    for number in [n for n in tokens_T.tolist() if n] or [0]:
        x_H = words.embedding.weight[number]
        gates = lstm.weight_ih_l0 @ x_H + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h_H + lstm.bias_hh_l0
        i, f, g, o = gates.split(hidden)
        c_H = f.sigmoid() * c_H + i.sigmoid() * g.tanh()
        h_H = o.sigmoid() * c_H.tanh()
        known.append(h_H)
    return known


def text_codes(method: DVSH, tokens_BT: Tensor) -> list[Tensor]:
    tower = method.text_tower
    return [
        torch.stack(
            [(tower.code.weight @ r + tower.code.bias).tanh() for r in states(tower.words, text)]
        ).mean(0)
        for text in tokens_BT
    ]


def joint_codes(method: DVSH, items: Batch) -> list[Tensor]:
    fusion = method.fusion
    linear = fusion.image[1]
    codes = []
    for row, text in enumerate(items.text_BD):
        image_K = linear.weight @ items.image[-1][row].mean((1, 2)) + linear.bias
        embeddings = [(image_K + fusion.code.weight @ r).tanh() for r in states(fusion.words, text)]
        codes.append(torch.stack(embeddings).mean(0))
    return codes


def test_codes_equal_the_loops() -> None:
    """Joint codes and texts', word by word; an image's is linear and tanh of the last stage's average."""
    method, items = build("dvsh", **SETTINGS), sentences()
    linear = method.image_tower[1]
    image = [(linear.weight @ m.mean((1, 2)) + linear.bias).tanh() for m in items.image[-1]]
    expected = torch.stack(
        [torch.stack(c) for c in (joint_codes(method, items), image, text_codes(method, items.text_BD))]
    )
    found = method.codes("pairs", items, memory())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(method.encode_image(items.image), expected[1], rtol=0, atol=1e-10)
    torch.testing.assert_close(method.encode_text(items.text_BD), expected[2], rtol=0, atol=1e-10)


def test_terms_equal_the_loops() -> None:
    """A hinge for every pair of joint codes and for every bit, and squared distances of the towers' codes."""
    method, filled = build("dvsh", **SETTINGS), memory()
    items = sentences(filled)
    terms = method("pairs", items, filled)
    h, u, v = method.codes("pairs", items, filled)
    expected = dict.fromkeys(["cosine", "bits", "image", "text"], 0.0)
    for i in range(B):
        for j in range(B):
            similar = relevant(items.labels_BL[i], items.labels_BL[j])
            hinge = max(0.0, 0.3 - (1 if similar else -1) * cosine(h[i], h[j]))
            expected["cosine"] += (3.0 if similar else 1.0) * hinge / B**2
        for k in range(K):
            expected["bits"] += 0.7 * max(0.0, 0.4 - abs(h[i, k].item())) / (B * K)
            expected["image"] += 2.0 * (h[i, k] - u[i, k]).item() ** 2 / (B * K)
            expected["text"] += 2.0 * (h[i, k] - v[i, k]).item() ** 2 / (B * K)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(filled.image_NK[items.index_B], u.detach(), rtol=0, atol=0)
    torch.testing.assert_close(filled.text_NK[items.index_B], v.detach(), rtol=0, atol=0)


def test_the_order_of_words_matters_and_what_fills_up_does_not() -> None:
    """Words the other way round give another code; more zeros behind, or longer texts beside them, do not."""
    method = build("dvsh", **SETTINGS)
    code_K = method.encode_text(torch.tensor([[3, 8, 5, 0]], dtype=torch.int32))[0]
    turned = method.encode_text(torch.tensor([[5, 8, 3, 0]], dtype=torch.int32))[0]
    among = method.encode_text(torch.tensor([[3, 8, 5, 0, 0, 0], [1, 2, 3, 4, 5, 0]], dtype=torch.int32))[0]
    assert not torch.allclose(code_K, turned, atol=1e-6)
    torch.testing.assert_close(code_K, among, rtol=0, atol=1e-12)


def test_pairs_beyond_the_margin_do_not_count() -> None:
    """Equal codes of relevant items and opposite ones of others are free; orthogonal ones cost the margin."""
    h_BK = torch.eye(2, 4, dtype=torch.float64)
    s_BB = torch.eye(2, dtype=torch.float64)
    assert cosine_hinge(h_BK, s_BB, margin=0.5).item() == pytest.approx(2 * 0.5 / 4)
    assert cosine_hinge(torch.stack([h_BK[0], -h_BK[0]]), s_BB, margin=0.5).item() == 0


@pytest.mark.parametrize(
    ("field", "given", "allowed"),
    [
        ("hidden", 0, "be positive"),
        ("relevant_weight", 0, "be positive"),
        ("bit_margin", -1, "not be negative"),
    ],
)
def test_settings_that_cannot_work_are_refused(field: str, given: int, allowed: str) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=f"{field} must {allowed}"):
        methods.config("dvsh", **{field: given})
