"""Trained models as ONNX: written by torch, run without it, and handed to other programs."""
