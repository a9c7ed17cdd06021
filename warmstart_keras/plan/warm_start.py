"""Public functions that warm-start a model, or plan a warm start."""

import os
from collections.abc import Sequence

import keras

from warmstart_keras.model import NamedSources
from warmstart_keras.new_rows import NewRowsInitializer
from warmstart_keras.plan.make_plan import make_plan
from warmstart_keras.plan.options import Optimizers, Options
from warmstart_keras.plan.plan import WarmStartPlan
from warmstart_keras.report import WarmStartReport


def plan_warm_start(
    model: keras.Layer,
    vocabularies: NamedSources = None,
    previous: str | os.PathLike | keras.Model | None = None,
    *,
    base_vocabularies: NamedSources = None,
    new_embeddings_initializer: NewRowsInitializer = None,
    optimizer_state: str = "carry",
    min_kept: float | None = None,
    missing_ok: bool = False,
    also: keras.Model | Sequence[keras.Model] = (),
    seed: int | None = None,
    verbose: str | int = "auto",
    optimizer: Optimizers = None,
) -> WarmStartPlan:
    """Plans and checks a warm start without changing the model (a dry run).

    Print the plan to see what would happen to each variable, and call `plan.apply()` to
    execute it.

    Examples:
        >>> import keras
        >>> from warmstart_keras import WarmStartEmbedding, plan_warm_start
        >>> words = keras.layers.StringLookup(vocabulary=["a", "b"])
        >>> model = keras.Sequential(
        ...     [keras.Input((3,), dtype="string"), words,
        ...      WarmStartEmbedding(output_dim=2, vocabulary=words)]
        ... )
        >>> words.set_vocabulary(["b", "c"])
        >>> plan = plan_warm_start(model)
        >>> plan.changed
        True
        >>> report = plan.apply()
        Warm start: ...: kept 1 words (1 moved), 1 new, 1 dropped; variables: 1, ...

    Args:
        model: A built `keras.Model`, or a single layer. This and all other arguments are
            described in full in `warm_start`.
        vocabularies: Vocabulary source, or a mapping from a layer, its name or a
            `Binding` to a vocabulary source. Defaults to `None`: sources are found in the
            model.
        previous: Path of a saved run, or a `keras.Model`, that the model starts from. The
            plan reads and checks it. Defaults to `None`.
        base_vocabularies: Vocabulary source, or a mapping as in `vocabularies`, for the
            tokens that the rows stand for now. Defaults to `None`.
        new_embeddings_initializer: Keras initializer, string or callable that makes the
            rows of new words. Defaults to `None`: each layer's own initializer.
        optimizer_state: String, `"carry"` or `"reset"`. Defaults to `"carry"`.
        min_kept: Float from 0 to 1, the smallest share of the base's words that the new
            vocabulary must contain. Defaults to `None`: at least one word.
        missing_ok: Boolean, whether `previous` may be a path that does not exist yet.
            Defaults to `False`.
        also: `keras.Model` or a list of models that share layers with `model`. Defaults
            to `()`.
        seed: Integer, seed of the new rows. Defaults to `None`.
        verbose: `"auto"`, 0, 1 or 2: how much `plan.apply()` prints. Defaults to
            `"auto"`.
        optimizer: Optimizer, or a list of optimizers, that `model` does not hold.
            Defaults to `None`.

    Returns:
        A `WarmStartPlan`.

    Raises:
        WarmStartError: If the warm start is not possible, as in `warm_start`.
    """
    return make_plan(
        model,
        Options(
            vocabularies=vocabularies,
            previous=previous,
            base_vocabularies=base_vocabularies,
            new_embeddings_initializer=new_embeddings_initializer,
            optimizer_state=optimizer_state,
            min_kept=min_kept,
            missing_ok=missing_ok,
            also=also,
            seed=seed,
            verbose=verbose,
            optimizer=optimizer,
        ),
    )


