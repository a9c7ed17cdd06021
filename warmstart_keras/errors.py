"""The one exception of this package."""


class WarmStartError(ValueError):
    """A warm start that cannot be done, or must not be done.

    The message says what is wrong, what was received, and the cure. Whoever catches
    it finds the model exactly as it was before.

    Examples:
        >>> from warmstart_keras import WarmStartEmbedding, WarmStartError, warm_start
        >>> layer = WarmStartEmbedding(output_dim=2, vocabulary=["a", "b"], name="words")
        >>> layer.build()
        >>> try:
        ...     warm_start(layer, ["c", "d"])  # as if a vocabulary build went wrong
        ... except WarmStartError as error:
        ...     print(error)
        Too few words of layer 'words' are in the new vocabulary. Received: 0 of 2 ...
        >>> layer.get_vocabulary()
        ['a', 'b']
    """
