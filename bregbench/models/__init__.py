"""Architectures: one config dataclass each, whose `build` returns a plain `torch.nn.Module`."""

from bregbench.models.activation import Activation
from bregbench.models.alexnet import AlexNet
from bregbench.models.base import ModelConfig
from bregbench.models.cnn import Cnn
from bregbench.models.custom import Custom
from bregbench.models.lenet5 import Lenet5
from bregbench.models.mlp import Mlp
from bregbench.models.mlp_autoencoder import MlpAutoencoder
from bregbench.models.normalize import Normalize
from bregbench.models.resnet18 import Resnet18, Stem
from bregbench.models.vgg16 import Head, Vgg16
from bregbench.models.whitened_cnn import WhitenedCnn

__all__ = [
    "Activation",
    "AlexNet",
    "Cnn",
    "Custom",
    "Head",
    "Lenet5",
    "Mlp",
    "MlpAutoencoder",
    "ModelConfig",
    "Normalize",
    "Resnet18",
    "Stem",
    "Vgg16",
    "WhitenedCnn",
]
