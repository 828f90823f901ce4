"""What the drill's daemon loads: the same definitions as in production, of the simulated world."""

from mlops_assets.definitions import definitions
from mlops_assets.operations.drill.simulated import USE_CASE

defs = definitions([USE_CASE])
