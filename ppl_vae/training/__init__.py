"""Training, written once: settings, data, the loop over epochs, checkpoints."""

from .data import TrainingData as TrainingData
from .loop import Loop as Loop
from .protocols import Callback as Callback
from .protocols import Replicas as Replicas
from .protocols import Run as Run
from .settings import TrainingSettings as TrainingSettings
from .settings import describe as describe
from .svi import BaseSVI as BaseSVI
