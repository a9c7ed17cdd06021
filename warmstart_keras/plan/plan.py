"""Checked plan of a warm start, and its execution."""

import time
import warnings
from dataclasses import dataclass, replace

import keras

from warmstart_keras import keras_internals
from warmstart_keras.backend import Transaction, agreement
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import Binding, WarmStartEmbedding, variables_of
from warmstart_keras.model import (
    ModelAxes,
    Sources,
    find_axes,
    find_sources,
    old_key,
    record_lookup,
    replace_key,
)
from warmstart_keras.plan.axis_plan import AxisPlan
from warmstart_keras.plan.following import Resizing, StaleMetrics
from warmstart_keras.plan.options import Options, Scope
from warmstart_keras.plan.slots import SlotUpdate, slots_from_run
from warmstart_keras.plan.text import Level, Note, listing
from warmstart_keras.previous import MatchedRun
from warmstart_keras.report import (
    VariableChange,
    VocabularyChange,
    WarmStartReport,
    sampled,
)
from warmstart_keras.rows import LoadState, MoveRows, SetValue
from warmstart_keras.vocabulary import Vocabulary, read


@dataclass(frozen=True, eq=False, repr=False)
class WarmStartPlan:
    """Checked plan of a warm start that has not changed anything yet.

    `plan_warm_start` makes a plan, and `plan.apply()` executes it. `str(plan)` shows a
    table of the changes, and a list of all variables that follow a vocabulary, with axis,
    shape and vocabulary source.

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
        model: The `keras.Model` or layer that the plan is for.
        bindings: List with a `Binding` for each variable that follows a vocabulary.
        changed: Boolean, whether there is anything to move.
        notes: List of strings, messages to the user.
        unknown: List of strings, the messages about layers whose base vocabulary is
            unknown. They keep their rows, and the new vocabulary is recorded as the base.
        unwatched: List of strings, the messages about layers whose vocabulary source is
            unknown, or about a model without any known source. A rebuild of such a
            vocabulary goes unnoticed.
        unchecked: List of paths of layers whose configuration could not be checked.

    Raises:
        WarmStartError: If `apply` is called after the model has changed.
    """

    model: keras.Layer
    _options: Options
    _scope: Scope
    _run: MatchedRun | None
    _found: ModelAxes
    _plans: tuple[AxisPlan, ...]
    _slots: tuple[SlotUpdate, ...]
    _resizing: Resizing
    _stale_metrics: StaleMetrics
    _notes_of_run: tuple[Note, ...]
    _notes_of_model: tuple[Note, ...]
    unknown: list[str]
    unwatched: list[str]
    _held: list[tuple[int, ...]]

    @property
    def bindings(self) -> list[Binding]:
        """The variables that follow a vocabulary, each with its axis."""
        return [b for axis in self._found.axes for b in axis.layer_axis.bindings]

    @property
    def changed(self) -> bool:
        """True if there is anything to move."""
        return bool(self._plans) or self._is_from_run

    @property
    def _is_from_run(self) -> bool:
        """True if there is a previous run."""
        return self._run is not None and self._run.previous.is_there

    @property
    def _all_notes(self) -> tuple[Note, ...]:
        return self._notes_of_run + self._notes_of_model

    @property
    def notes(self) -> list[str]:
        """The messages to the user."""
        return [note.text for note in self._all_notes]

    @property
    def unchecked(self) -> list[str]:
        """The paths of layers whose configuration could not be checked."""
        return self._resizing.unchecked

    @property
    def unbuilt(self) -> dict[keras.Layer, Vocabulary]:
        """The layers that were named but not built, each with its new vocabulary."""
        unbuilt = self._found.sources.unbuilt.items()
        return {layer: read(s[0]) for layer, s in unbuilt if len(s) == 1}

    def report(self, seconds: float = 0.0) -> WarmStartReport:
        """Describes the changes of the plan as a report.

        Args:
            seconds: Float, the duration to put into the report. Defaults to 0.0.

        Returns:
            A `WarmStartReport`.
        """
        return WarmStartReport(
            changed=self.changed,
            vocabularies=[
                VocabularyChange.between(plan.name, plan.row_map) for plan in self._plans
            ],
            variables=[
                _variable_change(plan, binding, self._slots)
                for plan in self._plans
                for binding in plan.bindings
            ],
            notes=self.notes,
            unchecked=self.unchecked,
            **({} if self._run is None else self._run.about()),
            seconds=seconds,
        )

    def __str__(self) -> str:
        lines = [self.report().text("Plan of a warm start; nothing has moved yet")]
        if self._found.axes:
            lines += ["", listing(self._found.axes, self._plans)]
        return "\n".join(lines)

    def facts(self) -> list[str]:
        """Lists the facts that must be equal in all processes that train the model."""
        options = self._options
        facts = [f"seed={options.seed}", f"optimizer_state={options.optimizer_state!r}"]
        for axis in self._found.axes:
            base = None if axis.base is None else axis.base.fingerprint
            facts.append(
                f"layer '{axis.layer_axis.title}': {len(axis.new)} tokens with "
                f"fingerprint {axis.new.fingerprint}, base {base}, "
                f"{axis.layer_axis.rows} rows"
            )
        for plan in self._plans:
            slots = [slot for slot in self._slots if slot.axis is plan.axis]
            moves = len(plan.moves) + len(slots)
            facts.append(f"layer '{plan.name}' moves {moves} variables")
        return facts

    def apply(self) -> WarmStartReport:
        """Executes the plan, completely or not at all.

        Returns:
            A `WarmStartReport`.

        Raises:
            WarmStartError: If the model, its optimizer, a vocabulary or the previous run
                has changed since the plan was made. After this or any other error, the
                model is unchanged.
        """
        start = time.perf_counter()
        updates: list[MoveRows | SetValue | LoadState] = []
        with Transaction() as transaction:
            with agreement(
                self.model, "apply a warm start", lambda: [u.digest() for u in updates]
            ):
                if self._is_outdated():
                    raise WarmStartError(
                        "A plan must be applied to the model that it was made for. "
                        "Received: a model whose layers, optimizer or vocabularies (or "
                        "previous run) have changed since then. Call `plan_warm_start` "
                        "again."
                    )
                whole = self._with_slots_from_run(transaction)._fitted()
                # User callbacks run before anything is modified.
                updates += whole._updates()
                report = whole.report()  # it needs the shapes before the change
            keys = self._old_keys()
            for layer in self._adapting():
                # Rollbacks run in reverse order, so this one runs after the layer's
                # variables have their old values again.
                transaction.on_rollback(layer.finalize_state)
            for update in updates:
                update.apply(transaction)
            # If one process fails from here on, all processes roll back.
            with agreement(self.model, "finish a warm start", list):
                self._finish(keys, transaction)
                moved = [(plan.axis.layer_axis, plan.row_map) for plan in self._plans]
                seconds = time.perf_counter() - start
                report = replace(report, samples=sampled(moved), seconds=seconds)
                whole._say(report)
            transaction.commit()
        if self._run is not None:
            self._run.previous.close()
        return report

    def _is_outdated(self) -> bool:
        """Returns whether anything that the plan depends on has changed."""
        if self._run is not None and not self._run.previous.is_as_it_was:
            return True
        try:
            sources = asked_sources(self.model, self._options)
            now, then = find_axes(sources, self._run), self._found
        except WarmStartError:
            return True
        return (
            len(now.axes) != len(then.axes)
            or any(not a.is_same(b) for a, b in zip(now.axes, then.axes, strict=True))
            or (bool(self._plans) and self._is_held_otherwise())
        )

    def _is_held_otherwise(self) -> bool:
        """Returns whether the optimizers hold other variables than before."""
        return held(Scope.of(self.model, self._options), self._plans) != self._held

    def _with_slots_from_run(self, transaction: Transaction) -> "WarmStartPlan":
        """Adds to the plan the optimizer state of a previous run, if there is one."""
        if self._run is None or not self._is_from_run:
            return self
        slots, texts = slots_from_run(
            self.model, self._run, self._plans, self._scope, self._options, transaction
        )
        notes = (*self._notes_of_run, *(Note(text, Level.DETAIL) for text in texts))
        return replace(self, _slots=(*self._slots, *slots), _notes_of_run=notes)

    def _fitted(self) -> "WarmStartPlan":
        """Fits the methods that make new rows, where a method has to learn first."""
        plans, notes = [], list(self._notes_of_model)
        for plan in self._plans:
            moves = []
            for move in plan.moves:
                with agreement(self.model, "work out new rows", list):
                    moves.append(move.fitted())
                note = Note(f"layer '{plan.name}': {moves[-1].remark}", Level.INFO)
                if moves[-1].remark is not None and note not in notes:
                    notes.append(note)
            plans.append(replace(plan, moves=tuple(moves)))
        return replace(self, _plans=tuple(plans), _notes_of_model=tuple(notes))

    def _updates(self) -> list[MoveRows | SetValue | LoadState]:
        """Lists all updates of variables in their order."""
        moves = [move.prepared() for plan in self._plans for move in plan.moves]
        loads: list[SetValue | LoadState] = []
        if self._run is not None:
            axes = [plan.axis.layer_axis for plan in self._plans]
            loads = self._run.loads(variables_of(axes))
        return [*moves, *(slot.update for slot in self._slots), *loads]

    def _old_keys(self) -> list[tuple]:
        """Lists the key of each variable in each optimizer, before anything moves."""
        return [
            (optimizer, binding.variable, old_key(optimizer, binding))
            for optimizer in self._scope.optimizers
            for plan in self._plans
            for binding in plan.bindings
        ]

    def _adapting(self) -> list[keras.Layer]:
        """Lists the layers that compute further state from their variables."""
        layers = [plan.axis.layer for plan in self._plans]
        return [layer for layer in layers if hasattr(layer, "finalize_state")]

    def _finish(self, keys: list[tuple], transaction: Transaction) -> None:
        """Makes all changes that follow after the rows have moved."""
        for optimizer, variable, old in keys:
            new = keras_internals.variable_key(optimizer, variable)
            replace_key(optimizer, old, new, transaction)
        for layer in self._adapting():
            layer.finalize_state()
        self._resizing.apply(transaction)
        self._stale_metrics.reset(transaction)
        if self._plans or self.unknown:
            for model in self._scope.models:
                keras_internals.renew_compiled_functions(model, transaction)
        for axis in self._found.axes:
            axis.record(transaction)
        for lookup in self._found.sources.watched:
            record_lookup(lookup, transaction)
        for layer, (source, *_) in self._found.sources.unbuilt.items():
            if isinstance(layer, WarmStartEmbedding):
                layer.follow(source, transaction)
        for optimizer in self._scope.optimizers:
            if optimizer.built:
                keras_internals.separate_averages(optimizer)

    def _say(self, report: WarmStartReport) -> None:
        """Prints the report and the notes, and issues the warnings."""
        verbose = 1 if self._options.verbose == "auto" else self._options.verbose
        for note in self._all_notes:
            if note.level is Level.WARNING:
                warnings.warn(f"Warm start: {note.text}", stacklevel=4)
            elif note.level is Level.INFO and verbose:
                keras_internals.print_message(f"Warm start: {note.text}")
        if verbose and report.changed:
            text = str(report) if verbose == 2 else report.one_line()
            keras_internals.print_message(text)


