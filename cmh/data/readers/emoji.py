"""Emoji drawings of several vendors with keywords, read straight from the npm tarballs.

Reads: openmoji   package/data/openmoji.json (concepts and their traits) and package/color/svg/<hexcode>.svg;
       emojilib   package/dist/emoji-en-US.json, {emoji: [name, keyword, …]};
       icon sets  package/icons.json in Iconify's form, and package/chars.json where there is one.

A concept is an emoji without skin tone that has keywords.  A vendor's icon belongs to it if chars.json says
so, or else if the icon's name is the concept's name.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cmh.data.archives import read_tar
from cmh.data.records import Record
from cmh.data.svg import check_installed as check_installed  # emoji are drawings

ALIAS_DEPTH = 5  # Iconify: an alias may point to an alias; longer chains are loops
# Gender signs and the male, female and neutral heads: what remains is the concept's split group.
GENDER = {"2640": None, "2642": None, "1F468": "1F9D1", "1F469": "1F9D1", "1F466": "1F9D2", "1F467": "1F9D2"}
GENDER |= {"1F474": "1F9D3", "1F475": "1F9D3"}


@dataclass(frozen=True)
class Concept:
    """One emoji: its code points ("1F469-200D-1F3A8", no variation selectors), name, words and traits."""

    code: str
    hexcode: str
    name: str
    words: tuple[str, ...]
    traits: dict[str, tuple[str, ...]]

    @property
    def group(self) -> str:
        """The same for emoji that differ only in gender: 👩‍⚖️ in training would give 👨‍⚖️ away."""
        points = [GENDER.get(point, point) for point in self.code.split("-") if point != "200D"]
        return "-".join(point for point in points if point)


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per concept and vendor, by vendor, then in Unicode order.

    Options: `openmoji`, `keywords` (names of sources), `icons` (names of sources, in order), `limit`
    {Unicode group: concepts kept}.

    Raises:
        ValueError: naming the source if it is missing or not of the expected form.
    """
    openmoji, icons = options["openmoji"], list(options["icons"])
    missing = {openmoji, options["keywords"], *icons} - set(sources)
    if missing:
        raise ValueError(f"emoji reader: no source named {', '.join(sorted(missing))}; has {sorted(sources)}")
    keywords = _json(sources[options["keywords"]], "package/dist/emoji-en-US.json")
    concepts = _concepts(_json(sources[openmoji], "package/data/openmoji.json"), keywords)
    concepts = _limit(concepts, options.get("limit", {}))
    drawings = read_tar(sources[openmoji], lambda name: name.startswith("package/color/svg/"))
    for concept in concepts:
        svg = drawings.get(f"package/color/svg/{concept.hexcode}.svg")
        if svg is not None:
            yield _record(openmoji, concept, svg)
    for vendor in icons:
        icon_set = IconSet(sources[vendor])
        for concept in concepts:
            name = icon_set.find(concept)
            if name is not None:
                yield _record(vendor, concept, icon_set.svg(name).encode())


class IconSet:
    """A package of @iconify-json."""

    def __init__(self, tarball: Path) -> None:
        data = _json(tarball, "package/icons.json")
        self._icons: dict[str, dict[str, Any]] = data["icons"]
        self._aliases: dict[str, dict[str, Any]] = data.get("aliases", {})
        self._size = {side: data.get(side, 16) for side in ("width", "height")}  # 16: Iconify's default
        chars = _json(tarball, "package/chars.json", default={})
        self._by_code = {_plain(code.upper()): name for code, name in chars.items()}

    def find(self, concept: Concept) -> str | None:
        """Return the icon that draws the concept, or None."""
        candidates = (self._by_code.get(concept.code), _slug(concept.name), _slug(concept.words[0]))
        return next((name for name in candidates if name in self._icons or name in self._aliases), None)

    def svg(self, name: str) -> str:
        """Return the icon as an SVG document, aliases and their flips and turns applied."""
        transforms: list[str] = []
        for _ in range(ALIAS_DEPTH):
            if name in self._icons:
                break
            alias = self._aliases.get(name, {})
            transforms.append(self._transform(alias))
            name = alias.get("parent", "")
        if name not in self._icons:
            raise ValueError(f"icon alias {name!r} leads nowhere")
        icon = self._icons[name]
        left, top = icon.get("left", 0), icon.get("top", 0)
        width, height = icon.get("width", self._size["width"]), icon.get("height", self._size["height"])
        body = icon["body"]
        for transform in filter(None, reversed(transforms)):
            body = f'<g transform="{transform}">{body}</g>'
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{body}</svg>'
        )

    def _transform(self, alias: Mapping[str, Any]) -> str:
        width, height = self._size["width"], self._size["height"]
        parts = []
        if alias.get("hFlip"):
            parts.append(f"translate({width} 0) scale(-1 1)")
        if alias.get("vFlip"):
            parts.append(f"translate(0 {height}) scale(1 -1)")
        if alias.get("rotate"):
            parts.append(f"rotate({90 * int(alias['rotate'])} {width / 2} {height / 2})")
        return " ".join(parts)


def _concepts(openmoji: list[dict[str, Any]], keywords: dict[str, list[str]]) -> list[Concept]:
    words = {_plain("-".join(f"{ord(char):04X}" for char in emoji)): kw for emoji, kw in keywords.items()}
    concepts = []
    for entry in openmoji:
        code = _plain(entry["hexcode"])
        if entry["skintone"] != "" or not words.get(code):
            continue
        tags = {tag.strip().lower() for tag in f"{entry['tags']},{entry['openmoji_tags']}".split(",")}
        traits = {
            "groups": (entry["group"],),
            "subgroups": (entry["subgroups"],),
            "tags": tuple(sorted(tags - {""})),
        }
        concepts.append(Concept(code, entry["hexcode"], entry["annotation"], tuple(words[code]), traits))
    return concepts


def _limit(concepts: list[Concept], limit: Mapping[str, int]) -> list[Concept]:
    """Keep at most `limit[group]` concepts of a Unicode group; their hashes decide which."""
    dropped: set[str] = set()
    for group, most in limit.items():
        members = [concept.code for concept in concepts if concept.traits["groups"] == (group,)]
        members.sort(key=lambda code: hashlib.sha256(code.encode()).hexdigest())
        dropped.update(members[most:])
    return [concept for concept in concepts if concept.code not in dropped]


def _record(vendor: str, concept: Concept, svg: bytes) -> Record:
    # Words once each and in order; keywords such as "grinning_face" are two words.
    words = dict.fromkeys(word for keyword in concept.words for word in re.split(r"[_\s]+", keyword) if word)
    return Record(
        id=f"{vendor}/{concept.code}",
        source=vendor,
        group=concept.group,
        text=" ".join(words),
        media_type="image/svg+xml",
        image=partial(bytes, svg),
        traits=concept.traits,
    )


def _plain(code: str) -> str:
    """Return code points without variation selectors, which vendors write or leave out as they like."""
    return "-".join(point for point in code.split("-") if point != "FE0F")


def _slug(name: str) -> str:
    """Return an icon's name as Iconify makes it: "Côte d’Ivoire" → "cote-divoire"."""
    ascii_ = unicodedata.normalize("NFKD", re.sub("[’']", "", name)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_.lower().replace("&", " and ")).strip("-")


def _json(tarball: Path, member: str, default: Any = None) -> Any:
    found = read_tar(tarball, member.__eq__)
    if member not in found:
        if default is not None:
            return default
        raise ValueError(f"{tarball.name} has no {member}; is it the package and version of the catalog?")
    return json.loads(found[member])
