"""Data sets: arrays and image folders, augmentation, label noise, held-out images. Imports no network code."""

from ran.data.arrays import IMAGE_SIZE, PADDING, DataSet, ImageSet
from ran.data.cifar import DOWNLOADS, download
from ran.data.crops import MARGIN, centre_crop
from ran.data.holdout import hold_out
from ran.data.mixing import PLAIN, Mixing
from ran.data.normalisation import MEAN, STD, normalise
from ran.data.pictures import as_tensor, read_picture
from ran.data.shards import Shard
from ran.data.sources import FIXED, SOURCES, Data, load, shortened, with_label_noise

__all__ = [
    "DOWNLOADS",
    "Data",
    "DataSet",
    "FIXED",
    "IMAGE_SIZE",
    "ImageSet",
    "MARGIN",
    "MEAN",
    "Mixing",
    "PADDING",
    "PLAIN",
    "SOURCES",
    "STD",
    "Shard",
    "as_tensor",
    "centre_crop",
    "download",
    "hold_out",
    "load",
    "normalise",
    "read_picture",
    "shortened",
    "with_label_noise",
]
