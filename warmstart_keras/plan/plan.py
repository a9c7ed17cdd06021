"""Planning a warm start, all of it checked before anything moves; and applying it."""

import time
import warnings
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import agreement, tensors
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import (
    Binding,
    WarmStartEmbedding,
    recorded_vocabulary,
    variables_of,
)
from warmstart_keras.model import (
    ModelAxes,
    VocabularyAxis,
    find_tables,
    old_key,
    record_lookup,
    replace_key,
    unnamed_heads,
    vocabulary_axes,
)
from warmstart_keras.plan.axis_plan import AxisPlan
from warmstart_keras.plan.following import Resizing, StaleMetrics
from warmstart_keras.plan.options import Options, involved_models, involved_optimizers
from warmstart_keras.plan.slots import arriving_moves, plan_moves
from warmstart_keras.plan.text import left_behind, listing
from warmstart_keras.previous import MatchedRun, open_previous
from warmstart_keras.report import VocabularyChange, WarmStartReport, sampled
from warmstart_keras.rows import LoadState, MoveRows, SetValue
from warmstart_keras.vocabulary import Vocabulary, read


class WarmStartPlan:
    """What a warm start would do, checked; nothing has moved.

    Made by `plan_warm_start`. `str(plan)` is a table of what would move, and a list of
    every variable with its axis, its shape and where its vocabulary was read.

    Examples:
        >>> from warmstart_keras import WarmStartEmbedding, plan_warm_start
        >>> layer = WarmStartEmbedding(output_dim=2, vocabulary=["a", "b"], name="words")
        >>> layer.build()
        >>> plan = plan_warm_start(layer, ["b", "c"], verbose=0)
        >>> print(plan)
        Plan of a warm start; nothing has moved yet
        ...
        >>> layer.get_vocabulary()
        ['a', 'b']
        >>> report = plan.apply()
        >>> layer.get_vocabulary()
        ['b', 'c']

    Attributes:
        model: The model.
        bindings: A `Binding` for each variable that was looked at.
        changed: Whether there is anything to move.
        notes: What the user should know, one sentence each.
        unknown: The same for each layer about whose rows nothing is known: they take
            today's vocabulary, and nothing moves.
        unwatched: The same for each layer of which it is not known where its vocabulary
            comes from; or for the model, if there is none where it is.
        unchecked: Paths of layers whose configuration could not be checked.

    Raises:
        WarmStartError: As in `warm_start`.
    """

    def __init__(self, model: keras.Layer, options: Options) -> None:
        if keras_internals.in_step(model):
            raise WarmStartError(
                "A warm start must not run inside a training step or a compiled "
                "function. Received: a call from within one. Call `warm_start(model)` "
                "before `fit`, or use `VocabularyWarmStart()`, which acts in "
                "`on_train_begin`. If a JAX loop of your own holds the values, assign "
                "them to the variables first."
            )
        self.model = model
        self._options = options
        self._arrivals: MatchedRun | None = None
        try:
            with agreement(model, "plan a warm start", self._facts):
                self._plan()
        except BaseException:
            if self._arrivals is not None:
                self._arrivals.previous.close()
            raise

    def _plan(self) -> None:
        options = self._options
        if options.previous is not None:
            self._arrivals = _matched(self.model, options)
        self._found = self._find()
        self._optimizers = involved_optimizers(self.model, self._options)
        self.unknown: list[str] = []
        self.unwatched = [
            f"layer '{path}': it is not known where its vocabulary comes from, so a "
            "rebuild of it is not seen. Name the source: "
            f"`vocabularies={{'{path.rpartition('/')[2]}': vectorizer}}`."
            for path in self._found.sourceless
        ]
        if self._found.is_in_vain:
            plain = self._found.plain
            self.unwatched.append(
                f"nothing of model '{self.model.name}' is known to follow a vocabulary, "
                f"so a rebuild is not seen. It has embeddings: {plain}. Name the source "
                f"of each that does: `vocabularies={{'{plain[0].rpartition('/')[2]}': "
                "vectorizer}`, or make it a `WarmStartEmbedding`."
            )
        self._of_slots: list[str] = []
        self._by_place: list[str] = []
        self._changes: list[AxisPlan] = []
        bound = variables_of([table.side for table in self._found.tables])
        for table in self._found.tables:
            if table.base is None:
                self._adopt(table)
            elif not table.is_current:
                self._changes.append(AxisPlan.of(table, options, bound))
        rebuilt = [change.table.source for change in self._changes]
        for lookup in self._found.watched:
            before = recorded_vocabulary(lookup, "vectors")
            if before is not None and not before.same_rows(read(lookup)):
                rebuilt.append(lookup)
        for source, problem in self._found.problems:
            if any(source is other for other in rebuilt):
                raise WarmStartError(problem)
        resized = [c.table for c in self._changes if c.table.resizes]
        self._resizing = Resizing.of([self.model, *options.models_besides], resized)
        self.unchecked = self._resizing.unchecked
        models = involved_models(self.model, options) if self._changes else []
        self._stale = StaleMetrics(models, [c.table for c in self._changes])
        if self._stale and options.adopt and keras.backend.backend() == "jax":
            raise WarmStartError(
                "Metrics that were made for another number of outputs must be reset "
                "before `fit`, which on JAX has looked at them when its callbacks begin. "
                f"Received: a callback, for {[c.name for c in self._changes]}. Call "
                "`warm_start(model, ...)` before `fit`."
            )
        heads = unnamed_heads(self.model, self._found.tables) if self._changes else []
        self._left_behind = left_behind(heads, self._changes)
        self._changes = plan_moves(
            self.model,
            self._changes,
            self._optimizers,
            options,
            from_previous=self._is_warm,
        )
        if self._arrivals is not None:
            # What cannot come is refused now, though it is only read in `apply`.
            moved = variables_of([change.table.side for change in self._changes])
            self._arrivals.loads(moved)
            self._by_place = self._arrivals.by_place(moved)
        self._state = self._held()

    @property
    def bindings(self) -> list[Binding]:
        """Every variable that was looked at, with its vocabulary axis."""
        return [b for table in self._found.tables for b in table.side.bindings]

    @property
    def changed(self) -> bool:
        """Whether there is anything to move."""
        return bool(self._changes) or self._is_warm

    @property
    def _is_warm(self) -> bool:
        """Whether there is a previous run."""
        return self._arrivals is not None and self._arrivals.previous.is_there

    @property
    def notes(self) -> list[str]:
        """What the user should know, one sentence each."""
        of_changes = [
            f"layer '{change.name}': {note}"
            for change in self._changes
            for note in [*change.notes, *change.remarks]
        ]
        of_previous = self._arrivals.notes if self._arrivals is not None else []
        return [
            *of_previous,
            *self._by_place,
            *self._of_slots,
            *self.unwatched,
            *self.unknown,
            *of_changes,
            *self._left_behind,
            *self._stale.notes,
        ]

    @property
    def unbuilt(self) -> dict[keras.Layer, Vocabulary]:
        """Layers that were named and have no rows yet, and what their source says."""
        unbuilt = self._found.unbuilt.items()
        return {layer: read(s[0]) for layer, s in unbuilt if len(s) == 1}

    def report(self, seconds: float = 0.0) -> WarmStartReport:
        """What the warm start does, as a report.

        Args:
            seconds: The time to put into it.

        Returns:
            A `WarmStartReport`.
        """
        return WarmStartReport(
            changed=self.changed,
            vocabularies=[
                VocabularyChange.between(change.name, change.row_map)
                for change in self._changes
            ],
            variables=[said for change in self._changes for said in change.report()],
            notes=self.notes,
            unchecked=self.unchecked,
            **({} if self._arrivals is None else self._arrivals.about()),
            seconds=seconds,
        )

    def __str__(self) -> str:
        lines = [self.report().text("Plan of a warm start; nothing has moved yet")]
        if self._found.tables:
            changed = [change.table for change in self._changes]
            lines += ["", listing(self._found.tables, changed)]
        return "\n".join(lines)

    def apply(self) -> WarmStartReport:
        """Does what was planned: all of it, or nothing.

        Returns:
            A `WarmStartReport`.

        Raises:
            WarmStartError: If the model, its optimizer or a vocabulary has changed since
                the plan was made. Whatever is raised, the model is as it was before.
        """
        start = time.perf_counter()
        moves: list[MoveRows | SetValue | LoadState] = []
        with ExitStack() as undo:
            with agreement(
                self.model, "apply a warm start", lambda: [m.digest() for m in moves]
            ):
                if self._is_outdated():
                    raise WarmStartError(
                        "A plan must be applied to the model that it was made for. "
                        "Received: a model whose layers, optimizer or vocabularies (or "
                        "previous run) have changed since. Call `plan_warm_start` again."
                    )
                arriving, self._of_slots = arriving_moves(
                    self.model, self._arrivals, self._changes, self._options, undo
                )
                # Whatever is asked of the user's own code is asked before anything moves.
                fitted = []
                for change in self._changes:
                    for move in change.moves:
                        with agreement(self.model, "work out new rows", list):
                            fitted.append(move.fitted())
                        change.remark(fitted[-1].remark)
                moves += [*(move.prepared() for move in fitted), *arriving]
                report = self.report()  # of the shapes as they are before
            keys = self._old_keys()
            for layer in self._adapted():
                undo.callback(layer.finalize_state)  # after its variables are back
            for each in moves:
                each.apply(undo)
            # What fails in one process from here on is taken back in all.
            with agreement(self.model, "finish a warm start", list):
                self._finish(keys, undo)
                samples = sampled([(c.table.side, c.row_map) for c in self._changes])
                seconds = time.perf_counter() - start
                report = replace(report, samples=samples, seconds=seconds)
                self._say(report)
            undo.pop_all()  # all went well: nothing is taken back
        if self._arrivals is not None:
            self._arrivals.previous.close()
        return report

    def _say(self, report: WarmStartReport) -> None:
        """Prints what was done; warns of what could not be, and may be a mistake."""
        verbose = 1 if self._options.verbose == "auto" else self._options.verbose
        # Read only where it matters: mostly there is nothing to say of it.
        trained = bool(self.unknown) and any(
            tensors.to_numpy(optimizer.iterations) > 0 for optimizer in self._optimizers
        )
        for note in [
            *self.unwatched,
            *self._left_behind,
            *(self.unknown if trained else []),
        ]:
            warnings.warn(f"Warm start: {note}", stacklevel=4)
        if verbose and self._arrivals is not None:
            for note in [*self._arrivals.notes, *self._by_place]:
                keras_internals.print_message(f"Warm start: {note}")
        if verbose and not trained:
            for note in self.unknown:
                keras_internals.print_message(f"Warm start: {note}")
        if verbose:
            for note in self._stale.notes:
                keras_internals.print_message(f"Warm start: {note}")
        if verbose:
            for change in self._changes:
                for remark in change.remarks:
                    keras_internals.print_message(
                        f"Warm start: layer '{change.name}': {remark}"
                    )
        if verbose and report.changed:
            text = str(report) if verbose == 2 else report.one_line()
            keras_internals.print_message(text)

    def _facts(self) -> list[str]:
        """What must be the same in every process that trains the model."""
        options = self._options
        facts = [
            f"seed={options.seed}",
            f"optimizer_state={options.optimizer_state!r}",
        ]
        for table in self._found.tables:
            base = None if table.base is None else table.base.fingerprint
            facts.append(
                f"layer '{table.side.title}': {len(table.new)} tokens with fingerprint "
                f"{table.new.fingerprint}, base {base}, {table.side.rows} rows"
            )
        return facts + [
            f"layer '{change.name}' moves {len(change.moves)} variables"
            for change in self._changes
        ]

    # --- planning ---

    def _find(self) -> ModelAxes:
        options = self._options
        found = find_tables(
            self.model,
            options.vocabularies,
            options.base_vocabularies,
            options.without_base,
            self._arrivals,
            options.models_besides,
        )
        if found.unbuilt and not options.adopt:
            raise WarmStartError(
                "A layer whose rows are to be moved must be built. Received: "
                f"{[layer.name for layer in found.unbuilt]}, not built yet. Call the "
                "model on a batch first."
            )
        return found

    def _adopt(self, table: VocabularyAxis) -> None:
        layer, title = table.layer, table.side.title
        if table.named and not self._options.adopt:
            raise WarmStartError(
                f"It must be known what the rows of layer '{title}' stand "
                "for now. Received: a layer for which nothing was recorded in this "
                f"process. Say it: `base_vocabularies={{'{layer.name}': old_tokens}}`."
            )
        self.unknown.append(
            f"layer '{title}': nothing was known about its rows; today's "
            f"{len(table.new):,} tokens are taken as what they stand for. If they were "
            "trained on another vocabulary, name it: "
            f"`base_vocabularies={{'{layer.name}': old_tokens}}`."
        )

    # --- applying ---

    def _is_outdated(self) -> bool:
        """Whether anything that was looked at has changed since."""
        if self._arrivals is not None and not self._arrivals.previous.is_as_it_was:
            return True
        try:
            now, then = self._find().tables, self._found.tables
        except WarmStartError:
            return True
        return (
            len(now) != len(then)
            or any(not a.is_same(b) for a, b in zip(now, then, strict=True))
            or self._held() != self._state
        )

    def _held(self) -> list:
        """The variables of the optimizers, and their shapes, if any may have to move."""
        if not self._changes:
            return []
        return [
            (id(variable), *map(int, variable.shape))
            for optimizer in involved_optimizers(self.model, self._options)
            for variable in optimizer.variables
        ]

    def _adapted(self) -> list[Any]:
        """Layers that work out more of their variables than these say."""
        layers = [change.table.layer for change in self._changes]
        return [layer for layer in layers if hasattr(layer, "finalize_state")]

    def _old_keys(self) -> list[tuple[Any, Binding, Any]]:
        """By which key each optimizer knows each variable before anything moves."""
        return [
            (optimizer, binding, old_key(optimizer, binding))
            for optimizer in self._optimizers
            for change in self._changes
            for binding in change.bindings
        ]

    def _finish(self, keys: list[tuple[Any, Binding, Any]], undo: ExitStack) -> None:
        """All that there is to do besides moving rows."""
        for optimizer, binding, old in keys:
            new = keras_internals.variable_key(optimizer, binding.variable)
            replace_key(optimizer, old, new, undo)
        for layer in self._adapted():
            layer.finalize_state()
        self._resizing.apply(undo)
        self._stale.reset(undo)
        if self._changes or self.unknown:
            for model in involved_models(self.model, self._options):
                keras_internals.renew_compiled_functions(model, undo)
        for table in self._found.tables:
            table.record(undo)
        for lookup in self._found.watched:
            record_lookup(lookup, undo)
        for layer, (source, *_) in self._found.unbuilt.items():
            if isinstance(layer, WarmStartEmbedding):
                layer.follow(source, undo)
        for optimizer in self._optimizers:
            if optimizer.built:
                keras_internals.separate_averages(optimizer)


def _matched(model: keras.Layer, options: Options) -> MatchedRun:
    """The previous run that the options name, matched with the model."""
    previous = open_previous(options.previous, options.missing_ok)
    try:
        return MatchedRun(model, previous, vocabulary_axes(model, options))
    except BaseException:
        previous.close()
        raise
