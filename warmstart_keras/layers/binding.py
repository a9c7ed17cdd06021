"""`Binding`: a variable of a layer that follows a vocabulary along one axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows import NewRowsInitializer


@dataclass(frozen=True, eq=False)
class Binding:
    """Declares that a variable follows a vocabulary along one axis.

    Keras's own layers need no binding: name the layer itself in `vocabularies`. Use a
    binding as a key of `vocabularies` in three cases:

    - to declare a variable of a custom layer;
    - to select the axis of a kernel, if the vocabulary fits both axes;
    - to name the attributes that hold the size of the vocabulary, so that the saved
      model loads with the new size.

    Examples:
        >>> import keras
        >>> from warmstart_keras import Binding, warm_start
        >>> class Popularity(keras.layers.Layer):
        ...     def __init__(self, items, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.items = items
        ...     def build(self, input_shape):
        ...         self.scores = self.add_weight(shape=(self.items,), name="scores")
        ...     def call(self, ids):
        ...         return keras.ops.take(self.scores, ids)
        ...     def get_config(self):
        ...         return {**super().get_config(), "items": self.items}
        >>> layer = Popularity(3)
        >>> score_of_b = layer(keras.ops.array([1]))
        >>> scores = Binding(layer, "scores", size="items")
        >>> report = warm_start(
        ...     layer,
        ...     vocabularies={scores: ["b", "c", "a", "d"]},
        ...     base_vocabularies={scores: ["a", "b", "c"]},
        ...     verbose=0,
        ... )
        >>> layer.items, bool(layer(keras.ops.array([0])) == score_of_b)
        (4, True)

    Attributes:
        layer: The layer that owns the variable, or the name of the layer.
        variable: The `keras.Variable`, its name, or the name of the attribute of the
            layer that holds it.
        axis: The axis with one entry per token.
        size: Name, or list of names, of the attributes that hold the size of the
            vocabulary and are part of a configuration. An attribute belongs to the layer
            (`"items"`), or to another layer around it (`"encoder.items"`). It is updated
            when the size changes.
        initializer: Keras initializer for the entries of new tokens. None: the mean of
            the entries of the base words. For an embedding, None: the initializer of the
            layer.

    Raises:
        WarmStartError: If `axis` is not an integer, or `size` is neither a name nor a
            list of names. When the binding is used: if the layer or the variable does
            not exist.
    """

    layer: keras.Layer | str
    variable: keras.Variable
    axis: int = 0
    size: str | Sequence[str] = ()
    initializer: NewRowsInitializer = None

    def __post_init__(self) -> None:
        names = [self.size] if isinstance(self.size, str) else self.size
        if (
            not isinstance(self.axis, int)
            or not isinstance(names, list | tuple)
            or not all(isinstance(name, str) for name in names)
        ):
            raise WarmStartError(
                "`axis` of a `Binding` must be an integer, and `size` must be the name "
                f"of an attribute or a list of names. Received: axis={self.axis!r}, "
                f"size={self.size!r}."
            )

    @property
    def rows(self) -> int:
        """Present number of entries along the axis."""
        return int(self.variable.shape[self.axis])


@dataclass(frozen=True, eq=False, kw_only=True)
class AxisVariable(Binding):
    """`Binding` of a variable that was found in a model, with more facts."""

    path: str = ""  # path of the layer in the model
    averaged: bool = False  # whether new entries start from the mean of the base words
    asked: bool = False  # whether `new_embeddings_initializer` applies to new entries
    # Whether it is a LoRA factor, which is added to the entries of another variable.
    # Methods that copy base entries to new rows also apply to a LoRA factor.
    is_factor: bool = False


@dataclass(frozen=True)
class Size:
    """Attribute of a layer that holds the size of a vocabulary."""

    owner: keras.Layer
    attribute: str  # name of the attribute
    # Index of the size in a tuple. None if the attribute is the size itself.
    index: int | None = None

    def value_for(self, rows: int) -> int | tuple[int, ...]:
        """Returns the value of the attribute for a number of rows."""
        if self.index is None:
            return rows
        values = list(getattr(self.owner, self.attribute))
        values[self.index] = rows
        return tuple(values)
