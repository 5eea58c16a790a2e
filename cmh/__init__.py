"""Cross-modal hashing: methods, binary codes, retrieval metrics and search, without any orchestration.

`cmh.data` reads datasets and turns them into items and batches.  `cmh.networks` holds the image and text
networks with their weight files.  `cmh.hashing` defines the abstract class of a hashing method and the parts
that methods share: base classes, losses, code memory, encoding; and what a trained model does on any runtime.
`cmh.methods` implements one published method per file.  `cmh.training` trains any of them.  `cmh.codes`
packs, compares, searches and stores binary codes.  `cmh.evaluation` computes retrieval metrics and writes
reports.  `cmh.distributed` lets several processes train as if they were one.  On top of these, `cmh.model`
saves and loads a trained model, `cmh.onnx` runs one without torch, `cmh.engine` searches with one, and
`cmh.collection` opens a searchable folder of the user's own images or texts, whose files
`cmh.collection_files` keeps.  `cmh.untrained` makes a model without training, and `cmh.service` puts a
collection behind a port.
"""

__version__ = "0.1.0"
