"""A trained model on ONNX Runtime: the same codes as `cmh.model.Model`, up to float rounding, without torch.

    model = exported.load(Path("model"), threads=2, cache=Path("graphs"))
    model.encode_texts(["a dog in the snow"])

`cmh.onnx.graphs` writes a model's graphs, from the model's own weights.  A cache keeps them, and the relaxed
codes of the vocabulary, by the SHA-256 of the model's files, of this package's sources and of what is kept,
so that nothing of another revision of a method or network is used; each is read only when first needed.

Shape suffixes: B = images or texts, H, W = image, D = text dimensions, T = tokens or words, F = features,
K = bits.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmh.hashing import model_facts
from cmh.hashing.encoder import Encoder
from cmh.hashing.model_facts import Facts
from cmh.networks import runtime, tokens
from cmh.networks.runtime import Session

if TYPE_CHECKING:
    from cmh.model import Model

log = logging.getLogger(__name__)

BATCH = 16  # images or texts of a forward pass: as fast as more, with less memory
KEPT = 32  # files in a cache; the oldest ones beyond are deleted
_SOURCES = Path(__file__).parents[1]  # of this package


class ExportedModel(Encoder):
    """A trained model on ONNX Runtime; calls from several threads at once are fine."""

    def __init__(
        self,
        facts: Facts,
        vocabulary: tuple[str, ...],
        labels: tuple[str, ...],
        graph: Callable[[str], bytes],
        kept: Callable[[str, Callable[[], bytes]], bytes],
        tokenize: Callable[[], tokens.Tokenize],
        threads: int,
    ) -> None:
        """Keep what the model is made of.

        Args:
            facts: what is known of the model.
            vocabulary: the words of the vocabulary.
            labels: the labels.
            graph: returns the contents of one of its ONNX files.
            kept: returns what there is under a name, else what is then computed.
            tokenize: returns the tokeniser of its text network.
            threads: CPU threads of each forward pass.
        """
        self.facts, self.vocabulary, self.labels = facts, vocabulary, labels
        self._graph, self._kept, self._tokenizer, self._threads = graph, kept, tokenize, threads
        self._sessions: dict[str, Session] = {}
        self._preparing = threading.RLock()

    @property
    def real_valued(self) -> bool:
        """Whether the model gives embeddings, not codes."""
        return self._session("text").outputs == ["embedding"]

    def image_outputs(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return relaxed codes or embeddings (B, K) of images of the backbone's size."""
        return self._batched("image", image=image_BHWC)

    def text_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features (B, F) of texts by the text network."""
        with self._preparing:
            compute = self._text_features
        return compute(texts)

    def text_outputs(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return relaxed codes or embeddings (B, K) of texts; `inputs` as of `Encoder.text_outputs`."""
        return self._batched("text", **inputs)

    def relax_vocabulary(self) -> NDArray[np.float32]:
        """Return the relaxed codes of the vocabulary, as `Encoder`; a text network takes seconds for them."""

        def computed() -> bytes:
            file = io.BytesIO()
            np.save(file, super(ExportedModel, self).relax_vocabulary())
            return file.getvalue()

        return np.asarray(np.load(io.BytesIO(self._kept("vocabulary.npy", computed)), allow_pickle=False))

    def _batched(self, name: str, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        session = self._session(name)
        count = len(next(iter(inputs.values())))
        u_BK = np.empty((count, self.bits), np.float32)
        for start in range(0, count, BATCH):
            part = slice(start, start + BATCH)
            u_BK[part] = session(**{name: array[part] for name, array in inputs.items()})[0]
        return u_BK

    @cached_property
    def _text_features(self) -> tokens.Features:
        return tokens.by_session(self._tokenizer(), self._session("text_network"), BATCH)

    def _session(self, name: str) -> Session:
        """Return a graph ready to run, which one thread prepares: torch exports one at a time."""
        with self._preparing:
            if name not in self._sessions:
                self._sessions[name] = Session(self._graph(name), self._threads)
            return self._sessions[name]


def load(folder: Path, *, threads: int, cache: Path | None = None) -> ExportedModel:
    """Return the model that `cmh.model.save` wrote, on ONNX Runtime.

    torch is imported only where a graph is not in the cache.

    Args:
        folder: the model's files.
        threads: CPU threads of each forward pass.
        cache: a folder of the user's own that keeps graphs; None: torch writes them each time.

    Raises:
        ValueError: the model's files are damaged, do not match each other, or belong to another revision.
        OSError: a file is missing.
    """
    try:
        facts, vocabulary, labels = model_facts.read(folder)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if str(error).startswith(str(folder)):
            raise
        raise ValueError(
            f"{folder} holds no whole model: {type(error).__name__} {str(error)[:300]}; fetch or train it "
            "again"
        ) from error
    source = _Source(folder, cache)
    return ExportedModel(
        facts,
        vocabulary,
        labels,
        source.graph,
        source.kept,
        lambda: _tokenizer(folder, facts),
        max(1, threads),
    )


def of(model: Model, *, threads: int) -> ExportedModel:
    """Return a model on the CPU, on ONNX Runtime."""
    from cmh.onnx import graphs

    network = model.text_network
    return ExportedModel(
        model.facts, model.vocabulary, model.labels, lambda name: graphs.write(model, name),
        lambda _, computed: computed(),
        lambda: network.tokenize if network is not None else tokens.clip(), threads,
    )  # fmt: skip


class _Source:
    """What a model in a folder gives, from a cache or made now: graphs, by torch, and codes of its words."""

    def __init__(self, folder: Path, cache: Path | None) -> None:
        self._folder, self._cache = folder, cache

    def graph(self, name: str) -> bytes:
        """Return the contents of an ONNX file."""
        return self.kept(f"{name}.onnx", lambda: self._write(name))

    def kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return what the cache has under a name, else what is made and kept now."""
        if self._cache is None:
            return make()
        stem, suffix = name.split(".")
        known = f"{self._identity[:32]}-{stem}"
        for file in self._cache.glob(f"{known}-*.{suffix}"):
            with suppress(FileNotFoundError):  # another process deletes old ones
                contents = file.read_bytes()
                if file.stem == f"{known}-{_digest(contents)}":  # else it is damaged
                    return contents
        contents = make()
        _keep(self._cache, f"{known}-{_digest(contents)}.{suffix}", contents)
        return contents

    @cached_property
    def _identity(self) -> str:
        """The SHA-256 of all files of the model, and of what writes and reads graphs."""
        digest = hashlib.sha256(str(runtime.versions()).encode())
        for path in sorted(_SOURCES.rglob("*.py")):  # 8 ms
            digest.update(f"{path.relative_to(_SOURCES)}\n".encode() + path.read_bytes())
        for path in sorted(path for path in self._folder.iterdir() if path.is_file()):
            with open(path, "rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()

    def _write(self, name: str) -> bytes:
        from cmh.onnx import graphs

        return graphs.write(self._model, name)

    @cached_property
    def _model(self) -> Model:
        from cmh import model

        return model.load(self._folder)


def _keep(cache: Path, name: str, contents: bytes) -> None:
    """Write a file whole or not at all, and delete the oldest ones; a folder that takes none is no error."""
    draft = cache / f".{name}-{uuid.uuid4().hex}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(contents)
            draft.replace(cache / name)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be written, so torch prepares the model each time: %s", cache, error)
        return
    with suppress(FileNotFoundError):  # another process deletes the same ones
        files = sorted(
            [*cache.glob("*.onnx"), *cache.glob("*.npy")], key=lambda file: file.stat().st_mtime, reverse=True
        )
        for file in files[KEPT:]:
            file.unlink(missing_ok=True)


def _digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()[:32]


def _tokenizer(folder: Path, facts: Facts) -> tokens.Tokenize:
    file = folder / "tokenizer.json"
    if file.is_file():
        return tokens.from_json(file.read_text(encoding="utf-8"))[0]
    return tokens.clip()