def asked_sources(model: keras.Layer, options: Options) -> Sources:
    """Finds the vocabulary sources of a model for the arguments of a warm start."""
    return find_sources(
        model,
        options.vocabularies,
        options.base_vocabularies,
        options.without_base,
        options.models_besides,
        as_new=options.previous is not None,
    )


def held(scope: Scope, plans: tuple[AxisPlan, ...]) -> list[tuple[int, ...]]:
    """Lists the variables of the optimizers by `id`, with shapes, if there are plans."""
    return [
        (id(variable), *map(int, variable.shape))
        for optimizer in (scope.optimizers if plans else [])
        for variable in optimizer.variables
    ]


def _variable_change(
    plan: AxisPlan, binding: Binding, slots: tuple[SlotUpdate, ...]
) -> VariableChange:
    """Describes the change of a variable. It must run before the variable moves."""
    variable, axis = binding.variable, binding.axis
    stored = plan.axis.stored.get(id(variable))
    before = tuple(map(int, variable.shape)) if stored is None else stored.shape
    after = (*before[:axis], plan.axis.rows, *before[axis + 1 :])
    paths = [
        slot.update.variable.path
        for slot in slots
        if slot.axis is plan.axis and slot.owner is variable
    ]
    return VariableChange(variable.path, axis, before, after, paths)
