"""What the rows of new words start from."""

from warmstart_keras.new_rows import initializers
from warmstart_keras.new_rows.base_rows import (
    BaseRows,
    CopyOfBase,
    MeanOfBase,
    mean_of_rows,
)
from warmstart_keras.new_rows.context import ContextRows
from warmstart_keras.new_rows.initializers import RowInitializer
from warmstart_keras.new_rows.methods import (
    CopyingMethod,
    GaussianRows,
    MeanRows,
    OOVRows,
)
from warmstart_keras.new_rows.pretrained import PretrainedRows
from warmstart_keras.new_rows.start import NewRows, Start, start_of
from warmstart_keras.new_rows.subword import SubwordRows
