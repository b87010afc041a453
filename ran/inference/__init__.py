"""Inference: the weights of trained networks, and batch-norm fusion."""

from ran.inference.fusion import fuse_batch_norms
from ran.inference.weights import FILE, load, save_weights

__all__ = ["FILE", "fuse_batch_norms", "load", "save_weights"]
