"""Describe a dataset for machines: Croissant 1.1 (MLCommons), JSON-LD that search engines and loaders read.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONTEXT: Mapping[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs", "column": "cr:column", "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn", "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases", "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty", "examples": {"@id": "cr:examples", "@type": "@json"},
    "excludes": "cr:excludes", "extract": "cr:extract", "field": "cr:field", "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isArray": "cr:isArray", "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField",
    "path": "cr:path", "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/", "readLines": "cr:readLines", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate", "sc": "https://schema.org/", "sdVersion": "cr:sdVersion",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform", "unArray": "cr:unArray", "value": "cr:value",
}  # fmt: skip
"""The context of the specification's appendix."""


@dataclass(frozen=True)
class File:
    """A file of the dataset, beside the description."""

    name: str
    media_type: str
    sha256: str
    about: str


@dataclass(frozen=True)
class Column:
    """A column of the table of items."""

    name: str
    about: str
    is_list: bool = False


def describe(
    name: str,
    about: str,
    *,
    version: str,
    files: Sequence[File],
    table: str,
    columns: Sequence[Column],
    facts: Mapping[str, str],
) -> dict[str, Any]:
    """Return the description of a dataset whose items are the rows of one Parquet file.

    Args:
        name: of the dataset.
        about: what it is, in words.
        version: of the form 1.0.0.
        files: all that lie beside the description.
        table: which of them has the items.
        columns: those of the table.
        facts: other properties of schema.org's Dataset, such as license, citeAs or datePublished.
    """
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": name,
        "description": about,
        "version": version,
        **facts,
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": file.name, "name": file.name, "description": file.about,
                "contentUrl": file.name, "encodingFormat": file.media_type, "sha256": file.sha256,
            }
            for file in files
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet", "@id": "items", "name": "items",
                "description": "an image and its text a row", "key": {"@id": "items/id"},
                "field": [_field(column, table) for column in columns],
            }
        ],
    }  # fmt: skip


def _field(column: Column, table: str) -> dict[str, Any]:
    shape = {"isArray": True, "arrayShape": "-1"} if column.is_list else {}
    return {
        "@type": "cr:Field", "@id": f"items/{column.name}", "name": column.name,
        "description": column.about, "dataType": "sc:Text", **shape,
        "source": {"fileObject": {"@id": table}, "extract": {"column": column.name}},
    }  # fmt: skip
