"""`warm_start` and `plan_warm_start`: the warm start of a model at hand."""

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
    """Plans a warm start, and checks all of it; nothing changes.

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
        model: As in `warm_start`, like all that follow.
        vocabularies: What rows shall stand for.
        previous: The previous run that the model starts from. It is read, and checked.
        base_vocabularies: What the rows stand for now, or stood for in `previous`.
        new_embeddings_initializer: What the rows of new words start from.
        optimizer_state: `"carry"` or `"reset"`.
        min_kept: The least share of the old words that the new vocabulary must have.
        missing_ok: Whether `previous` may not be there.
        also: Other models over the same layers.
        seed: Integer or None.
        verbose: What `plan.apply()` prints.
        optimizer: Optimizers that the model does not hold.

    Returns:
        A `WarmStartPlan`. `str(plan)` shows what it would do, `plan.apply()` does it.

    Raises:
        WarmStartError: As in `warm_start`.
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
    """Moves every row of a model to its token's place in the rebuilt vocabulary.

    For use before `fit`, and in training loops of your own; in `fit` the callback
    `VocabularyWarmStart` does the same. Every row whose token stayed is bit for bit what
    it was, in the embedding and in every slot of the optimizer; iterations, learning
    rate and all other weights stay. If anything fails, the model is what it was before.

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
        model: A model, or a layer alone.
        vocabularies: What rows shall stand for, where the model does not tell: a mapping
            from a layer or its name to a source (see `Vocabulary`), or one source where
            the model has one embedding. Becomes the source of a `WarmStartEmbedding`.
        previous: The previous run, whose weights and optimizer state the model starts
            from: path of a `.keras` archive, a `.weights.h5` file or a
            `tf.train.Checkpoint`, or of a directory that has some (the newest counts); or
            a `keras.Model`, which is not touched. Layers are matched by name; rows go to
            their tokens' places in today's vocabulary; what `adapt()` made today stays.
            None: the model itself is yesterday's.
        base_vocabularies: What the rows stand for now (or stood for in `previous`),
            likewise; needed only where that is not known: for a plain `Embedding` that no
            warm start has seen in this process, for clones, and for files that do not
            say it.
        new_embeddings_initializer: What the rows of new words start from: a Keras
            initializer; `"mean"` of the old words, `"gaussian"` around it, `"oov"` (the
            row that served them so far), `"subword"` (from parts of kept words),
            `ContextRows(...)` (from the words around them), `PretrainedRows(...)`; or a
            callable `(tokens, base) -> rows`, with `tokens` the list of new tokens, and
            `base.matrix` (NumPy array) and `base.vocabulary` of before. None: what each
            layer says.
        optimizer_state: `"carry"` moves the slots with their rows, and those of new rows
            start as a fresh optimizer's; `"reset"` starts all slots of these variables
            so.
        min_kept: The least share of the old words that the new vocabulary must have,
            from 0 (no check) to 1. None: at least one word.
        missing_ok: Whether `previous` may not be there, as on the first day: the model
            then stays as it was initialised.
        also: Other models over the same layers, one or a list: their compiled functions
            are made anew and their optimizers carried too.
        seed: Integer or None. New rows depend on it, the layer's name and the two
            vocabularies alone.
        verbose: 0 prints nothing, 1 (and `"auto"`) one line, 2 a table, if anything
            moved.
        optimizer: Optimizers that the model does not hold, one or a list.

    Returns:
        A `WarmStartReport`; `report.changed` is False where nothing was to do.

    Raises:
        WarmStartError: If anything about model, vocabularies or arguments does not fit;
            the message says what, and the cure. The model is as it was before.
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
