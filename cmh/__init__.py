"""cmh: cross-modal hashing. Methods, code algebra, retrieval metrics and search; no orchestration in here."""

__version__ = "0.1.0"
