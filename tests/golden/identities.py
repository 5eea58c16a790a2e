"""The identity of every stage's target, for one experiment of each kind; nothing is fetched or computed."""

import hashlib
from pathlib import Path

from cmh import methods
from cmh.data import readers
from flows import encode, evaluate, features, preprocess, texts, train, vectors
from flows.experiments import Backbone, Experiment, Text, Training
from infra.artifacts import Ref, Target


def experiments(folder: Path) -> dict[str, Experiment]:
    """Experiments by what is special about them; `folder` receives the files of a user's own data."""
    clip = folder / "clip.safetensors"
    clip.write_bytes(b"no weights, and never read as such")
    photos = folder / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(name.encode())
    items = folder / "items.csv"
    items.write_text("image,text,labels\na.png,red,x\nb.png,blue,y\n")
    own = {"images": photos, "items": items}
    by_clip = Backbone(name="clip_vit_b32", weights=str(clip), image_size=224)
    return {
        "emoji": Experiment(),
        "emoji, a trial at 32 bits with another seed": Experiment(bits=32, limit=400, seed=3),
        "emoji, end to end": Experiment(
            method="dcmh", recipe="paper", backbone=Backbone(name="resnet18", frozen=False)
        ),
        "emoji, maps of places": Experiment(method="adah"),
        "emoji, words in their order": Experiment(method="dvsh"),
        "emoji, nested codes": Experiment(training=Training(prefixes={"16": 0.1, "32": 0.1})),
        "emoji, texts by a network": Experiment(text=Text(name="clip_vit_b32", weights=str(clip))),
        "wiki": Experiment(dataset="wiki", method="scm", bits=16),
        "folder": Experiment(**own),
        "folder, both sides by CLIP": Experiment(
            **own, method="seph", backbone=by_clip, text=Text(name="clip_vit_b32", weights=str(clip))
        ),
    }


def identities(experiment: Experiment) -> dict[str, str]:
    """Stage → identity; the content of each artifact is made up from its identity."""
    entry, limit = experiment.entry, experiment.limit
    found: dict[str, str] = {}

    def made(target: Target) -> Ref:
        found[target.kind] = target.identity
        content = hashlib.sha256(target.identity.encode()).hexdigest()
        return Ref(kind=target.kind, name=target.name, identity=target.identity, content=content)

    if readers.brings_features(entry.reader):
        source = made(vectors.features_target(entry))
        dataset = made(vectors.dataset_target(source, entry))
    else:
        source = images = made(preprocess.images_target(entry, limit))
        dataset = made(preprocess.dataset_target(images, entry, limit))
        if experiment.text.is_network:
            dataset = made(texts.target(dataset, experiment.text))
        if experiment.backbone.frozen:
            grid = 4 if methods.load(experiment.method).reads_maps(experiment.config) else 1
            source = made(features.target(images, experiment.backbone, grid))
    model = made(train.target(experiment, dataset, source))
    codes = made(encode.target(model, dataset, source))
    made(evaluate.target(codes, dataset, experiment.evaluation))
    return found
