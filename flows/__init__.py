"""Prefect flows: one task per arrow of the pipeline, one artifact in, one artifact out."""
