"""Evaluation: counts over distances, retrieval metrics, reports, comparisons, figures."""
