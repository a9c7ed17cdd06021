"""Callback that warm-starts a model at the start of `model.fit`."""

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
    """Callback that keeps learned rows in place when a vocabulary is rebuilt.

    At the start of `fit`, the callback reads each vocabulary source of the model and
    compares it with the vocabulary that the rows stand for. If they are equal, the
    callback changes nothing. If they differ, it moves each row and its optimizer slots to
    the new index of the token, and makes Keras recompile the training functions.

    The callback looks at three kinds of layers:

    - every `WarmStartEmbedding`;
    - every layer named in `vocabularies`;
    - in a Sequential or Functional model, every `Embedding` that a lookup layer of the
      model feeds.

    A dataset that was mapped with the lookup layer before the rebuild still yields the
    old ids. Map it again; `check_pipeline` tests this.

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
        >>> vectorizer.adapt(["a good plot", "a bad plot"])  # the vocabulary is rebuilt
        >>> x = ["a good plot", "a bad plot"]
        >>> _ = model.fit(vectorizer(x), y, verbose=0, callbacks=[VocabularyWarmStart()])

    Args:
        vocabularies: Vocabulary source, or a mapping from a layer, its name or a
            `Binding` to a vocabulary source. Defaults to `None`: sources are found in the
            model. See `warm_start`.
        previous: Path of a saved run, or a `keras.Model`, that the model starts from. It
            is used once, at the first `fit` of the model. Defaults to `None`.
            See `warm_start`.
        base_vocabularies: Vocabulary source, or a mapping as in `vocabularies`, for the
            tokens that the rows stand for now. If a base is unknown, the callback moves
            no rows of that layer, records the new vocabulary as the base, and prints a
            note. The note is a warning if an optimizer has already taken steps.
            Defaults to `None`. See `warm_start`.
        new_embeddings_initializer: Keras initializer, string or callable that makes the
            rows of new words. Defaults to `None`: each layer's own initializer.
            See `warm_start`.
        optimizer_state: String, `"carry"` or `"reset"`. `"carry"` moves the slots with
            their rows. `"reset"` starts them again. Defaults to `"carry"`.
        min_kept: Float from 0 to 1, the smallest share of the base's words that the new
            vocabulary must contain. Defaults to `None`: at least one word.
        missing_ok: Boolean, whether `previous` may be a path that does not exist yet.
            Defaults to `False`.
        also: `keras.Model` or a list of models that share layers with the model. Defaults
            to `()`.
        seed: Integer, seed of the new rows. Defaults to `None`. See `warm_start`.
        verbose: `"auto"`, 0, 1 or 2. 0 prints nothing, 1 prints one line, 2 prints a
            table. `"auto"` takes the `verbose` of `fit`. Defaults to `"auto"`.
        log_dir: Path of a TensorBoard log directory. Each warm start writes counts, norms
            of rows and the report, with `optimizer.iterations` as the step. The end of
            training writes how far the rows have moved since. Defaults to `None`: nothing
            is written.

    Attributes:
        report: `WarmStartReport` of the last change, or `None` before the first change.

    Raises:
        WarmStartError: If an argument is invalid. In `fit`, for the same reasons as in
            `warm_start`, and if the model is not compiled. The error in `fit` comes
            before the first step and leaves the model unchanged.
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
        """Moves the rows of the model if one of its vocabularies was rebuilt.

        Raises:
            WarmStartError: If the model is not compiled, or the warm start is not
                possible. The model is unchanged.
        """
        if not getattr(self.model, "compiled", False):
            raise WarmStartError(
                "`VocabularyWarmStart` must be used with a compiled model. Received: "
                f"model '{self.model.name}', which is not compiled. Call "
                "`model.compile(...)`; in a custom training loop, call "
                "`warm_start(model)` instead."
            )
        self._warm_start()
        self._is_checked = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Moves rows again if a later callback restored rows of an older vocabulary.

        `BackupAndRestore` restores weights in its own `on_train_begin`.
        """
        self._check_once()

    def _check_once(self) -> None:
        if not self._is_checked:
            self._is_checked = True
            self._warm_start(only_if_changed=True)

    def _warm_start(self, only_if_changed: bool = False) -> None:
        options = self._options
        if self.model in self._started:  # the rows of `previous` are already in the model
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
        # `base_vocabularies` describes the rows before the first warm start only.
        self._moved.update(binding.layer for binding in plan.bindings)
        self._unbuilt = plan.unbuilt

    def on_train_end(self, logs: dict | None = None) -> None:
        """Records the vocabularies of layers that `fit` has built."""
        self._check_once()  # `fit` begins no epoch if a restored backup is complete
        if self.report is not None:
            tensorboard.write_since(self._log_dir, self.report, self.model.optimizer)
        try:
            record_untouched(self.model, self._options.vocabularies, self._unbuilt)
        except WarmStartError as error:  # an error here would lose a trained model
            warnings.warn(f"VocabularyWarmStart: {error}", stacklevel=2)
            return
        self._unbuilt = {}
