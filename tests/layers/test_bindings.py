"""`Binding`: variables of layers of the user's own, sizes that follow, and refusals."""

import keras
import numpy as np
import pytest
from heads import OOV, Scores, expected, ids_of, lookup
from models import array

from warmstart_keras import (
    Binding,
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    warm_start,
)

BASE, NEW = list("abcd"), list("dxbaye")


@keras.saving.register_keras_serializable("tests")
class Encoder(keras.layers.Layer):
    """Keeps its vocabulary's size in its configuration, as many users' layers do.

    So does KerasHub's `TokenAndPositionEmbedding`.
    """

    def __init__(self, vocabulary_size, width, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size, self.width = vocabulary_size, width
        self.tokens = keras.layers.Embedding(vocabulary_size, width, name="tokens")
        self.positions = keras.layers.Embedding(5, width, name="positions")

    def build(self, input_shape):
        self.tokens.build(input_shape)
        self.positions.build((input_shape[-1],))

    def call(self, ids):
        return self.tokens(ids) + self.positions(keras.ops.arange(ids.shape[-1]))

    def get_config(self):
        about = {"vocabulary_size": self.vocabulary_size, "width": self.width}
        return {**super().get_config(), **about}


def with_encoder():
    ids = keras.Input((3,), dtype="int32")
    encoded = Encoder(len(BASE) + 1, 4, name="encoder")(ids)
    model = keras.Model(ids, keras.layers.Flatten()(encoded))
    model.compile("sgd", "mse")
    return model


IN_ENCODER = Binding("tokens", "embeddings", size="encoder.vocabulary_size")


def test_a_parent_that_keeps_the_size_follows(tmp_path):
    model = with_encoder()
    source = lookup(BASE)
    table = model.get_layer("encoder").tokens
    before = array(table.embeddings).copy()
    warm_start(
        model,
        {IN_ENCODER: lookup(NEW)},
        base_vocabularies={IN_ENCODER: source},
        verbose=0,
    )
    wanted = expected(before, 0, [OOV, *BASE], [OOV, *NEW], array(table.embeddings))
    np.testing.assert_array_equal(array(table.embeddings), wanted)
    assert model.get_layer("encoder").vocabulary_size == 7
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    ids = ids_of(lookup(NEW), [list("dxb")])
    np.testing.assert_array_equal(loaded.predict(ids, verbose=0), model.predict(ids))
    assert keras.models.clone_model(model).count_params() == model.count_params()


def test_a_parent_that_was_not_named_is_refused():
    refused(
        with_encoder(),
        {"tokens": lookup(NEW)},
        {"tokens": lookup(BASE)},
        r"configuration of 'encoder' .*rebuilds 5 rows.*size='encoder\.vocabulary_size'",
    )


def refused(model, vocabularies, bases, message):
    """Raises, and leaves all as it was."""
    before = state(model)
    with pytest.raises(WarmStartError, match=message):
        warm_start(model, vocabularies, base_vocabularies=bases, verbose=0)
    assert state(model) == before


def state(model):
    values = [array(v).tobytes() for v in model.variables]
    return values, str(model.get_config())


def with_scores(rows=4):
    return keras.Sequential([keras.Input((3,)), Scores(rows, name="scores")])


TABLE = Binding("scores", "table", axis=-1, size="items")
PRIOR = Binding("scores", "prior", axis=0)


def test_one_line_for_each_variable(tmp_path):
    model = with_scores()
    table, prior = (array(v).copy() for v in model.variables)
    bindings = {TABLE: NEW, PRIOR: NEW}
    report = warm_start(
        model, bindings, base_vocabularies=dict.fromkeys(bindings, BASE), verbose=0
    )
    layer = model.get_layer("scores")
    for before, variable, axis in ((table, layer.table, 1), (prior, layer.prior, 0)):
        wanted = expected(before, axis, BASE, NEW, array(variable))
        np.testing.assert_array_equal(array(variable), wanted)
    np.testing.assert_allclose(array(layer.prior)[1], prior.mean(), rtol=1e-5)
    assert (layer.items, model.output_shape) == (6, (None, 6))
    assert [v.shape_after for v in report.variables] == [(3, 6), (6,)]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    ones = np.ones((1, 3), "float32")
    np.testing.assert_array_equal(array(loaded(ones)), array(model(ones)))


def test_an_initializer_of_its_own():
    model = with_scores()
    zeros = Binding("scores", "prior", initializer="zeros")
    warm_start(model, {zeros: list("dxba")}, base_vocabularies={zeros: BASE}, verbose=0)
    assert array(model.get_layer("scores").prior)[1] == 0


def test_a_binding_in_fit_learns_and_remembers():
    model = with_scores()
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = np.ones((2, 3)), np.zeros((2, 4))
    layer = model.get_layer("scores")
    for tokens in (BASE, list("dcba")):
        before = array(layer.prior).copy()
        callback = VocabularyWarmStart({PRIOR: tokens}, verbose=0)
        model.optimizer.learning_rate = 0.0
        model.fit(x, y, verbose=0, callbacks=[callback])
    np.testing.assert_array_equal(array(layer.prior), before[::-1])


def test_the_layer_and_the_variable_themselves():
    model = with_scores()
    layer = model.get_layer("scores")
    before = array(layer.prior).copy()
    prior = Binding(layer, layer.prior)
    warm_start(model, {prior: list("dcba")}, base_vocabularies={prior: BASE}, verbose=0)
    np.testing.assert_array_equal(array(layer.prior), before[::-1])


def test_what_a_layer_has_besides_is_told():
    model = with_scores()
    report = warm_start(
        model, {PRIOR: list("dcba")}, base_vocabularies={PRIOR: BASE}, verbose=0
    )
    assert any("other variables of the vocabulary's size" in n for n in report.notes)


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        (
            Binding("skores", "prior"),
            r"must name layers of the model. Received: 'skores'",
        ),
        (Binding("scores", "prio"), r"must name one variable .*'prio'.*'prior \(4,\)'"),
        (Binding("scores", "table", axis=2), r"axis of a `Binding` .*Received: axis=2"),
        (
            Binding("scores", "prior", size="width"),
            r"`size` of a `Binding` must name .*'width', which is 'no such attribute'",
        ),
        (
            Binding("scores", "table", axis=0, size="items"),
            r"`size` .* 'items', which is 4, but .* has 3 entries",
        ),
    ],
)
def test_a_binding_that_matches_nothing(binding, message):
    refused(with_scores(), {binding: NEW}, {}, message)


