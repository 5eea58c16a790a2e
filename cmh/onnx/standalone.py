"""Write a trained model for programs without this package: ONNX, what belongs to it, and an example.

image.onnx, text.onnx, text_network.onnx   its graphs (`cmh.onnx.graphs`)
config.json                                sizes of the images, order of the bits, names of the graphs
vocabulary.txt, labels.txt                 one per line, in order
tokenizer.json                             of the text network, where that is a file
README.md                                  an example in Python
"""

import json
import os
import shutil
from pathlib import Path

from cmh.model import Model
from cmh.networks import tokens
from cmh.onnx import graphs

_START = """import json
import re

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

config = json.load(open("config.json"))
graphs = {name: onnxruntime.InferenceSession(f"{name}.onnx") for name in config["graphs"]}


def run(name, **inputs):
    reads = [node.name for node in graphs[name].get_inputs()]
    return graphs[name].run(None, {key: inputs[key] for key in reads})[0]


def codes(u):
    return @CODES@


def image_codes(path):
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    for size in (config["stored_size"], config["image_size"]):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return codes(run("image", image=np.asarray(picture)[None]))


def text_codes(said):
"""
_WORDS = """    vocabulary = open("vocabulary.txt", encoding="utf-8").read().splitlines()
    numbers = [vocabulary.index(w) for w in re.findall(r"[^\\W_]+", said.lower()) if w in vocabulary]
"""
_BAG = """    bag = np.bincount(numbers, minlength=len(vocabulary)).clip(max=255).astype(np.uint8)[None]
"""
_SEQUENCE = """    words = np.zeros((1, config["length"]), np.int32)
    words[0, : len(numbers)] = np.array(numbers[: config["length"]], np.int32) + 1
"""
_TOKENIZER = f"""    tokenizer = Tokenizer.from_file("tokenizer.json")
    tokenizer.enable_truncation({tokens.READ})
    tokenizer.no_padding()
    token = np.array([tokenizer.encode(said).ids], np.int64)
"""
_CLIP = """    token = SimpleTokenizer()([said]).numpy()
"""
_FEATURES = """    features = run("text_network", token=token, there=token >= 0)
"""


def save(model: Model, folder: Path) -> None:
    """Write a model into a new folder, whole or not at all.

    Raises:
        ValueError: the folder is there already, or the model reads features that its dataset brought along.
    """
    if folder.exists():
        raise ValueError(f"{folder} is there already; give a new folder")
    draft = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        _write(model, draft)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(model: Model, folder: Path) -> None:
    facts, names = model.facts, graphs.names(model)
    for name in names:
        (folder / f"{name}.onnx").write_bytes(graphs.write(model, name))
    told = {key: getattr(facts, key) for key in ("method", "bits", "stored_size", "image_size", "length")}
    config = told | {"order": list(facts.order), "graphs": list(names)}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for name, lines in (("vocabulary", model.vocabulary), ("labels", model.labels)):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if model.text_network is not None and model.text_network.tokenizer is not None:
        (folder / "tokenizer.json").write_text(model.text_network.tokenizer, encoding="utf-8")
    (folder / "README.md").write_text(_readme(model), encoding="utf-8")


def _readme(model: Model) -> str:
    kind = "embeddings, float32" if model.real_valued else f"codes of {model.bits} bits, eight to a byte"
    words = (
        "Words are split here as this model does for text in Latin letters without accents.\n"
        if model.facts.text == "words" or model.facts.words
        else ""
    )
    return f"""# A model that encodes images and texts

Method {model.facts.method}; {kind}.
The networks are ONNX files: `pip install onnxruntime pillow numpy`{_packages(model)}.
{words}
```python
{example(model)}

print(text_codes("a dog in the snow"))
```

`image_codes("photo.jpg")` encodes a photo.
Codes are near in Hamming distance where image and text belong together.
"""


def example(model: Model) -> str:
    """Return Python code that encodes an image file and a text with the files in the working directory."""
    packed = 'np.packbits(u[:, config["order"]] >= 0, axis=1)'
    code = _START.replace("@CODES@", "u" if model.real_valued else packed)
    reads, facts = [], model.facts
    if model.text_network is not None:
        own = model.text_network.tokenizer is not None
        code += (_TOKENIZER if own else _CLIP) + _FEATURES
        tokenizer = "tokenizers import Tokenizer" if own else "open_clip.tokenizer import SimpleTokenizer"
        code = code.replace("ImageOps\n", f"ImageOps\nfrom {tokenizer}\n", 1)
        reads.append("features")
    if facts.length is not None:
        code += _WORDS + _SEQUENCE
        reads.append("words")
    elif model.text_network is None or facts.words:
        code += _WORDS + _BAG
        reads.append("bag")
    else:
        code = code.replace("import re\n", "")
    return code + f'    return codes(run("text", {", ".join(f"{name}={name}" for name in reads)}))\n'


def _packages(model: Model) -> str:
    if model.text_network is None:
        return ""
    return " and `tokenizers`" if model.text_network.tokenizer is not None else " and `open_clip_torch`"
