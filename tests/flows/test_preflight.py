"""What is refused before any work: each case once failed only after images or features had been made."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from flows import preflight
from flows.experiment import BackboneSettings, Experiment, TextSettings, TrainingSettings
from flows.resources import Resources
from flows.run import read_entry, resolve
from infra import ray_cluster
from tests.flows import feature_pairs

CLIP = TextSettings(name="clip_vit_b32", weights="/no/such.safetensors")


@pytest.mark.parametrize(
    ("settings", "resources", "message"),
    [
        (
            {"training": TrainingSettings(prefixes={"128": 1.0})},
            {},
            "a prefix must have 1 to 63 of 64 bits, got 128",
        ),
        (
            {"method": "cca", "training": TrainingSettings(prefixes={"16": 1.0})},
            {},
            "no loss of its codes alone",
        ),
        ({"backbone": BackboneSettings(weights="none")}, {}, "random weights"),
        ({"backbone": BackboneSettings(weights="/no/such.pth")}, {}, "/no/such.pth"),
        ({"method": "cca", "backbone": BackboneSettings(frozen=False)}, {}, "leave out --backbone.no-frozen"),
        ({"training": TrainingSettings(precision="bfloat16")}, {}, "bfloat16 needs a GPU"),
        ({}, {"workers": 3}, "a batch of 64 cannot be split evenly over 3 workers; use 63"),
        ({"dataset": "wiki", "method": "cca", "limit": 100}, {}, "taken whole; leave out --limit"),
        (
            {"dataset": "wiki", "method": "cca", "text": CLIP},
            {},
            "features of its texts; leave out --text.name",
        ),
        ({"method": "dvsh", "text": CLIP}, {}, "dvsh reads words in their order; leave out --text.name"),
        ({"text": CLIP}, {}, "/no/such.safetensors"),
    ],
)
def test_what_cannot_work_is_refused(
    settings: dict[str, Any], resources: dict[str, Any], message: str
) -> None:
    """Without fetching or decoding anything, and with what to do."""
    with pytest.raises((ValueError, OSError), match=message):
        preflight.check(resolve(Experiment(**settings)), Resources(**resources))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("cca", "and 16 bits need at least 16; give more items, or lower --bits$"),
        ("joint", "16 bits in batches of 64 need at least 64; .* lower --bits and --training.batch-size$"),
    ],
)
def test_too_few_items_are_refused_by_what_the_method_has(tmp_path: Path, method: str, message: str) -> None:
    """A method that learns from all items at once has no batches."""
    table = tmp_path / "items.csv"
    table.write_text("image,text\n" + "".join(f"{number}.jpg,red\n" for number in range(5)))
    run = resolve(Experiment(images=tmp_path, items=table, method=method, bits=16))
    with pytest.raises(ValueError, match=f"folder has at most 5 training items, .*{message}"):
        preflight.check_settings(run)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"text": {"name": "words", "words": True}},
            "--text.name words names none; leave it out, or name one",
        ),
        (
            {"text": {"name": "words", "weights": "none"}},
            "leave out --text.weights, or name a network and its",
        ),
        ({"images": "photos"}, "--images, and a table of items, --items; --items is missing"),
        ({"items": "items.csv"}, "--images, and a table of items, --items; --images is missing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    """By their options, with what to leave out or add."""
    with pytest.raises(ValueError, match=message):
        Experiment(**settings)


@pytest.fixture
def listening() -> Iterator[str]:
    """An address that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_ray_that_cannot_be_used_is_refused(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work, but only where Ray is to train.  `tests.infra.test_ray_cluster` asks real ones."""

    @contextmanager
    def refuse(address: str) -> Iterator[str]:
        raise ConnectionError(f"{address} takes no work")
        yield

    monkeypatch.setattr(ray_cluster, "connect", refuse)
    with pytest.raises(ConnectionError, match=f"{listening} takes no work"):
        preflight.check(resolve(Experiment()), Resources(ray=listening))
    preflight.check(resolve(Experiment(method="cca")), Resources(ray=listening))


def test_weights_are_not_asked_for_where_the_dataset_brings_features() -> None:
    """Nothing would read them."""
    preflight.check(
        resolve(Experiment(dataset="wiki", method="cca", backbone=BackboneSettings(weights="/no/such.pth"))),
        Resources(),
    )


def test_a_backbone_without_default_weights_is_refused() -> None:
    """CNN-F has none that can be fetched."""
    with pytest.raises(ValidationError, match="no default weights of cnn_f"):
        BackboneSettings(name="cnn_f")


@pytest.mark.parametrize(("name", "weights"), [("clip_vit_b32", "none"), ("words", "/some.pth")])
def test_weights_of_texts_that_cannot_be_are_refused(name: Any, weights: str) -> None:
    """Random ones of a frozen network, and those of none."""
    with pytest.raises(ValidationError, match=f"texts are read as {name} with weights '{weights}'"):
        TextSettings(name=name, weights=weights)


def test_weights_are_found_from_every_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers on clusters start in folders of their own."""
    monkeypatch.setenv("HOME", "/home/somebody")
    assert BackboneSettings(weights="~/own.pth").weights == "/home/somebody/own.pth"
    assert TextSettings(name="clip_vit_b32", weights="own.pth").weights == str(Path("own.pth").absolute())


def test_a_publishers_split_that_the_reader_does_not_know(tmp_path: Path) -> None:
    """Only readers of features know one."""
    own = feature_pairs.entry(tmp_path) | {"reader": "folder"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(ValueError, match="knows no publisher's split; give shares"):
        preflight.check(resolve(Experiment(dataset=str(tmp_path / "own.yaml"))), Resources())


def test_what_works_is_not_refused() -> None:
    """The demonstration's settings, and nested codes, pass."""
    preflight.check(resolve(Experiment()), Resources())
    nested = Experiment(training=TrainingSettings(prefixes={"16": 0.1}))
    preflight.check(resolve(nested), Resources(workers=2))


def test_own_images_are_stored_as_large_as_the_network_reads_them(tmp_path: Path) -> None:
    """Never smaller, to be enlarged again; 96 pixels at least, for the eye."""
    given = {"images": tmp_path, "items": tmp_path / "items.csv"}
    for read, stored in ((224, 224), (128, 128), (32, 96)):
        assert (
            read_entry(Experiment(**given, backbone=BackboneSettings(image_size=read))).images.size == stored
        )
