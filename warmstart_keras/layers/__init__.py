"""Layers with one entry per token, and the vocabularies that the entries stand for."""

from warmstart_keras.layers.binding import AxisVariable, Binding, Size
from warmstart_keras.layers.embedding import WarmStartEmbedding
from warmstart_keras.layers.layer_axes import (
    LayerAxis,
    behind_head,
    check_quantized,
    has_layer_axes,
    layer_axes_of,
    variables_of,
)
from warmstart_keras.layers.row_record import (
    adapted_values,
    has_moved,
    put_record,
    record_of,
    recorded_vocabulary,
    records_of,
)
from warmstart_keras.layers.row_vocabulary import VOCABULARY_KEY
