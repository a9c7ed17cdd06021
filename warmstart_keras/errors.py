"""Exception type of this package."""


class WarmStartError(ValueError):
    """Exception for a warm start that is impossible or not allowed.

    The message says what is wrong, which value was received, and how to fix it. After
    the exception, the model is exactly as it was before the call.

    Examples:
        >>> from warmstart_keras import WarmStartEmbedding, WarmStartError, warm_start
        >>> layer = WarmStartEmbedding(output_dim=2, vocabulary=["a", "b"], name="words")
        >>> layer.build()
        >>> try:
        ...     warm_start(layer, ["c", "d"])  # the vocabulary has no word in common
        ... except WarmStartError as error:
        ...     print(error)
        Too few words of layer 'words' are in the new vocabulary. Received: 0 of 2 ...
        >>> layer.get_vocabulary()
        ['a', 'b']
    """
