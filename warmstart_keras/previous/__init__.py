"""Another run, read and matched with the model at hand."""

from warmstart_keras.previous.keras_files import SavedOptimizer
from warmstart_keras.previous.matched_run import MatchedRun, as_given
from warmstart_keras.previous.previous_run import open_previous
from warmstart_keras.previous.saved_layers import SavedLayer, match
