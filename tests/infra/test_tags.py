"""Tags, lineage and retention on a folder and on a real S3 server."""

import time
from pathlib import Path

import pytest

from infra import artifacts, lineage, lineage_page, manifest, tags, transfer
from infra.artifacts import ArtifactError, Ref, Target
from infra.storage import Store


def make(store: Store, kind: str, name: str = "toy", *, value: int = 0, **sources: Ref) -> Ref:
    """An artifact with one file, made from others."""
    inputs = {source: ref.content for source, ref in sources.items()}
    target = Target(kind, name, {"training": {"epochs": value}}, inputs)
    run = {"seconds": 1800.0, "threads": 2, "began": f"2026-01-0{value + 1}T00:00:00+00:00"}
    with artifacts.write(store, target, run=run) as draft:
        draft.write_json("value.json", [kind, value, inputs])
    return draft.ref


def chain(store: Store, value: int) -> dict[str, Ref]:
    """Images, a model of them and codes; the images are the same for every value."""
    images = make(store, "images")
    model = make(store, "model", value=value, images=images)
    return {"images": images, "model": model, "codes": make(store, "codes", model=model, images=images)}


def test_a_tag_means_the_artifact_that_got_it_last(store: Store) -> None:
    """It moves; every other one stays; an address means itself."""
    first, second = chain(store, 1)["model"], chain(store, 2)["model"]
    tags.put(store, "model/toy@production", first.address)
    tags.put(store, "model/toy@old", first.address)
    tags.put(store, "model/toy@production", second.address)
    assert tags.resolve(store, "model/toy@production") == second.address
    assert tags.resolve(store, "model/toy@old") == first.address
    assert tags.resolve(store, first.address) == first.address
    assert set(tags.every(store)) == {"model/toy@production", "model/toy@old"}
    tags.delete(store, "model/toy@old")
    with pytest.raises(FileNotFoundError, match="model/toy has the tags production"):
        tags.resolve(store, "model/toy@old")


def test_tags_are_no_artifacts(store: Store) -> None:
    """Listings, verification and cleaning do not see them."""
    ref = make(store, "model")
    tags.put(store, "model/toy@production", ref.address)
    assert artifacts.published(store) == [ref.address]
    assert transfer.gc(store, grace=0, dry_run=False) == []
    assert tags.resolve(store, "model/toy@production") == ref.address


@pytest.mark.parametrize(
    "tag", ["model/toy", "toy@x", "model/toy@", "model/../x@y", "model/toy@../../x", "a/b@c/d", "a/b@c@d"]
)
def test_a_malformed_tag_is_refused(local_store: Store, tag: str) -> None:
    """Nothing is written outside the folder of tags."""
    ref = make(local_store, "model")
    with pytest.raises(ValueError, match="kind/name@tag"):
        tags.put(local_store, tag, ref.address)
    assert tags.every(local_store) == {}


def test_a_tag_is_of_the_kind_and_name_of_its_artifact(local_store: Store) -> None:
    """Otherwise it would say something wrong."""
    ref = make(local_store, "model")
    with pytest.raises(ValueError, match="its tags begin with model/toy@"):
        tags.put(local_store, "codes/toy@production", ref.address)
    with pytest.raises(FileNotFoundError):
        tags.put(local_store, "model/toy@production", "model/toy/0123456789abcdef")


def test_a_damaged_tag_is_no_address(local_store: Store) -> None:
    """It is refused, also by gc, which would not know what it keeps."""
    ref = make(local_store, "model")
    tags.put(local_store, "model/toy@production", ref.address)
    local_store.write_bytes("tags/model/toy/production.json", b'{"address": "../../x", "content": "0"}')
    with pytest.raises(ArtifactError, match="damaged"):
        tags.resolve(local_store, "model/toy@production")
    with pytest.raises(ArtifactError, match="damaged"):
        transfer.gc(local_store, grace=0, keep_last=1)


def test_a_file_that_is_no_tag_is_named(local_store: Store) -> None:
    """Such as one that a file manager left."""
    local_store.write_bytes("tags/model/.DS_Store", b"")
    with pytest.raises(ArtifactError, match=r"tags/model/\.DS_Store is no tag"):
        tags.every(local_store)


def test_a_tag_does_not_follow_other_content(local_store: Store) -> None:
    """An artifact that was removed and made again otherwise is not what was tagged."""
    ref = make(local_store, "model")
    tags.put(local_store, "model/toy@production", ref.address)
    transfer.remove(local_store, ref.address, quiet=0)
    with artifacts.write(local_store, Target("model", "toy", {"training": {"epochs": 0}})) as draft:
        draft.write_json("value.json", "something else")
    with pytest.raises(ArtifactError, match="made again since"):
        tags.resolve(local_store, "model/toy@production")


def test_lineage_leads_from_codes_to_images(store: Store) -> None:
    """In the order in which they were made, each once, with core-hours."""
    refs = chain(store, 1)
    known = lineage.read(store)
    made = known.chain(known.at(refs["codes"].address))
    assert [one.ref for one in made] == [refs["images"], refs["model"], refs["codes"]]
    assert [lineage.core_hours(one) for one in made] == [1.0, 1.0, 1.0]


