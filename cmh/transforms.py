"""Images and texts as their publishers have them → square uint8 images, bags and sequences of words.

Image files are foreign: their formats, bytes and pixels are limited; drawings, see `cmh.svg`.

Shapes: N = texts, D = words of the vocabulary, T = words of a sequence, S = side of the image in pixels.
"""

import hashlib
import io
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from cmh import svg

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_BYTES = 64 << 20
MAX_PIXELS = 100_000_000  # a 100-megapixel photo; decoded it takes 300 MB
WORD = r"(?u)[^\W_]+"  # letters and digits of any script; single ones too ("x", "5", "火")

_UNREADABLE = (  # what Pillow lets through of hostile or damaged files, besides OSError and ValueError
    Image.DecompressionBombError, SyntaxError, struct.error, TypeError, AttributeError, KeyError, IndexError,
    ZeroDivisionError, OverflowError, RecursionError,
)  # fmt: skip


def decode_image(data: bytes, media_type: str, size: int) -> NDArray[np.uint8]:
    """(S, S, 3) uint8 RGB on white; a photo is cut to its central square, a drawing is fitted in.

    Raises: ValueError or OSError saying what is wrong with the image.
    """
    drawing = media_type == "image/svg+xml"
    if not drawing and len(data) > MAX_BYTES:
        raise ValueError(f"image file of {len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        if drawing:
            with Image.open(io.BytesIO(svg.draw(data, size)), formats=("PNG",)) as image:
                # Drawn at the width asked for, then fitted: a tall or a wide drawing keeps its shape.
                return np.asarray(ImageOps.pad(_on_white(image), (size, size), color="white"))
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _photo(image, size)
    except UnidentifiedImageError:  # its own message has an address in memory, and is kept with the images
        raise ValueError(
            f"not an image of a kind that is read, which are {', '.join(FORMATS)}, SVG"
        ) from None
    except _UNREADABLE as error:
        raise ValueError(f"image cannot be decoded: {str(error) or type(error).__name__}") from error


def _photo(image: Image.Image, size: int) -> NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"image of {image.width} × {image.height} pixels; at most {MAX_PIXELS} are decoded")
    image.draft("RGB", (2 * size, 2 * size))  # JPEG: decode at a fraction of the size where that suffices
    upright = ImageOps.exif_transpose(image)
    return np.asarray(ImageOps.fit(_on_white(upright), (size, size), Image.Resampling.BICUBIC))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def resize(image_HWC: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(S, S, 3) uint8: the image's central square at another size; itself if it has that size."""
    if image_HWC.shape == (size, size, 3):
        return image_HWC
    return np.asarray(ImageOps.fit(Image.fromarray(image_HWC), (size, size), Image.Resampling.BICUBIC))


def drop_words(text: str, share: float, *, seed: int, key: str) -> str:
    """`text` without a random `share` of its words; the same words for the same seed and key; one word stays.

    >>> drop_words("red sweet round fruit", 0.5, seed=0, key="apple")
    'red sweet'
    """
    words = text.split()
    if share == 0 or len(words) < 2:
        return text
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    kept = random.random(len(words)) >= share
    kept[random.integers(len(words))] |= not kept.any()
    return " ".join(word for word, keep in zip(words, kept, strict=True) if keep)


def vectorizer(
    vocabulary: Sequence[str] | None = None, *, min_df: int = 1, max_features: int | None = None
) -> CountVectorizer:
    """The one text analyser, of preprocessing and of models: lower case, accents off, words by `WORD`.

    With `vocabulary` it counts these words, in this order; without, `fit` finds them: words in at least
    `min_df` texts, the `max_features` most frequent, in alphabetical order.
    """
    return CountVectorizer(
        lowercase=True,
        strip_accents="unicode",
        token_pattern=WORD,
        vocabulary=None if vocabulary is None else list(vocabulary),
        min_df=min_df,
        max_features=max_features,
        dtype=np.int32,
    )


def bag_of_words(texts: Sequence[str], vocabulary: Sequence[str]) -> NDArray[np.uint8]:
    """(N, D) uint8 word counts, clipped to 255.

    >>> bag_of_words(["Red, red apple!"], ["apple", "pear", "red"])
    array([[1, 0, 2]], dtype=uint8)
    """
    counts_ND: sparse.csr_matrix = vectorizer(vocabulary).transform(texts)
    clipped_ND: NDArray[np.uint8] = np.minimum(counts_ND.toarray(), 255).astype(np.uint8)
    return clipped_ND


def sequences(texts: Sequence[str], vocabulary: Sequence[str], length: int) -> NDArray[np.int32]:
    """(N, T) int32 words in their order: 1 is the vocabulary's first word, and zeros fill up to T = `length`.

    Words outside the vocabulary are left out, and then those beyond the first `length`.

    >>> sequences(["A red, red apple!", "pear"], ["apple", "pear", "red"], length=4)
    array([[3, 3, 1, 0],
           [2, 0, 0, 0]], dtype=int32)
    """
    analyse = vectorizer().build_analyzer()
    number = {word: place for place, word in enumerate(vocabulary, start=1)}
    tokens_NT = np.zeros((len(texts), length), np.int32)
    for row_T, text in zip(tokens_NT, texts, strict=True):
        known = [number[word] for word in analyse(text) if word in number][:length]
        row_T[: len(known)] = known
    return tokens_NT
