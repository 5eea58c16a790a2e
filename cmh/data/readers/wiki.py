r"""Wikipedia featured articles: an image as 128 visual words, a text as 10 topics, one of 10 classes.

Source: Rasiwasia et al., A New Approach to Cross-Modal Multimedia Retrieval, ACM MM 2010.  Two layouts:

matrices  "features" is a .mat file with I_tr, T_tr, L_tr and I_te, T_te, L_te (labels 0/1 in ten columns)
lists     "features" is a .mat file with I_tr, T_tr, I_te, T_te; "train" and "test" are the publisher's lists,
          a line "<text>\t<image>\t<class, from 1>" for each row of the matrices, in their order
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmh.data import matlab
from cmh.data.records import FeatureTable

PARTS = ("tr", "te")  # the publisher's training items come first


def vectors(sources: Mapping[str, Path], options: Mapping[str, Any]) -> FeatureTable:
    """Return all items; `options["labels"]` names the classes in the order of their numbers.

    Raises:
        ValueError: naming the file, and in a list the line.
    """
    labels = tuple(options["labels"])
    listed = "train" in sources
    names = [f"{kind}_{part}" for part in PARTS for kind in ("IT" if listed else "ITL")]
    held = matlab.read(sources["features"], names)
    if listed:
        lists = [_read_list(sources[name], len(labels)) for name in ("train", "test")]
        identity = [name for ids, _ in lists for name in ids]
        label_NL = np.vstack([np.eye(len(labels), dtype=np.uint8)[numbers] for _, numbers in lists])
    else:
        identity = [f"{part}-{row}" for part in PARTS for row in range(len(held[f"I_{part}"]))]
        label_NL = np.vstack([held[f"L_{part}"] for part in PARTS]).astype(np.uint8)
    image_NF, text_ND = (np.vstack([held[f"{kind}_{part}"] for part in PARTS]) for kind in "IT")
    return FeatureTable(
        id=tuple(identity),
        image=image_NF.astype(np.float32),
        text=text_ND.astype(np.float32),
        label=label_NL,
        labels=labels,
        query=np.repeat([False, True], [len(held[f"I_{part}"]) for part in PARTS]),
    )


def _read_list(path: Path, classes: int) -> tuple[list[str], NDArray[np.int64]]:
    """Return names and class numbers, from 0, of one list."""
    names, numbers = [], []
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = text.split("\t")
        if len(fields) != 3 or not fields[2].isdecimal() or not 1 <= int(fields[2]) <= classes:
            raise ValueError(
                f"{path}, line {line}: expected text, image and a class from 1 to {classes}, separated by "
                f"tabs, got {text[:60]!r}"
            )
        names.append(f"{fields[0]} {fields[1]}")
        numbers.append(int(fields[2]) - 1)
    return names, np.array(numbers, np.int64)
