"""Names for what users pass, and for tensors of any backend."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Union

import keras
import numpy as np

if TYPE_CHECKING:
    import jax
    import tensorflow as tf
    import torch

    from warmstart_keras.new_rows import BaseRows, RowInitializer
    from warmstart_keras.vocabulary import Token, Vocabulary


class HasVocabulary(Protocol):
    """An object that lists its tokens, such as a lookup layer or a `Vocabulary`."""

    def get_vocabulary(self) -> "Sequence[Token]":
        """The tokens in the order of their ids."""


class Tokenizer(Protocol):
    """An object that names the token of each id, such as a KerasHub tokenizer."""

    def vocabulary_size(self) -> int:
        """The number of ids."""

    def id_to_token(self, id: int) -> "Token":
        """The token of one id."""


Tensor = Union["tf.Tensor", "jax.Array", "torch.Tensor"]
"""A tensor of any backend."""

Array = Union["np.ndarray", keras.Variable, Tensor]
"""An array, or a variable or tensor of any backend."""

VocabularySource = Union[
    keras.Layer,
    "Vocabulary",
    HasVocabulary,
    Tokenizer,
    Mapping["Token", int],
    Sequence["Token"],
    np.ndarray,
    Tensor,
    str,
    os.PathLike,
]
"""Where a vocabulary is read: see `Vocabulary`."""

NewRowsInitializer = Union[
    str,
    dict,
    keras.initializers.Initializer,
    type[keras.initializers.Initializer],
    "RowInitializer",
    type["RowInitializer"],
    Callable[[list["Token"], "BaseRows"], np.ndarray],
    None,
]
"""What the rows of new tokens start from: `new_embeddings_initializer`."""
