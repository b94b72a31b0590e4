"""Data sets as uint8 tensors on the device, and the loader that batches them."""

from bregbench.data.arrays import Arrays
from bregbench.data.augment import Augment, crop_flip
from bregbench.data.base import DatasetConfig
from bregbench.data.cifar import Cifar10, Cifar100
from bregbench.data.custom import Custom
from bregbench.data.digits import Digits
from bregbench.data.image_folder import ImageFolder, ImageNet
from bregbench.data.loader import BatchLoader, evaluation_batches
from bregbench.data.mnist import FashionMnist, Mnist
from bregbench.data.normalization import Normalise, Normalization, compute_normalization
from bregbench.data.split import Data, Split
from bregbench.data.svhn import Svhn

__all__ = [
    "Arrays",
    "Augment",
    "BatchLoader",
    "Cifar10",
    "Cifar100",
    "Custom",
    "Data",
    "DatasetConfig",
    "Digits",
    "FashionMnist",
    "ImageFolder",
    "ImageNet",
    "Mnist",
    "Normalise",
    "Normalization",
    "Split",
    "Svhn",
    "compute_normalization",
    "crop_flip",
    "evaluation_batches",
]
