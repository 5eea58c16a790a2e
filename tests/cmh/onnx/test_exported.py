"""A model on ONNX Runtime against the same model on torch: codes, the cache, threads, and use elsewhere."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cmh import methods, model
from cmh.data.images import read_image
from cmh.networks import runtime
from cmh.networks.minilm import MiniLMText
from cmh.onnx import exported, standalone
from tests.cmh.methods import test_contract as contract
from tests.cmh.networks.test_minilm import tokenizer
from tests.cmh.test_model import SETTINGS, SIZE, WORDS, _images, _model

TEXTS = ["word3 word4", "Word7, word59! word7 word1", "nothing known", ""]


def sentences(*, words: bool) -> model.Model:
    """A model whose texts are read by a text network, beside the words of the vocabulary if asked for."""
    made = _model(frozen=True, name="ucch")
    torch.manual_seed(1)
    network = MiniLMText(2, tokenizer()).eval()
    dim = network.width + len(WORDS) * words
    method = model.build("ucch", SETTINGS, made.backbone, frozen=True, text_dim=dim, labels=2)
    facts = dataclasses.replace(
        made.facts, text="minilm_l6_v2", words=words, text_dim=dim, settings=dict(made.facts.settings)
    )
    return dataclasses.replace(made, method=method.eval(), facts=facts, text_network=network)


KINDS = {
    "words over frozen features": lambda: _model(frozen=True),
    "words, trained end to end": lambda: _model(frozen=False),
    "words in their order": lambda: _model(frozen=True, name="dvsh", length=3),
    "a text network": lambda: sentences(words=False),
    "a text network and words": lambda: sentences(words=True),
}


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest) -> model.Model:
    return KINDS[request.param]()


def test_codes_are_torchs(made: model.Model) -> None:
    """Relaxed codes to 1e-4, of more items than a batch and of one, images of any size."""
    on_runtime = exported.of(made, threads=1)
    images, texts = _images(20, side=40), (TEXTS * 5)[:18]
    for count in (20, 1):
        resized = made.resized(images[:count])
        found, expected = on_runtime.image_outputs(resized), made.image_outputs(resized)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert np.array_equal(on_runtime.encode_images(images), made.encode_images(images))
    assert np.array_equal(on_runtime.encode_texts(texts), made.encode_texts(texts))
    assert np.array_equal(on_runtime.encode_texts(texts[:1]), made.encode_texts(texts[:1]))
    assert on_runtime.encode_texts([]).shape == (0, 2)


class Side(nn.Module):
    def __init__(self, method: nn.Module, side: str) -> None:
        super().__init__()
        self.method, self.side = method, side

    def forward(self, *read: torch.Tensor) -> torch.Tensor:
        return self.method.encode_image(read) if self.side == "image" else self.method.encode_text(read[0])


@pytest.mark.parametrize("name", methods.available())
def test_every_methods_towers_can_be_exported(name: str) -> None:
    """Relaxed codes to 1e-4 of torch's, of sixteen items, after an export with three."""
    method = contract.build(name).eval()
    given = contract.batch("both", method)
    for side in ("image", "text"):
        read = given.image if side == "image" else (given.text_BD,)
        inputs = {f"input{place}": values for place, values in enumerate(read)}
        tower = Side(method, side)
        session = runtime.session(tower, {key: value[:3] for key, value in inputs.items()}, threads=1)
        with torch.inference_mode():
            expected = tower(*read).numpy()
        found = session(**{key: value.numpy() for key, value in inputs.items()})[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


_SEARCH = """
import sys
from pathlib import Path
from cmh.onnx import exported
model = exported.load(Path(sys.argv[1]), threads=1, cache=Path(sys.argv[2]))
print(model.encode_texts(["word3 word4"]).tolist())
print(sorted({"torch", "torchvision", "sklearn", "scipy"} & set(sys.modules)))
"""


def test_what_is_in_the_cache_needs_no_torch(tmp_path: Path) -> None:
    """A process of its own gives the same code, from a graph that is not written again, of a run's model."""
    trained, cache = _model(frozen=True), tmp_path / "cache"
    (tmp_path / "model").mkdir()
    model.save(trained, tmp_path / "model")
    (tmp_path / "model/logs").mkdir()  # as a run writes it
    expected = trained.encode_texts(["word3 word4"]).tolist()
    here = exported.load(tmp_path / "model", threads=1, cache=cache)
    assert here.encode_texts(["word3 word4"]).tolist() == expected
    command = [sys.executable, "-c", _SEARCH, str(tmp_path / "model"), str(cache)]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert there == [str(expected), "[]"]


def test_a_damaged_graph_or_another_model_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    """A cut file is written anew; a changed file of the model has a graph of its own."""
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    model.save(_model(frozen=True, name="ucch"), folder)
    first = exported.load(folder, threads=1, cache=cache).encode_texts(TEXTS)
    (graph,) = cache.glob("*.onnx")
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-100])
    assert np.array_equal(exported.load(folder, threads=1, cache=cache).encode_texts(TEXTS), first)
    assert graph.read_bytes() == whole
    (folder / "labels.txt").write_text("blue\nred\n")
    exported.load(folder, threads=1, cache=cache).encode_texts(TEXTS)
    assert len(list(cache.iterdir())) == 2


