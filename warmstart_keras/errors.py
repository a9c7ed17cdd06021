"""The one exception of this package."""


class WarmStartError(ValueError):
    """A warm start that cannot be done, or must not be done.

    The message says what is wrong, what was received, and the cure. Whoever catches
    it finds the model exactly as it was before.
    """
