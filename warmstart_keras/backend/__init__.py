"""Values of variables and tensors on any backend, device and process."""

from warmstart_keras.backend import sharded, tensors
from warmstart_keras.backend.processes import agreement
from warmstart_keras.backend.tensors import Array, LazyArray, Tensor
from warmstart_keras.backend.threads import workers
from warmstart_keras.backend.transaction import Transaction
from warmstart_keras.backend.variable_values import give, read_rows, rows_at