def test_the_vocabulary_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In portions, the same as torch's; then it is in the cache, and no graph is read for it."""
    monkeypatch.setattr("cmh.hashing.encoder._WORDS", 3)
    folder, cache, trained = tmp_path / "model", tmp_path / "cache", _model(frozen=True)
    folder.mkdir()
    model.save(trained, folder)
    first = exported.load(folder, threads=1, cache=cache).relax_vocabulary()
    np.testing.assert_allclose(first, trained.relax_vocabulary(), atol=1e-5)
    assert first.shape == (len(trained.vocabulary), trained.bits)
    for graph in cache.glob("*.onnx"):
        graph.unlink()
    again = exported.load(folder, threads=1, cache=cache)
    assert np.array_equal(again.relax_vocabulary(), first)
    assert not list(cache.glob("*.onnx"))


def test_graphs_of_other_sources_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of another revision is refused, though a graph that an earlier one wrote is in the cache."""
    folder, cache, sources = tmp_path / "model", tmp_path / "cache", tmp_path / "cmh"
    folder.mkdir()
    model.save(_model(frozen=True, name="ucch"), folder)
    exported.load(folder, threads=1, cache=cache).encode_texts(TEXTS)
    shutil.copytree(Path(exported.__file__).parents[1], sources)
    monkeypatch.setattr(exported, "_SOURCES", sources)
    cls = methods.load("ucch")
    monkeypatch.setattr(cls, "REVISION", cls.REVISION + 1)
    exported.load(folder, threads=1, cache=cache).encode_texts(TEXTS)  # the same sources elsewhere
    with open(sources / "methods" / "ucch.py", "a") as file:
        file.write("# as if it had a revision more\n")
    with pytest.raises(ValueError, match=f"this is revision {cls.REVISION}; train it again"):
        exported.load(folder, threads=1, cache=cache).encode_texts(TEXTS)


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Codes are the same."""
    trained = _model(frozen=True)
    model.save(trained, tmp_path)
    (tmp_path / "file").touch()
    here = exported.load(tmp_path, threads=1, cache=tmp_path / "file")
    assert np.array_equal(here.encode_texts(TEXTS), trained.encode_texts(TEXTS))
    assert "cannot be written, so torch prepares the model each time" in caplog.text


def test_threads_share_one_preparation(tmp_path: Path) -> None:
    """Eight that encode at once, images and texts, write each graph once."""
    trained, written = _model(frozen=True), []
    model.save(trained, tmp_path)
    here = exported.load(tmp_path, threads=1)
    graph = here._graph
    here._graph = lambda name: (written.append(name), time.sleep(0.1), graph(name))[2]
    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(lambda _: here.encode_images(_images(1, side=40)), range(8)))
    assert sorted(written) == ["image", "text"]
    assert all(np.array_equal(code, codes[0]) for code in codes)


def test_folders_beside_a_models_files_do_not_matter(tmp_path: Path) -> None:
    """Such as `logs`, which training leaves."""
    (tmp_path / "model" / "logs").mkdir(parents=True)
    model.save(_model(frozen=True), tmp_path / "model")
    on_runtime = exported.load(tmp_path / "model", threads=1, cache=tmp_path / "graphs")
    assert on_runtime.encode_texts(TEXTS[:1]).shape == (1, 2)


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    """Facts that are no JSON, or whose order is no permutation, before any graph is written."""
    model.save(_model(frozen=True, name="ucch"), tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    for text in ("{", "[]", json.dumps(facts | {"order": [0, 0]})):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match="holds no whole model"):
            exported.load(tmp_path, threads=1)


def test_the_readmes_example_encodes_without_this_package(made: model.Model, tmp_path: Path) -> None:
    """In a process that cannot import cmh: codes of a turned, partly clear photo and of a text."""
    folder = tmp_path / "model"
    standalone.save(made, folder)
    picture = Image.fromarray(_images(1, side=SIZE + 9)[0][:, : SIZE + 3])
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    turned = Image.Exif()
    turned[0x0112] = 6  # as cameras note that they were held upright
    picture.save(tmp_path / "photo.png", exif=turned)
    pixels = read_image(tmp_path / "photo.png", made.facts.stored_size)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    photo = str(tmp_path / "photo.png")
    code += f"print(image_codes({photo!r}).tolist(), text_codes('A red word7').tolist())\n"
    code = f"import sys\nsys.modules['cmh'] = None\n{code}"  # no `import cmh`
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    called = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert called.returncode == 0, called.stderr
    expected = (made.encode_images([pixels]).tolist(), made.encode_texts(["A red word7"]).tolist())
    assert called.stdout.splitlines()[-1] == f"{expected[0]} {expected[1]}"
    with pytest.raises(ValueError, match="is there already"):
        standalone.save(made, folder)
