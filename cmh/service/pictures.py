"""Images that come in and go out: decoded by the project's guarded reader, a few at a time.

Shapes: H, W = image.
"""

import io
import mimetypes
from collections import OrderedDict
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cmh.data import images, shard_images
from cmh.service.queries import Refused
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshot
from cmh.service.workers import Workers

LONGEST = 1600  # pixels of the longer side of a whole image
_KEPT = 1024  # thumbnails that stay in memory, of some 10 kB each


class Pictures:
    """Decodes uploads and draws the items' images as JPEG."""

    def __init__(self, settings: Settings) -> None:
        self._workers = Workers(settings, settings.decoders, "images")
        self._thumbnails: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    async def decode(self, file: BinaryIO, media_type: str, size: int) -> NDArray[np.uint8]:
        """Return an uploaded image as the model takes it, uint8 (size, size, 3).

        Raises:
            Refused: if it is no image that can be read, saying why.
            Busy: if too many are waiting.
        """

        def read() -> NDArray[np.uint8]:
            try:  # read here, so that what waits takes no memory
                return images.decode_image(file.read(images.MAX_BYTES + 1), media_type, size)
            except (ValueError, OSError) as error:
                raise Refused(f"the uploaded image cannot be used: {error}") from error

        return await self._workers.run(read)

    async def thumbnail(self, snapshot: Snapshot, row: int) -> bytes:
        """Return an item's image as the model sees it, a square JPEG of the size that the model reads.

        Raises:
            ValueError or OSError: the item's file is gone or damaged.
            Busy: if too many are waiting.
        """
        key = snapshot.version, row
        if key not in self._thumbnails:
            self._thumbnails[key] = await self._workers.run(lambda: _jpeg(snapshot.engine.image(row)))
            while len(self._thumbnails) > _KEPT:
                self._thumbnails.popitem(last=False)
        self._thumbnails.move_to_end(key)
        return self._thumbnails[key]

    async def whole(self, snapshot: Snapshot, row: int) -> bytes:
        """Return an item's whole image as JPEG, its longer side of at most `LONGEST` pixels.

        Raises:
            ValueError or OSError: the item's file is gone or damaged.
            Busy: if too many are waiting.
        """
        if snapshot.engine.file is None:
            raise ValueError("the images of this collection are no files")
        path = snapshot.engine.file(row)
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return await self._workers.run(
            lambda: _jpeg(images.decode_whole(shard_images.read_bytes(path), media_type, LONGEST))
        )


def _jpeg(image_HWC: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "JPEG", quality=88)
    return file.getvalue()
