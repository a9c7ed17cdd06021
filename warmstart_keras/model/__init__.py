"""Layer axes and optimizer slots of a model that follow a vocabulary."""

from warmstart_keras.model.axis_sources import find_sources
from warmstart_keras.model.find_axes import find_axes, unnamed_heads
from warmstart_keras.model.named_layers import NamedSources
from warmstart_keras.model.optimizer_keys import (
    check_wrapper,
    is_lost,
    old_key,
    replace_key,
)
from warmstart_keras.model.optimizer_slots import Slot, find_slots
from warmstart_keras.model.optimizer_state import (
    other_rates,
    pair_variables,
    starts_anew,
)
from warmstart_keras.model.vocabulary_axis import (
    ModelAxes,
    Sources,
    VocabularyAxis,
    record_lookup,
)
