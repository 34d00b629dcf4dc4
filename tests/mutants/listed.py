"""All mutants, in the order in which they are planted."""

from .in_baselines import BASELINES
from .in_certified_network import CERTIFIED_NETWORK
from .in_choosing import CHOOSING
from .in_comparison import COMPARISON
from .in_constructions import CONSTRUCTIONS
from .in_covariances import COVARIANCES
from .in_em_bounds import EM_BOUNDS
from .in_em_paths import EM_PATHS
from .in_precision import PRECISION
from .in_references import REFERENCES
from .in_regions import REGIONS
from .in_spectral import SPECTRAL
from .in_structured import STRUCTURED
from .in_tensor_power import TENSOR_POWER
from .in_training import TRAINING
from .in_verify import VERIFY
from .mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *BASELINES,
    *CHOOSING,
    *EM_PATHS,
    *CONSTRUCTIONS,
    *COVARIANCES,
    *STRUCTURED,
    *SPECTRAL,
    *TENSOR_POWER,
    *TRAINING,
    *COMPARISON,
    *VERIFY,
    *REGIONS,
    *PRECISION,
    *EM_BOUNDS,
    *REFERENCES,
    *CERTIFIED_NETWORK,
)
