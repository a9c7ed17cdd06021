"""The only package that uses private names of Keras; a comment gives each reason.

The import uses no private name. Every private name is read with `private`, whose error
tells what to do if a version of Keras lacks the name. Each function is small and does
one thing; other packages decide what to use it for.
"""

from warmstart_keras.keras_internals.access import private, untraced
from warmstart_keras.keras_internals.graph import Call, borders, calls, set_shape
from warmstart_keras.keras_internals.layers import (
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
    Key,
    attributes_not_tracked,
    forget_build,
    inner_optimizers,
    moving_averages,
    optimized_variables,
    separate_averages,
    stale_key,
    storage_key,
    stored_name,
    trained_variables,
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
    shapes_alone,
    stand_in,
)
