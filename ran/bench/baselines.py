"""The baselines of `ran bench`: training as PyTorch's tutorials write it, and another implementation."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ran.data import PADDING, DataSet, ImageSet
from ran.training import SCHEDULES

WORKERS = 2  # as in PyTorch's tutorial "Training a classifier"


class PlainLoop:
    """Training in float32 with a DataLoader that transforms image by image, as in PyTorch's tutorials.

    `network` is trained on `data` by the paper's optimiser and its augmentation. PyTorch's settings stay as they are.
    """

    def __init__(
        self, network: nn.Module, data: DataSet, batch_size: int, device: torch.device, workers: int = WORKERS
    ):
        from torchvision import transforms  # takes over a second to import

        self.network, self.device = network.to(device), device
        normal = [transforms.ToTensor(), transforms.Normalize(data.mean.tolist(), data.std.tolist())]
        chance = [transforms.RandomCrop(data.train.images.shape[1], padding=PADDING), transforms.RandomHorizontalFlip()]
        options: dict[str, Any] = {"num_workers": workers, "pin_memory": device.type == "cuda"}
        train = Images(data.train, transforms.Compose(chance + normal))
        self.training = DataLoader(train, batch_size, shuffle=True, drop_last=True, **options)
        self.testing = DataLoader(Images(data.test, transforms.Compose(normal)), batch_size, **options)
        self.optimiser = SCHEDULES["paper"].optimiser(network)

    def train(self) -> int:
        """Train one epoch; returns the number of images."""
        self.network.train()
        running_loss, seen = 0.0, 0
        for images, labels in self.training:
            running_loss += self.step(images.to(self.device), labels.to(self.device)).item()
            seen += len(labels)
        return seen

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One training step; returns the loss."""
        self.optimiser.zero_grad()
        loss = F.cross_entropy(self.network(images), labels)
        loss.backward()
        self.optimiser.step()
        return loss

    @torch.no_grad()
    def test(self) -> int:
        """Evaluate on the test set; returns the number of images."""
        self.network.eval()
        right, seen = 0, 0
        for images, labels in self.testing:
            right += (self.network(images.to(self.device)).argmax(1).cpu() == labels).sum().item()
            seen += len(labels)
        return seen


class Images(Dataset):
    """Single images, as torchvision's CIFAR10 gives them: a Pillow image, transformed, and its label."""

    def __init__(self, part: ImageSet, transform: Callable[[Image.Image], Tensor]):
        self.part, self.transform = part, transform

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.part.images[number].numpy())), int(self.part.labels[number])


def pytorchcv_attention_56(num_classes: int = 1000) -> nn.Module:
    """pytorchcv's Attention-56 for 224×224 images, which adds the trunk to the mask and counts each skip twice."""
    from pytorchcv.model_provider import get_model  # a development dependency

    return get_model("resattnet56", num_classes=num_classes)
