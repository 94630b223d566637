"""Nets, functions of arrays, with weights drawn from a NumPy generator, in NumPyro."""

from .codebook import Codebook as Codebook
from .convolutional import ConvDecoder as ConvDecoder
from .convolutional import ConvEncoder as ConvEncoder
from .convolutions import Convolution as Convolution
from .convolutions import TransposedConvolution as TransposedConvolution
from .convolutions import convolution as convolution
from .convolutions import convolve as convolve
from .convolutions import convolve_transposed as convolve_transposed
from .convolutions import find_method as find_method
from .convolutions import transposed_convolution as transposed_convolution
from .layers import ACTIVATIONS as ACTIVATIONS
from .layers import Flattened as Flattened
from .layers import Linear as Linear
from .layers import OneHot as OneHot
from .layers import Simplex as Simplex
from .layers import find_activation as find_activation
from .layers import linear as linear
from .masked import MADE as MADE
from .masked import Conditioned as Conditioned
from .perceptrons import MLP as MLP
from .perceptrons import GatedMLP as GatedMLP
from .pixelcnn import PixelCNN as PixelCNN
from .scenes import Scene as Scene
from .tables import PerDatum as PerDatum
from .tables import Rows as Rows
from .transformer import CausalTransformer as CausalTransformer
