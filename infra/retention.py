"""Which finished artifacts a store may let go: those that no kept one was made from."""

from collections import defaultdict

from infra import lineage, tags
from infra.manifest import MANIFEST, Manifest
from infra.storage import Store


def superseded(store: Store, keep_last: int) -> list[str]:
    """Return the addresses that are not kept, the results before what they were made from.

    Kept are, of each kind and name, the `keep_last` that were written last, every artifact that has a tag,
    and everything that a kept one was made from: it stays explained, and nothing of it is computed again.

    Raises:
        ValueError: `keep_last` is less than one; ArtifactError: a manifest or a tag is damaged.
    """
    if keep_last < 1:
        raise ValueError(f"--keep-last is {keep_last}; it is to be 1 or more")
    known = lineage.read(store)
    for error in known.damaged.values():
        raise error
    tagged = {meant.address for meant in tags.every(store).values()}
    written = {
        path.removesuffix(f"/{MANIFEST}"): entry.modified
        for path, entry in store.entries("").items()
        if path.endswith(f"/{MANIFEST}")
    }
    groups: dict[tuple[str, str], list[Manifest]] = defaultdict(list)
    for one in known.manifests.values():
        groups[one.kind, one.name].append(one)
    kept: dict[str, Manifest] = {}
    for group in groups.values():
        times = sorted(written.get(one.ref.address, 0.0) for one in group)
        oldest = times[-keep_last:][0]
        # S3 tells whole seconds: of several in the same one nobody knows which was last, and all are kept.
        kept |= {one.ref.address: one for one in group if written.get(one.ref.address, 0.0) >= oldest}
    kept |= {address: known.at(address) for address in tagged if address in known.manifests}
    needed = {source.ref.address for one in kept.values() for source in known.chain(one)}
    made_first = {one.ref.address: None for end in known.manifests.values() for one in known.chain(end)}
    return [address for address in reversed(made_first) if address not in needed]
