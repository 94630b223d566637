"""Steps of normalising flows: arithmetic of invertible maps of vectors, written once for both backends.

A step has ``forward(x, h) -> (y, log |det dy/dx|)``, ``inverse(y, h) -> x`` and ``known(y, k, h)``: the pre-image of y
where its value k is known, with the gradient of the inverse. That gradient is taken at k, so that neither its value nor
log q suffers from an inverse that loses digits. Vectors are (..., D), contexts h (..., H).

The classes here are the steps without their nets, which a backend's ``nets`` adds.
"""

from .bent import PlanarStep as PlanarStep
from .bent import RadialStep as RadialStep
from .checks import check_context as check_context
from .checks import check_dim as check_dim
from .checks import check_hidden as check_hidden
from .checks import check_image as check_image
from .checks import check_rank as check_rank
from .checks import check_steps as check_steps
from .checks import check_transform as check_transform
from .checks import no_inverse as no_inverse
from .conditioned import AutoregressiveStep as AutoregressiveStep
from .conditioned import CouplingStep as CouplingStep
from .conditioned import Mask as Mask
from .conditioned import beside as beside
from .conditioned import masks as masks
from .known import at_known as at_known
from .known import moved as moved
from .scalars import Affine as Affine
from .scalars import ScalarMap as ScalarMap
from .scalars import Spline as Spline
from .steps import MEAN_DRAWS as MEAN_DRAWS
from .steps import InverseStep as InverseStep
from .steps import Step as Step
from .steps import density_known as density_known
from .steps import pull as pull
from .steps import push as push
from .steps import standard_noise as standard_noise
from .sylvester import SylvesterStep as SylvesterStep
