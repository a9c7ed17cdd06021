"""Previous runs: reading them, and matching their layers with a model."""

from warmstart_keras.previous.matched_run import (
    AxisOrigin,
    MatchedRun,
    origin_in_model,
    was_adapted,
)
from warmstart_keras.previous.open_previous import open_previous
from warmstart_keras.previous.previous_run import SavedOptimizer
from warmstart_keras.previous.saved_layers import SavedLayer, match
