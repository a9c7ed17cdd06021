"""Moves of rows to new places in arrays, files and variables."""

from warmstart_keras.rows.arrays import move_rows
from warmstart_keras.rows.files import written_atomically
from warmstart_keras.rows.remap import remap, warmstart_embedding_matrix
from warmstart_keras.rows.updates import LoadState, MoveRows, SetValue
