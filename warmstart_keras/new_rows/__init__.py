"""Initializers and methods for the rows of new words."""

from warmstart_keras.new_rows import initializers
from warmstart_keras.new_rows.base_rows import (
    BaseRows,
    CopyOfBase,
    MeanOfBase,
    Start,
    mean_of_rows,
)
from warmstart_keras.new_rows.context import ContextRows
from warmstart_keras.new_rows.methods import (
    CopyingMethod,
    GaussianRows,
    MeanRows,
    OOVRows,
)
from warmstart_keras.new_rows.pretrained import PretrainedRows
from warmstart_keras.new_rows.start import (
    NewRows,
    NewRowsInitializer,
    RowInitializer,
    as_start,
)
from warmstart_keras.new_rows.subword import SubwordRows