def test_an_input_that_is_gone_is_said(local_store: Store) -> None:
    """And a damaged manifest harms only its own artifact."""
    refs = chain(local_store, 1)
    transfer.remove(local_store, refs["model"].address, quiet=0)
    local_store.write_bytes(f"{refs['images'].address}/manifest.json", b"{}")
    known = lineage.read(local_store)
    codes = known.at(refs["codes"].address)
    assert known.inputs(codes) == {"model": None, "images": None}
    assert known.chain(codes) == [codes]
    with pytest.raises(ArtifactError, match="damaged"):
        known.at(refs["images"].address)
    with pytest.raises(FileNotFoundError, match="no artifact"):
        known.at(refs["model"].address)


def test_a_circle_of_inputs_ends(local_store: Store) -> None:
    """No run makes one; a store may hold manifests that others wrote."""
    images, model = (
        manifest.read(local_store, make(local_store, kind).address) for kind in ("images", "model")
    )
    images = images.model_copy(update={"inputs": {"model": model.content}})
    model = model.model_copy(update={"inputs": {"images": images.content}})
    known = lineage.Lineage({one.ref.address: one for one in (images, model)}, {})
    assert known.chain(images) == [model, images]
    assert known.chain(model) == [images, model]


def test_a_chain_of_thousands_is_followed(local_store: Store) -> None:
    """Others may write one that is deeper than Python's stack; its differences, too."""
    images, other = (
        manifest.read(local_store, make(local_store, "images", value=value).address) for value in (0, 1)
    )

    def link(place: int, side: str) -> manifest.Manifest:
        def content(of: int) -> str:
            return f"{side}{of + 1:015x}{0:048}"

        update = {
            "identity": content(place),
            "content": content(place),
            "inputs": {"images": content(place - 1)},
        }
        return (images if side == "a" else other).model_copy(update=update)

    links = [link(place, side) for side in "ab" for place in range(3000)]
    known = lineage.Lineage({one.ref.address: one for one in links}, {})
    assert known.chain(links[2999]) == links[:3000]
    assert len(known.differences(links[2999], links[-1])) > 3000


@pytest.mark.parametrize("seconds", ["much", [1], {"a": 1}, None, True, -1, 10**400, 1e308])
def test_core_hours_of_what_is_no_number_are_unknown(local_store: Store, seconds: object) -> None:
    """A manifest of others may keep anything as its seconds."""
    one = manifest.read(local_store, make(local_store, "images").address)
    hours = lineage.core_hours(one.model_copy(update={"run": {"seconds": seconds, "threads": 2}}))
    assert hours is None or (seconds == 1e308 and hours > 0)


def test_a_difference_is_traced_to_where_it_began(local_store: Store) -> None:
    """Codes differ as their models differ, and those by one setting."""
    first, second = chain(local_store, 1), chain(local_store, 2)
    known = lineage.read(local_store)
    a, b = (known.at(refs["codes"].address) for refs in (first, second))
    assert known.differences(a, b) == [
        ("codes", "input model", first["model"].address, second["model"].address),
        ("model", "training.epochs", 1, 2),
    ]
    assert known.differences(a, a) == []


def test_the_last_are_kept_with_their_sources_and_what_has_a_tag(store: Store) -> None:
    """Of each kind and name; of the others the results go before what they were made from."""
    made = []
    for value in (1, 2, 3):
        made.append(chain(store, value))
        time.sleep(1.1 if store.url.startswith("s3:") else 0.01)  # S3 tells whole seconds
    old, tagged, last = made
    alone = make(store, "images", "alone")
    tags.put(store, "codes/toy@production", tagged["codes"].address)
    shown = transfer.gc(store, grace=-1, keep_last=1)
    assert [one.path for one in shown] == [old["codes"].address, old["model"].address]
    assert len(artifacts.published(store)) == 8
    transfer.gc(store, grace=-1, keep_last=1, dry_run=False)
    kept = {ref.address for refs in (tagged, last) for ref in refs.values()} | {alone.address}
    assert set(artifacts.published(store)) == kept
    assert transfer.gc(store, grace=3600, keep_last=1) == []


def test_nothing_young_is_removed(local_store: Store) -> None:
    """As with what unfinished runs left."""
    for value in (1, 2):
        chain(local_store, value)
    assert transfer.gc(local_store, grace=3600, keep_last=1) == []
    with pytest.raises(ValueError, match="1 or more"):
        transfer.gc(local_store, keep_last=0)


def test_a_page_shows_hostile_settings_as_text(tmp_path: Path) -> None:
    """A lineage is read from manifests that others wrote."""
    rows = [{"artifact": "images/a/0", "from": "sources", "run": "<script>alert(1)</script>"}]
    page = lineage_page.html("images/a/0", rows, [], {"images/a/0": {"<b>": "<img src=x onerror=alert(1)>"}})
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
