"""The only package that touches private names of Keras, each with the reason why.

Nothing private is touched on import, and every private name is asked for by `private`,
which says what to do where a version of Keras has it no more. Everything here is small
and does one thing; what it is good for is decided elsewhere.
"""

from warmstart_keras.keras_internals.access import private, untraced
from warmstart_keras.keras_internals.graph import Call, borders, calls, set_shape
from warmstart_keras.keras_internals.layers import (
    COMPILED_FUNCTIONS,
    Saved,
    embeddings_variable,
    feeding_lookups,
    in_step,
    in_symbolic_call,
    kernel_variable,
    print_message,
    rebuilds_from_its_layers,
    renew_compiled_functions,
    saved_state,
    snake_case,
    sublayers,
    walk,
)
from warmstart_keras.keras_internals.lookups import (
    gives_ids,
    gives_vectors,
    is_saved_as_lines,
    lookup_of,
    lookup_table,
    replace_vocabulary,
    saved_vocabulary_size,
    table_entries,
)
from warmstart_keras.keras_internals.metrics import (
    compiled_metrics,
    forget_metrics_build,
    replace_content,
)
from warmstart_keras.keras_internals.optimizers import (
    accumulated_gradients,
    attributes_not_tracked,
    forget_build,
    moving_averages,
    optimized_variables,
    separate_averages,
    stale_key,
    storage_key,
    stored_name,
    variable_key,
)
from warmstart_keras.keras_internals.storage import (
    let_go,
    refill,
    replace_storage,
    storage_is_held,
)
from warmstart_keras.keras_internals.variables import (
    clear_gradient,
    stand_in,
    variables_without_value,
)

__all__ = [
    "COMPILED_FUNCTIONS",
    "Call",
    "Saved",
    "accumulated_gradients",
    "attributes_not_tracked",
    "borders",
    "calls",
    "clear_gradient",
    "compiled_metrics",
    "embeddings_variable",
    "feeding_lookups",
    "forget_build",
    "forget_metrics_build",
    "gives_ids",
    "gives_vectors",
    "in_step",
    "in_symbolic_call",
    "is_saved_as_lines",
    "kernel_variable",
    "let_go",
    "lookup_of",
    "lookup_table",
    "moving_averages",
    "optimized_variables",
    "print_message",
    "private",
    "rebuilds_from_its_layers",
    "refill",
    "renew_compiled_functions",
    "replace_content",
    "replace_storage",
    "replace_vocabulary",
    "saved_state",
    "saved_vocabulary_size",
    "separate_averages",
    "set_shape",
    "snake_case",
    "stale_key",
    "stand_in",
    "storage_is_held",
    "storage_key",
    "stored_name",
    "sublayers",
    "table_entries",
    "untraced",
    "variable_key",
    "variables_without_value",
    "walk",
]
