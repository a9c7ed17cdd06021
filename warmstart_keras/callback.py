"""`VocabularyWarmStart`: the warm start as a callback of `model.fit`."""

import os
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import replace

import keras

from warmstart_keras.errors import WarmStartError
from warmstart_keras.model import NamedSources
from warmstart_keras.new_rows import NewRowsInitializer
from warmstart_keras.plan import Options, make_plan, record_untouched
from warmstart_keras.report import WarmStartReport, tensorboard
from warmstart_keras.vocabulary import Vocabulary


class VocabularyWarmStart(keras.callbacks.Callback):
    """Keeps what a model has learned when its vocabulary was rebuilt.

    Before the first step of `fit` it compares, for every vocabulary that the model
    depends on, what the rows stand for with what the source says now. Equal: nothing is
    done. Different: every row, and its optimizer state, moves to its token's new place,
    and the compiled functions are made anew.

    Watched are every `WarmStartEmbedding`, every layer named in `vocabularies`, and, in
    Sequential and Functional models, every `Embedding` that a lookup layer of the model
    feeds. A dataset that was mapped with the lookup layer before the rebuild still yields
    the old ids: map it again (see `check_pipeline`).

    Examples:
        >>> import keras, numpy as np
        >>> from warmstart_keras import VocabularyWarmStart, WarmStartEmbedding
        >>> vectorizer = keras.layers.TextVectorization(output_sequence_length=4)
        >>> vectorizer.adapt(["a good film", "a bad film"])
        >>> model = keras.Sequential([
        ...     WarmStartEmbedding(output_dim=8, vocabulary=vectorizer),
        ...     keras.layers.Flatten(), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = ["a good film", "a bad film"], np.array([1.0, 0.0])
        >>> _ = model.fit(vectorizer(x), y, verbose=0)
        >>> vectorizer.adapt(["a good plot", "a bad plot"])  # the next day
        >>> x = ["a good plot", "a bad plot"]
        >>> _ = model.fit(vectorizer(x), y, verbose=0, callbacks=[VocabularyWarmStart()])

    Args:
        vocabularies: As in `warm_start`.
        previous: As in `warm_start`. A model starts from it once, at its first `fit`.
        base_vocabularies: As in `warm_start`. A layer about which nothing is known takes
            today's vocabulary as what its rows stand for, and says so.
        new_embeddings_initializer: As in `warm_start`.
        optimizer_state: As in `warm_start`.
        min_kept: As in `warm_start`.
        missing_ok: As in `warm_start`.
        also: As in `warm_start`.
        seed: As in `warm_start`.
        verbose: 0 prints nothing, 1 one line, 2 a table; `"auto"`: as `fit` does.
        log_dir: Folder that TensorBoard reads, for what each warm start did, at the step
            of the optimizer's iterations: its counts and norms of rows, the table as
            text, and, when training ends, how far rows have moved since. None: nothing
            is written.

    Attributes:
        report: The last `WarmStartReport`; None before the first change.

    Raises:
        WarmStartError: If an argument is none of these; and in `fit`, before the first
            step, as `warm_start` does: the model is as it was before.
    """

    def __init__(
        self,
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
        log_dir: str | os.PathLike | None = None,
    ) -> None:
        super().__init__()
        self.report: WarmStartReport | None = None
        self._moved: weakref.WeakSet = weakref.WeakSet()
        self._started: weakref.WeakSet = weakref.WeakSet()
        self._options = Options(
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
            adopt=True,
            without_base=self._moved,
        )
        self._log_dir = tensorboard.checked(log_dir)
        self._unbuilt: dict[keras.Layer, Vocabulary] = {}
        self._is_checked = True

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Warm-starts the model, if a vocabulary was rebuilt.

        Raises:
            WarmStartError: If that cannot be done; the model is as it was before.
        """
        if not getattr(self.model, "compiled", False):
            raise WarmStartError(
                "`VocabularyWarmStart` must be used with a compiled model. Received: "
                f"model '{self.model.name}', which is not. Call `model.compile(...)`, or "
                "use `warm_start(model)` in a training loop of your own."
            )
        self._warm_start()
        self._is_checked = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Moves the rows once more, if a callback after this one loaded older ones."""
        self._check_once()

    def _check_once(self) -> None:
        if not self._is_checked:
            self._is_checked = True
            self._warm_start(only_if_changed=True)

    def _warm_start(self, only_if_changed: bool = False) -> None:
        options = self._options
        if self.model in self._started:  # the rows are the model's own from then on
            options = replace(options, previous=None, base_vocabularies=None)
        if options.verbose == "auto":
            verbose = (self.params or {}).get("verbose", 1)
            options = replace(options, verbose=verbose if verbose in (0, 1, 2) else 1)
        plan = make_plan(self.model, options)
        if only_if_changed and not plan.changed:
            return
        report = plan.apply()
        if report.changed:
            self.report = report
            tensorboard.write(self._log_dir, report, self.model.optimizer)
        if options.previous is not None:
            self._started.add(self.model)
        # What the user said about rows of before is used up, for these layers.
        self._moved.update(binding.layer for binding in plan.bindings)
        self._unbuilt = plan.unbuilt

    def on_train_end(self, logs: dict | None = None) -> None:
        """Records what the rows of layers stand for that were not built before."""
        self._check_once()  # a training that was over already begins no epoch
        if self.report is not None:
            tensorboard.write_since(self._log_dir, self.report, self.model.optimizer)
        try:
            record_untouched(self.model, self._options.vocabularies, self._unbuilt)
        except WarmStartError as error:  # no reason to lose what was trained
            warnings.warn(f"VocabularyWarmStart: {error}", stacklevel=2)
            return
        self._unbuilt = {}
