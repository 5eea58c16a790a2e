"""The two modalities."""

from typing import Literal

Side = Literal["image", "text"]