def warm_start(
    model: keras.Layer,
    vocabularies: NamedSources = None,
    previous: str | os.PathLike | keras.Model | None = None,
    *,
    base_vocabularies: NamedSources = None,
    new_embeddings_initializer: NewRowsInitializer = None,
    optimizer_state: str = "carry",
    min_kept: float | None = None,
    missing_ok: bool = False,
    also: keras.Model | Sequence[keras.Model] = (),
    seed: int | None = None,
    verbose: str | int = "auto",
    optimizer: Optimizers = None,
) -> WarmStartReport:
    """Moves each row of a model to the index of its token in the new vocabulary.

    Call it before `fit`, or in a custom training loop. In `fit`, the callback
    `VocabularyWarmStart` does the same.

    A row whose token is kept has exactly the same values afterwards, in the embedding and
    in every optimizer slot. The iteration count, the learning rate and all other weights
    stay the same. If a step fails, the model is restored to its state before the call.

    Examples:
        >>> import keras
        >>> from warmstart_keras import WarmStartEmbedding, warm_start
        >>> words = keras.layers.StringLookup(vocabulary=["a", "b"])
        >>> embedding = WarmStartEmbedding(output_dim=2, vocabulary=words)
        >>> row_of_b = embedding(words(["b"]))
        >>> words.set_vocabulary(["b", "c"])
        >>> report = warm_start(embedding, verbose=0)
        >>> bool(keras.ops.all(embedding(words(["b"])) == row_of_b))
        True

    Args:
        model: A built `keras.Model`, or a single layer.
        vocabularies: Vocabulary source (see `Vocabulary`), or a mapping from a layer, its
            name or a `Binding` to a vocabulary source. A source without a mapping is
            allowed if the model has exactly one embedding. It also becomes the source of
            a `WarmStartEmbedding` for later warm starts. Defaults to `None`: sources are
            found in the model.
        previous: The previous run: a `keras.Model`, or the path of a `.keras` archive, a
            `.weights.h5` file or a `tf.train.Checkpoint`. For a directory of such files,
            the newest is used. `model` takes over weights and optimizer state. Layers are
            matched by name. A `keras.Model` given here is not changed. State that
            `adapt()` has computed in `model` is kept. Defaults to `None`: the rows of
            `model` itself are moved.
        base_vocabularies: Vocabulary source, or a mapping as in `vocabularies`, for the
            tokens that the rows stand for now, or stood for in `previous`. It is needed
            if this is unknown: for a plain `Embedding` before its first warm start in
            this process, for a cloned model, and for a file without vocabularies.
            Defaults to `None`.
        new_embeddings_initializer: Initializer of the rows of new words:

            - a Keras initializer (instance, class or name);
            - `"mean"`, the mean of the base's words, or `"gaussian"`, samples around it;
            - `"oov"`, the OOV row that the word was mapped to before;
            - `"subword"`, from the character n-grams shared with kept words;
            - `ContextRows(...)`, from the words around the new word in texts;
            - `PretrainedRows(...)`, from pretrained vectors;
            - a callable `(tokens, base) -> rows`. `tokens` is the list of new words,
              `base.matrix` the old matrix as a NumPy array, `base.vocabulary` its
              `Vocabulary`.

            Defaults to `None`: each layer's own initializer.
        optimizer_state: String, `"carry"` or `"reset"`. `"carry"` moves the slots with
            their rows, and gives new rows the slots of a fresh optimizer. `"reset"` gives
            all rows the slots of a fresh optimizer. Defaults to `"carry"`.
        min_kept: Float from 0 to 1, the smallest share of the base's words that the new
            vocabulary must contain. 0 turns the check off. Defaults to `None`: at least
            one word.
        missing_ok: Boolean, whether `previous` may be a path that does not exist yet, as
            before the first run. The model then keeps its initial weights. Defaults to
            `False`.
        also: `keras.Model` or a list of models that share layers with `model`. Their
            optimizer slots are moved, and their compiled functions are recreated.
            Defaults to `()`.
        seed: Integer. The values of new rows depend only on the seed, the layer's name
            and the two vocabularies. Defaults to `None`, which is a fixed seed too.
        verbose: `"auto"`, 0, 1 or 2. 0 prints nothing. 1 and `"auto"` print one line if
            rows have moved, 2 prints a table. Defaults to `"auto"`.
        optimizer: Optimizer, or a list of optimizers, that `model` does not hold, as in a
            custom training loop. Their slots are moved too. Defaults to `None`.

    Returns:
        A `WarmStartReport`. `report.changed` is `False` if there was nothing to do.

    Raises:
        WarmStartError: If an argument is invalid, a layer is not built, or a vocabulary
            is unknown or keeps too few words; if `previous` cannot be read or does not
            fit the model; or if the saved model could not be loaded again. The message
            gives the cure. The model is unchanged.
    """
    return plan_warm_start(
        model,
        vocabularies,
        previous,
        base_vocabularies=base_vocabularies,
        new_embeddings_initializer=new_embeddings_initializer,
        optimizer_state=optimizer_state,
        min_kept=min_kept,
        missing_ok=missing_ok,
        also=also,
        seed=seed,
        verbose=verbose,
        optimizer=optimizer,
    ).apply()
