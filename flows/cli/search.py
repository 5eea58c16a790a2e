"""`cmh search` and `cmh export`, which import neither Prefect nor the pipeline, and torch only if needed."""

import os
import uuid
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cmh.codes.hits import Order
from cmh.data import sides
from flows.cli.terminal import Json, say, show
from infra import stores


def search(
    place: str | None = None,
    words: str | None = None,
    *,
    image: Path | None = None,
    codes: str | None = None,
    index: Path | None = None,
    top: int = 10,
    bits: int | None = None,
    order: Order | None = None,
    where: str | None = None,
    sheet: Path | None = None,
    as_json: Json = False,
) -> None:
    """Find items by words or by an image, in a collection or among the codes of a run.

    Parameters
    ----------
    place
        folder of a collection (`cmh index`); without it, the first argument is the words
    words
        what to look for; words that the model does not know do not count
    image
        an image file, in place of words
    codes
        address or tag of the codes of a run (`cmh ls codes`); by default the newest in the store
    index
        folder of a collection, as the first argument
    top
        how many results
    bits
        compare the first so many bits only
    order
        by `embeddings` (where they are kept), `weighted` (bits by the query's certainty) or `hamming`
    where
        condition on your own columns, such as 'year >= 2020 and "dog" in labels'; it holds for every result
    sheet
        write the images found to this PNG
    """
    from cmh import collection
    from cmh.collection_files import manifest
    from cmh.data import images

    if place is not None and manifest.is_collection(Path(place)):
        if index is not None:
            raise ValueError(f"two collections were given, {place} and {index}; search one of them")
        index = Path(place)
    elif place is not None:
        if words is not None or (image is not None and Path(place).exists()):
            raise ValueError(
                f"{place} is no collection; make one with `cmh index photos/ --to {place}`, or, of several "
                'words to search for, put quotes around them: cmh search "red fruit"'
            )
        words = place
    if sheet is not None and (sheet.suffix.lower() != ".png" or not sheet.parent.is_dir()):
        raise ValueError(f"--sheet is a file that ends with .png in a folder that is there, got {sheet}")
    if image is not None and not image.is_file():
        raise ValueError(
            f"--image is the file of an image; {image} is {'a folder' if image.is_dir() else 'not there'}"
        )
    if (words is None) == (image is None):
        given = "nothing was given" if words is None else f"{words!r} and --image {image} were given"
        raise ValueError(
            f'{given}; give words or an image: cmh search "red fruit", or cmh search --image apple.png'
        )
    if codes is not None and index is not None:
        raise ValueError(
            f"--codes {codes} of a run and the collection {index} were given; give one, not both"
        )
    if index is not None:
        engine = collection.open_collection(index, cache=stores.graphs())
    else:
        from flows.search import open_run  # with Zarr, which takes as long to import as all else
        from infra import tags

        store = stores.open_store()
        engine = open_run(store, codes and tags.resolve(store, codes))
    if image is not None:
        try:
            pixels = images.read_image(image, engine.model.facts.stored_size)
        except (ValueError, OSError) as error:
            raise ValueError(f"{image} cannot be searched with: {error}") from error
        hits, title = engine.for_image(pixels, top, bits, order=order, where=where), image.name
        if near := engine.words_for(pixels, top, bits, order=order):
            show([hit.shown() for hit in near], as_json, f"Words for {title}")
    else:
        assert words is not None
        hits, title = engine.for_words(words, top, bits, order=order, where=where), words
    show([hit.shown() for hit in hits], as_json, f"{engine.what.title()}s for {title}")
    if sheet is not None:
        sheet.write_bytes(engine.sheet(title, hits))
        if not as_json:
            say(f"written: {sheet}")


def export(
    source: str,
    to: Path,
    *,
    side: Annotated[sides.Side, Parameter(negative="")] = "image",
) -> None:
    """Write for other programs: codes as a FAISS index (.faiss) or table (.parquet), or a model as ONNX.

    Row i of the FAISS index, an IndexBinaryFlat, is row i of the table.  A model becomes a folder with both
    towers as ONNX, tokeniser, vocabulary, and a README with an example that does without this package.

    Parameters
    ----------
    source
        folder of a collection (`cmh index`), or address or tag of codes or of a model in the store (`cmh ls`)
    to
        the file to write, .faiss or .parquet; of a model, a new folder
    side
        of the codes of a run: those of the images, or of the texts
    """
    from cmh import collection
    from cmh.codes import index_files
    from cmh.collection_files import manifest
    from flows.search import all_codes
    from infra import tags

    if source.startswith("model/"):
        _export_model(source, to)
        return
    writers = {".faiss": index_files.export_faiss, ".parquet": index_files.export_parquet}
    if to.suffix not in writers:
        raise ValueError(f"{to} is to end with {' or '.join(writers)}, which says what is written")
    if not to.parent.is_dir():
        raise ValueError(f"{to.parent} is no folder; make it first, or write {to.name} elsewhere")
    if manifest.is_collection(Path(source)):
        codes = collection.all_codes(Path(source))
    else:
        store = stores.open_store()
        codes = all_codes(store, tags.resolve(store, source), side)
    draft = to.with_name(f".{to.name}-{uuid.uuid4().hex}")
    try:
        writers[to.suffix](codes, draft)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        draft.replace(to)
    finally:
        draft.unlink(missing_ok=True)  # where a disk was full
    say(f"{len(codes)} codes of {codes.bits} bits written: {to}")


def _export_model(address: str, folder: Path) -> None:
    from cmh import model
    from cmh.onnx import standalone
    from infra import artifacts, tags

    store = stores.open_store()
    address = tags.resolve(store, address)
    standalone.save(model.load(artifacts.open_artifact(store, address).local()), folder)
    say(f"{address} written as ONNX: {folder}, with an example in {folder / 'README.md'}")
