"""Data: readers of datasets, records, decoding, labels, splits, arrays, items and batches."""
