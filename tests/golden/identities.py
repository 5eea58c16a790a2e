"""The identity of every stage's target, for one experiment of each kind; nothing is fetched or computed."""

import hashlib
from pathlib import Path

from flows import pipeline
from flows.experiment import BackboneSettings, Experiment, TextSettings, TrainingSettings
from flows.run import resolve
from infra.artifacts import Ref


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
    by_clip = BackboneSettings(name="clip_vit_b32", weights=str(clip), image_size=224)
    return {
        "emoji": Experiment(),
        "emoji, a trial at 32 bits with another seed": Experiment(bits=32, limit=400, seed=3),
        "emoji, end to end": Experiment(
            method="dcmh", recipe="paper", backbone=BackboneSettings(name="resnet18", frozen=False)
        ),
        "emoji, maps of places": Experiment(method="adah"),
        "emoji, words in their order": Experiment(method="dvsh"),
        "emoji, nested codes": Experiment(training=TrainingSettings(prefixes={"16": 0.1, "32": 0.1})),
        "emoji, texts by a network": Experiment(text=TextSettings(name="clip_vit_b32", weights=str(clip))),
        "wiki": Experiment(dataset="wiki", method="scm", bits=16),
        "folder": Experiment(**own),
        "folder, both sides by CLIP": Experiment(
            **own, method="seph", backbone=by_clip, text=TextSettings(name="clip_vit_b32", weights=str(clip))
        ),
    }


def identities(experiment: Experiment) -> dict[str, str]:
    """Stage → identity; the content of each artifact is made up from its identity."""
    run = resolve(experiment)
    refs: dict[str, Ref] = {}
    for stage in pipeline.stages(run):
        target = stage.target(run, refs)
        content = hashlib.sha256(target.identity.encode()).hexdigest()
        refs[stage.kind] = Ref(kind=target.kind, name=target.name, identity=target.identity, content=content)
    return {kind: ref.identity for kind, ref in refs.items()}
