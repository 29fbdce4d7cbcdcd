# The public names, and where each is defined: type checkers read this file, and `__init__.py` imports from it.
from . import demonstrations as demonstrations
from ._version import __version__ as __version__
from .base import Batch as Batch
from .base import Frames as Frames
from .base import Label as Label
from .base import Losses as Losses
from .base import Mask as Mask
from .base import Network as Network
from .base import NetworkConfig as NetworkConfig
from .base import Objective as Objective
from .base import Task as Task
from .base import Vector as Vector
from .checks import check_environment as check_environment
from .checks import check_network as check_network
from .checks import check_objective as check_objective
from .checks import check_task as check_task
from .errors import CallbackError as CallbackError
from .errors import PeerLost as PeerLost
from .errors import Stopped as Stopped
from .errors import UserError as UserError
from .evaluation.evaluate import evaluate as evaluate
from .models.loading import load as load
from .models.model import Model as Model
from .networks import DiTConfig, MLPConfig, UNet2dConfig
from .networks.wrapped import as_network as as_network
from .objectives import OBJECTIVES as OBJECTIVES
from .objectives import FlowMatching as FlowMatching
from .objectives import Shortcut as Shortcut
from .policies.policy import Policy as Policy
from .recipes.library import RECIPES as RECIPES
from .recipes.train import train as train
from .tasks import Digits as Digits
from .tasks import FromDataset as FromDataset
from .tasks import Images as Images
from .training.callbacks import Callback as Callback
from .training.fit import fit as fit
from .training.options import Training as Training

DiT = DiTConfig
MLP = MLPConfig
UNet = UNet2dConfig
