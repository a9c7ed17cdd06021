"""Which variables of a model have which vocabulary along which axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from warmstart_keras.errors import WarmStartError
from warmstart_keras.new_rows import NewRowsInitializer


@dataclass(frozen=True, eq=False)
class Binding:
    """Says that a variable has a vocabulary along an axis.

    Layers of Keras need none: name the layer itself in `vocabularies`. Use it as a key
    there to declare a variable of a layer of your own, to say which axis of a kernel is
    meant where a vocabulary fits both, or to name the attributes that hold the
    vocabulary's size, so that the saved model loads with its new one.

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
        layer: The layer that owns the variable, or its name.
        variable: The `keras.Variable`, or the name of it or of the layer's attribute.
        axis: The axis along which it has an entry for each token.
        size: Name, or list of names, of attributes that hold the vocabulary's size and
            go into a configuration: of the layer (`"items"`), or of another one around
            it (`"encoder.items"`). They follow when the size changes.
        initializer: Keras initializer that the entries of new tokens start from. None:
            the mean of the old words' entries; of an embedding, what it says itself.

    Raises:
        WarmStartError: If `axis` is no integer, or `size` is neither a name nor a list of
            names; and when it is used, if layer or variable is not there.
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
                "A `Binding` must have an integer as `axis`, and as `size` the name of "
                f"an attribute, or a list of names. Received: axis={self.axis!r}, "
                f"size={self.size!r}"
            )

    @property
    def rows(self) -> int:
        """Number of entries along the axis, now."""
        return int(self.variable.shape[self.axis])


@dataclass(frozen=True, eq=False, kw_only=True)
class AxisVariable(Binding):
    """A `Binding` that was found in a model, with what is known of it."""

    path: str = ""  # the layer's path of names
    averaged: bool = False  # whether new entries start from the mean of the base's words
    asked: bool = False  # whether `new_embeddings_initializer` applies to its new entries
    # Whether it is a LoRA factor, added to another variable's entries: of the methods for
    # new rows, those that copy base entries apply to it too.
    is_factor: bool = False


@dataclass(frozen=True)
class Size:
    """An attribute of a layer that holds the size of a vocabulary."""

    owner: keras.Layer
    attribute: str  # name of its attribute
    # Where in a tuple it stands; None if the attribute is the number itself.
    index: int | None = None

    def value_for(self, rows: int) -> int | tuple[int, ...]:
        """What the attribute must be for so many rows."""
        if self.index is None:
            return rows
        values = list(getattr(self.owner, self.attribute))
        values[self.index] = rows
        return tuple(values)
