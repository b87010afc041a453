"""A trained network at work: its published weights, and batch norms fused into convolutions."""

from ran.inference.fusion import fuse_batch_norms
from ran.inference.weights import FILE, load, save_weights

__all__ = ["FILE", "fuse_batch_norms", "load", "save_weights"]
