"""Inference: trained networks by name, run or file, and what they do with pictures; batch-norm fusion."""

from ran.inference.explanation import Explanation, explain
from ran.inference.exporting import FORMATS, export
from ran.inference.fusion import fuse_batch_norms
from ran.inference.prediction import predict
from ran.inference.published import CARD, DEFAULT, RUNS, load, name_of
from ran.inference.weights import FILE, Trained, differing, save_weights, tensor_digest

__all__ = [
    "CARD",
    "DEFAULT",
    "Explanation",
    "FILE",
    "FORMATS",
    "RUNS",
    "Trained",
    "differing",
    "explain",
    "export",
    "fuse_batch_norms",
    "load",
    "name_of",
    "predict",
    "save_weights",
    "tensor_digest",
]
