"""Nets, functions of arrays, with weights drawn from a NumPy generator, in Pyro."""

from ..runtime import extras

extras.check_installed("pyro")

from .codebook import Codebook as Codebook
from .columns import Columns as Columns
from .convolutional import ConvDecoder as ConvDecoder
from .convolutional import ConvEncoder as ConvEncoder
from .convolutions import convolution as convolution
from .convolutions import transposed_convolution as transposed_convolution
from .diffusion import Denoiser as Denoiser
from .diffusion import NoiseSchedule as NoiseSchedule
from .flows import Autoregressive as Autoregressive
from .flows import Conditioner as Conditioner
from .flows import Coupling as Coupling
from .flows import Inverse as Inverse
from .flows import Planar as Planar
from .flows import Radial as Radial
from .flows import Sylvester as Sylvester
from .layers import ACTIVATIONS as ACTIVATIONS
from .layers import Flattened as Flattened
from .layers import OneHot as OneHot
from .layers import Simplex as Simplex
from .layers import SummedCodes as SummedCodes
from .layers import find_activation as find_activation
from .layers import linear as linear
from .masked import MADE as MADE
from .masked import Conditioned as Conditioned
from .perceptrons import MLP as MLP
from .perceptrons import GatedMLP as GatedMLP
from .pixelcnn import PixelCNN as PixelCNN
from .recurrent import GRU as GRU
from .recurrent import Canvas as Canvas
from .recurrent import Combiner as Combiner
from .recurrent import GatedTransition as GatedTransition
from .recurrent import PerStep as PerStep
from .recurrent import Twist as Twist
from .scenes import Scene as Scene
from .standardised import InUnits as InUnits
from .standardised import Standardised as Standardised
from .sticks import Sticks as Sticks
from .stock import Stock as Stock
from .tables import Rows as Rows
from .transformer import CausalTransformer as CausalTransformer
from .unet import UNet as UNet