def test_a_size_that_is_not_told():
    bindings = dict.fromkeys([Binding("scores", "table", axis=1), PRIOR], NEW)
    bases = dict.fromkeys(bindings, BASE)
    refused(with_scores(), bindings, bases, r"`Binding\(.*size='scores\.items'")


def test_a_variable_that_is_forgotten_and_could_not_stay():
    refused(with_scores(), {TABLE: NEW}, {TABLE: BASE}, r"besides .*prior \(4,\)")


class Sized(Scores):
    """Whose size cannot be set."""

    @property
    def number(self):
        return self.items


def test_a_size_that_cannot_be_set():
    model = keras.Sequential([keras.Input((3,)), Sized(4, name="scores")])
    bindings = dict.fromkeys([Binding("scores", "table", 1, size="number"), PRIOR], NEW)
    bases = dict.fromkeys(bindings, BASE)
    refused(model, bindings, bases, r"an attribute that can be set.*'number' of 'scores'")


@pytest.mark.parametrize(
    "arguments", [{"axis": None}, {"axis": "1"}, {"size": None}, {"size": [3]}]
)
def test_arguments_of_a_binding_that_are_none(arguments):
    with pytest.raises(
        WarmStartError, match=r"`axis` .*integer.*`size` .*Received: axis="
    ):
        Binding("scores", "prior", **arguments)


def test_an_initializer_that_is_none():
    nonsense = Binding("scores", "prior", initializer="nonsense")
    refused(with_scores(), {nonsense: BASE}, {}, "must be a Keras initializer")


def test_two_axes_of_one_size():
    square = keras.layers.EinsumDense("bc,cde->bde", (4, 4), name="square")
    model = keras.Sequential([keras.Input((3,)), square])
    refused(model, {"square": BASE}, {}, r"'square' of type EinsumDense, for 4 tokens")
    before = array(square.kernel).copy()
    rows = Binding("square", "kernel", axis=1)
    warm_start(model, {rows: list("dcba")}, base_vocabularies={rows: BASE}, verbose=0)
    np.testing.assert_array_equal(array(square.kernel), before[:, ::-1])


def test_two_bindings_of_a_layer_that_is_not_built_yet():
    model = keras.Sequential([Scores(4, name="scores")])
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = np.ones((2, 3)), np.zeros((2, 4))
    bindings = dict.fromkeys([TABLE, PRIOR], BASE)
    model.fit(x, y, verbose=0, callbacks=[VocabularyWarmStart(bindings, verbose=0)])
    table = array(model.get_layer("scores").table).copy()
    warm_start(model, {key: list("dcba") for key in bindings}, verbose=0)
    after = array(model.get_layer("scores").table)
    np.testing.assert_array_equal(after, table[:, ::-1])


def test_the_same_variable_twice():
    again = Binding("scores", "prior", axis=-1)
    refused(with_scores(), {PRIOR: BASE, again: NEW}, {}, "must name a layer once")


def test_a_layer_of_ones_own_without_a_binding():
    refused(
        with_scores(),
        {"scores": NEW},
        {},
        r"Received: 'scores' of type Scores.*Binding\('scores', 'variable', axis=0\)",
    )


def test_a_vocabulary_that_fits_no_axis():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
    refused(model, {"head": BASE}, {}, r"'head' .*\['3 inputs', '2 outputs'\]")


def test_an_unknown_variable_in_a_subclass_of_a_known_layer():
    class Popular(WarmStartEmbedding):
        def build(self, input_shape=None):
            super().build(input_shape)
            self.counts = self.add_weight(shape=(self.input_dim,), name="counts")

    source = lookup(BASE)
    layer = Popular(output_dim=2, vocabulary=source, name="words")
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layer])
    source.set_vocabulary(list("dcba"))
    refused(model, None, None, r"no variable of the vocabulary's size besides .*counts")
    before = array(layer.counts).copy()
    warm_start(
        model,
        {"words": source, Binding("words", "counts"): source},
        base_vocabularies={Binding("words", "counts"): BASE_WITH_OOV},
        verbose=0,
    )
    np.testing.assert_array_equal(array(layer.counts)[1:], before[1:][::-1])


BASE_WITH_OOV = [OOV, *BASE]


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_quantised_head(mode):
    head = keras.layers.Dense(4, name="head")
    model = keras.Sequential([keras.Input((8,)), head])
    head.quantize(mode)
    before = [array(v).tobytes() for v in model.variables]
    with pytest.raises(WarmStartError, match=f"must not be quantized.*'{mode}'"):
        warm_start(model, {"head": NEW}, base_vocabularies={"head": BASE})
    assert [array(v).tobytes() for v in model.variables] == before
