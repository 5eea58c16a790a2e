"""Search a collection that `cmh index` made, by words or by an image.

python examples/search.py my-photos "red fruit"
python examples/search.py my-photos photo.jpg
"""

import sys
from pathlib import Path

from cmh.collection import open_collection
from cmh.data.images import read_image

if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, query = sys.argv[1:]
try:
    engine = open_collection(Path(folder))
    if Path(query).is_file():
        hits = engine.for_image(read_image(Path(query), engine.model.facts.stored_size), top=5)
    else:
        hits = engine.for_words(query, top=5)
except ValueError as error:  # no collection, an unreadable image, no word that the model knows
    sys.exit(str(error))
for hit in hits:
    print(f"{hit.rank}. {hit.id or hit.text}  ({hit.distance} of {engine.model.bits} bits differ)")
