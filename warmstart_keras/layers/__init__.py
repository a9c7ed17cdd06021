"""What one layer has for each token, and what that stands for."""

from warmstart_keras.layers.binding import Binding, Size
from warmstart_keras.layers.embedding import WarmStartEmbedding
from warmstart_keras.layers.layer_axes import (
    LayerAxis,
    behind_head,
    check_quantized,
    has_sides,
    sides_of,
    variables_of,
)
from warmstart_keras.layers.row_record import (
    RowRecord,
    adapted_values,
    has_moved,
    put_row_record,
    recorded_vocabulary,
    row_record,
    row_records,
)
from warmstart_keras.layers.row_vocabulary import VOCABULARY_KEY
