"""`fit` with the callback after a rebuild: what stays, what moves, what is made anew."""

import functools

import keras
import models
import numpy as np
import pytest
import tensorflow as tf
from models import (
    BACKEND,
    LABELS,
    MONDAY,
    RESHUFFLED,
    TUESDAY,
    WIDTH,
    array,
    texts,
    with_strings_in_model,
)

from warmstart_keras import (
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    warm_start,
)


def fit(model, data, callback=None, **kwargs):
    """Fits one epoch after a warm start; gives the state that the first step found."""
    seen = models.StateAtFirstStep()
    callback = callback or VocabularyWarmStart()
    model.fit(data, LABELS, verbose=0, callbacks=[callback, seen], **kwargs)
    return seen.state


def assert_rows_followed(path, old_tokens, new_tokens, before, after):
    """Row by row, bit for bit, with a plain loop; returns how many were kept."""
    kept = 0
    for row, token in enumerate(new_tokens):
        if token in old_tokens:
            np.testing.assert_array_equal(
                after[path][row],
                before[path][old_tokens.index(token)],
                err_msg=str(token),
            )
            kept += 1
    assert kept >= 3
    return kept


FOLLOWING = ["words/embeddings", "adam/words_embeddings_momentum"]
FOLLOWING += ["adam/words_embeddings_velocity"]


@pytest.mark.parametrize("new_texts", [RESHUFFLED, MONDAY[:2], MONDAY + TUESDAY])
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(
            "in the model", marks=[with_strings_in_model, pytest.mark.compiling]
        ),
        "mapped",
    ],
)
@pytest.mark.parametrize("kind", ["following", "capacity", "plain", "plain capacity"])
def test_every_kept_row_and_slot_is_bit_for_bit_what_it_was(kind, place, new_texts):
    layer = models.vectorizer()
    embedding = {
        "following": lambda: WarmStartEmbedding(
            None, WIDTH, vocabulary=layer, name="words"
        ),
        "capacity": lambda: WarmStartEmbedding(20, WIDTH, vocabulary=layer, name="words"),
        "plain": lambda: keras.layers.Embedding(
            layer.vocabulary_size(), WIDTH, name="words"
        ),
        "plain capacity": lambda: keras.layers.Embedding(20, WIDTH, name="words"),
    }[kind]()
    mapped = place == "mapped"
    how = {"run_eagerly": models.EAGER and (mapped or "plain" in kind)}
    make = models.on_ids if mapped else functools.partial(models.in_model, layer)
    model = make(embedding, **how)
    prepare = layer if mapped else texts
    vocabularies = {"words": layer} if mapped and "plain" in kind else None
    fit(model, prepare(MONDAY), VocabularyWarmStart(vocabularies))
    old_tokens, before = layer.get_vocabulary(), models.state(model)
    paths = [v.path for v in model.variables + model.optimizer.variables]

    layer.adapt(new_texts)
    callback = VocabularyWarmStart(vocabularies)
    after = fit(model, prepare((new_texts + MONDAY)[:3]), callback)

    new_tokens = layer.get_vocabulary()
    for path in FOLLOWING:
        assert_rows_followed(path, old_tokens, new_tokens, before, after)
    assert callback.report.changed
    rows = 20 if "capacity" in kind else len(new_tokens)
    assert after["words/embeddings"].shape == (rows, WIDTH)
    assert embedding.input_dim == rows
    assert [v.path for v in model.variables + model.optimizer.variables] == paths
    for path, value in before.items():
        if path not in FOLLOWING:  # iterations and learning rate among them
            np.testing.assert_array_equal(after[path], value, err_msg=path)


def test_new_slot_rows_start_as_a_fresh_optimizer_starts_them():
    model, layer, _ = models.trained_in_model()
    layer.adapt(TUESDAY)
    after = fit(model, texts(TUESDAY))
    new = layer.get_vocabulary().index("twist")
    for path in FOLLOWING[1:]:
        np.testing.assert_array_equal(after[path][new], np.zeros(WIDTH))


def test_new_rows_train():
    model, layer, embedding = models.trained_in_model()
    layer.adapt(TUESDAY)
    before = fit(model, texts(TUESDAY))["words/embeddings"]
    new = embedding.get_vocabulary().index("twist")
    assert np.all(array(embedding.embeddings)[new] != before[new])


def test_predict_uses_the_new_table_and_the_moved_rows():
    model, layer, embedding = models.trained_in_model()
    model.predict(texts(MONDAY), verbose=0)  # compiled with Monday's table
    layer.adapt(TUESDAY)
    warm_start(model)
    kernel, bias = (array(w) for w in model.get_layer("score").weights)
    hidden = array(embedding.embeddings)[array(layer(TUESDAY))]
    expected = hidden.reshape(3, -1) @ kernel + bias
    got = model.predict(texts(TUESDAY), verbose=0)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_predictions_on_kept_words_are_what_they_were():
    model, layer, _ = models.trained_in_model()
    kept_words = texts(["a plot", "the good bad of", "good"])
    before = model.predict(kept_words, verbose=0)
    layer.adapt(TUESDAY)
    warm_start(model)
    np.testing.assert_array_equal(model.predict(kept_words, verbose=0), before)


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning")
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.compiling)])
def test_evaluate_in_the_same_fit_sees_the_new_vocabulary(jit):
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    model = models.on_ids(embedding, jit_compile=jit, run_eagerly=False)
    data = (layer(MONDAY), LABELS)
    model.fit(*data, validation_data=data, verbose=0)
    layer.adapt(TUESDAY)
    data = (layer(TUESDAY), LABELS)
    history = model.fit(
        *data, validation_data=data, verbose=0, callbacks=[VocabularyWarmStart()]
    )
    assert history.history["val_loss"] == [
        pytest.approx(model.evaluate(*data, verbose=0), rel=1e-5)
    ]


@pytest.mark.parametrize(
    "compile_args",
    [
        {"run_eagerly": True},
        pytest.param(
            {"steps_per_execution": 2},
            marks=pytest.mark.skipif(
                BACKEND == "torch", reason="Keras has it as 1 on PyTorch, and says so"
            ),
        ),
    ],
)
def test_other_ways_of_running_a_step_train_the_moved_rows(compile_args):
    model, layer, embedding = models.trained_in_model(**compile_args)
    layer.adapt(TUESDAY)
    before = fit(model, texts(TUESDAY), batch_size=2)["words/embeddings"]
    assert np.any(array(embedding.embeddings) != before)


def test_a_layer_built_before_the_first_adapt_starts_every_word_anew():
    layer = models.vectorizer(None)
    embedding = WarmStartEmbedding(
        output_dim=WIDTH, vocabulary=layer, name="words", embeddings_initializer="ones"
    )
    model = models.in_model(layer, embedding)
    special = np.full((2, WIDTH), 7.0)
    embedding.set_weights([special])
    layer.adapt(MONDAY)
    callback = VocabularyWarmStart(new_embeddings_initializer="zeros")
    after = fit(model, texts(MONDAY), callback)["words/embeddings"]
    np.testing.assert_array_equal(after[:2], special)
    np.testing.assert_array_equal(
        after[2:], np.ones((layer.vocabulary_size() - 2, WIDTH))
    )


class Scorer(keras.Model):
    """A subclassed model over text: its layers are built in its first step.

    Where strings cannot enter a model, over the ids of text.
    """

    def __init__(self, layer, embedding=None, **kwargs):
        super().__init__(**kwargs)
        self.vectorizer = layer
        self.words = embedding or WarmStartEmbedding(
            output_dim=WIDTH, vocabulary=layer, name="words"
        )
        self.score = keras.layers.Dense(1, name="score")

    def call(self, inputs):
        ids = self.vectorizer(inputs) if BACKEND == "tensorflow" else inputs
        return self.score(keras.ops.mean(self.words(ids), axis=1))

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {**super().get_config(), "layer": serialize(self.vectorizer)}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["layer"] = keras.saving.deserialize_keras_object(config["layer"])
        return cls(**config)


def scorer(layer, embedding=None, **kwargs):
    model = models.mapped(Scorer(layer, embedding, **kwargs), layer)
    model.compile(models.adam(), "mse")
    return model


@pytest.mark.compiling
@pytest.mark.parametrize("plain", [False, True])
def test_a_subclassed_model_whose_first_fit_has_the_callback(plain, tmp_path):
    layer = models.vectorizer()
    embedding = None
    if plain:
        embedding = keras.layers.Embedding(20, WIDTH, name="words")
    model = scorer(layer, embedding, name="scorer")
    vocabularies = {"words": layer} if plain else None
    callback = VocabularyWarmStart(vocabularies)
    model.fit(texts(MONDAY), LABELS, verbose=0, callbacks=[callback])
    assert callback.report is None
    old_tokens, before = layer.get_vocabulary(), models.state(model)

    layer.adapt(TUESDAY)
    after = fit(model, texts(TUESDAY), VocabularyWarmStart(vocabularies))

    tokens = layer.get_vocabulary()
    for variable in ("words/embeddings", "adam/scorer_words_embeddings_momentum"):
        path = next(path for path in before if path.endswith(variable))
        assert_rows_followed(path, old_tokens, tokens, before, after)
    if not plain:
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(
            tmp_path / "model.keras", custom_objects={"Scorer": Scorer}
        )
        models.mapped(loaded, loaded.vectorizer)
        np.testing.assert_array_equal(
            loaded.predict(texts(TUESDAY), verbose=0),
            model.predict(texts(TUESDAY), verbose=0),
        )


def test_a_table_too_small_for_its_vocabulary_is_told_when_training_has_built_it():
    layer = models.vectorizer()
    model = scorer(layer, keras.layers.Embedding(8, WIDTH, name="words"))
    message = r"9 tokens, 8 rows.*raise `input_dim`"
    if BACKEND == "tensorflow":
        told = pytest.warns(UserWarning, match=message)
    else:  # Keras builds the model before the fit begins, and nothing is lost yet
        told = pytest.raises(WarmStartError, match=message)
    with told:
        model.fit(
            texts(["film", "a", "a film"]),
            LABELS,
            verbose=0,
            callbacks=[VocabularyWarmStart({"words": layer})],
        )


@pytest.mark.files
@pytest.mark.parametrize("input_dim", [None, 20])
def test_saved_and_loaded_after_a_warm_start_it_is_the_same_model(input_dim, tmp_path):
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(input_dim, WIDTH, vocabulary=layer, name="words")
    model, layer, embedding = models.trained_in_model(embedding, layer)
    layer.adapt(TUESDAY)
    fit(model, texts(TUESDAY))
    model.save(tmp_path / "model.keras")
    loaded = models.mapped(keras.models.load_model(tmp_path / "model.keras"), layer)
    models.assert_same_state(models.state(model), models.state(loaded))
    assert loaded.get_layer("words").get_vocabulary() == embedding.get_vocabulary()
    np.testing.assert_array_equal(
        loaded.predict(texts(TUESDAY), verbose=0),
        model.predict(texts(TUESDAY), verbose=0),
    )


SERVE = """
import sys
sys.modules["warmstart_keras"] = None  # importing it would raise
import numpy as np
inputs = np.load("inputs.npy")
"""
SERVE_SAVED_MODEL = """
import tensorflow as tf
model = tf.saved_model.load("exported")
served = model.serve(tf.constant(inputs))
"""
SERVE_TORCH = """
import torch
model = torch.export.load("exported.pt2").module()
batches = torch.tensor(inputs).split(1)  # it serves one by one
served = torch.concatenate([model(batch) for batch in batches]).detach()
"""
COMPARE = """
np.testing.assert_allclose(served, np.load("expected.npy"), rtol=1e-5)
"""


@pytest.mark.compiling
@pytest.mark.filterwarnings("ignore:.*native_serialization:DeprecationWarning")  # of JAX
def test_exported_after_a_warm_start_it_serves_without_this_package(tmp_path):
    model, layer, _ = models.trained_in_model()
    layer.adapt(TUESDAY)
    fit(model, texts(TUESDAY))
    in_torch = BACKEND == "torch"
    form = "torch" if in_torch else "tf_saved_model"
    name = "exported.pt2" if in_torch else "exported"
    model.export(tmp_path / name, format=form, verbose=False)
    np.save(tmp_path / "expected.npy", model.predict(texts(TUESDAY), verbose=0))
    in_texts = BACKEND == "tensorflow"
    inputs = np.array(TUESDAY) if in_texts else models.ids(layer, TUESDAY).astype("int32")
    np.save(tmp_path / "inputs.npy", inputs)
    serve = SERVE + (SERVE_TORCH if in_torch else SERVE_SAVED_MODEL) + COMPARE
    (tmp_path / "serve.py").write_text(serve)
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "serve.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_nothing_changed_nothing_is_done():
    model, _, _ = models.trained_in_model()
    functions = model.train_function, model.predict_function
    before = models.state(model)
    report = warm_start(model)
    assert not report.changed
    assert (model.train_function, model.predict_function) == functions
    models.assert_same_state(before, models.state(model))


def test_the_same_vocabulary_set_again_is_no_change():
    model, layer, _ = models.trained_in_model()
    layer.set_vocabulary(layer.get_vocabulary())
    assert not warm_start(model).changed


def test_a_lookup_that_was_not_rebuilt_is_not_read_again(monkeypatch):
    model, _, _ = models.trained_in_model()
    fit(model, texts(MONDAY))

    def refuse(*args):
        raise AssertionError("the vocabulary was read")

    for name in ("get_vocabulary", "adapt"):
        monkeypatch.setattr(keras.layers.TextVectorization, name, refuse)
        monkeypatch.setattr(keras.layers.StringLookup, name, refuse)
    monkeypatch.setattr(tf.lookup.StaticHashTable, "export", refuse)
    fit(model, texts(MONDAY))


def test_warm_start_then_fit_with_the_callback_moves_rows_once():
    model, layer, _ = models.trained_in_model()
    layer.adapt(TUESDAY)
    warm_start(model)
    before = models.state(model)
    callback = VocabularyWarmStart()
    models.assert_same_state(before, fit(model, texts(TUESDAY), callback))
    assert callback.report is None


def test_a_new_callback_each_day_is_right_for_a_plain_layer():
    layer = models.vectorizer()
    plain = keras.layers.Embedding(layer.vocabulary_size(), WIDTH, name="words")
    model = models.in_model(layer, plain)
    vocabularies = models.named(layer)
    fit(model, texts(MONDAY), VocabularyWarmStart(vocabularies))
    for day in (TUESDAY, RESHUFFLED, MONDAY):
        old_tokens, before = layer.get_vocabulary(), models.state(model)
        layer.adapt(day)
        data = texts((day + MONDAY)[:3])
        after = fit(model, data, VocabularyWarmStart(vocabularies))
        assert_rows_followed(
            "words/embeddings", old_tokens, layer.get_vocabulary(), before, after
        )


def test_a_plain_layer_as_large_as_max_tokens_keeps_its_rows_as_a_capacity():
    layer = models.vectorizer(max_tokens=10)
    plain = keras.layers.Embedding(10, WIDTH, name="words")
    model = models.in_model(layer, plain)
    callback = VocabularyWarmStart(models.named(layer))
    fit(model, texts(MONDAY), callback)
    layer.adapt(["a good film"])
    fit(model, texts(MONDAY), callback)
    assert callback.report.changed
    assert plain.input_dim == 10


def test_spare_rows_stay_untouched_until_a_word_takes_them():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(20, WIDTH, vocabulary=layer, name="words")
    model, layer, embedding = models.trained_in_model(embedding, layer)
    before = models.state(model)["words/embeddings"]
    layer.adapt(MONDAY + TUESDAY)
    after = fit(model, texts(MONDAY))["words/embeddings"]
    words = layer.vocabulary_size()
    np.testing.assert_array_equal(after[words:], before[words:])
    new = layer.get_vocabulary().index("twist")
    assert np.any(after[new] != before[new])


def held(embedding):
    """A look-up of ids in the storage that the table has now."""
    if BACKEND == "torch":
        storage = embedding.embeddings.value.detach()
        return lambda ids: storage[ids]
    import tensorflow as tf

    step = tf.function(lambda ids: embedding(ids), autograph=False)
    step(tf.constant([2]))
    return lambda ids: step(tf.constant(ids))


@pytest.mark.skipif(BACKEND == "jax", reason="an array of JAX is never assigned to")
def test_a_table_whose_rows_stay_in_number_is_assigned_not_replaced():
    model, layer, embedding = models.trained_in_model(
        layer=models.vectorizer(max_tokens=6)
    )
    rows_of = held(embedding)
    layer.adapt(TUESDAY)
    warm_start(model)
    row = embedding.get_vocabulary().index("plot")
    np.testing.assert_array_equal(
        array(rows_of([row]))[0], array(embedding.embeddings)[row]
    )


def test_two_embeddings_on_one_vocabulary_both_follow_it():
    layer = models.vectorizer()
    first = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="first")
    second = WarmStartEmbedding(output_dim=2, vocabulary=first, name="second")
    inputs, ids = models.text_input(layer)
    joined = keras.layers.Concatenate()([first(ids), second(ids)])
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(joined)))
    models.mapped(model, layer).compile("adam", "mse")
    model.fit(texts(MONDAY), LABELS, verbose=0)
    old_tokens, before = layer.get_vocabulary(), models.state(model)
    layer.adapt(TUESDAY)
    after = fit(model, texts(TUESDAY))
    for name in ("first", "second"):
        assert_rows_followed(
            f"{name}/embeddings", old_tokens, layer.get_vocabulary(), before, after
        )


def integer_lookup():
    lookup = keras.layers.IntegerLookup(mask_token=0)
    lookup.adapt(models.numbers(MONDAY))
    return lookup


@pytest.mark.parametrize("with_input", [True, False])
@pytest.mark.parametrize(
    ("make", "prepare", "inputs"),
    [
        pytest.param(
            models.vectorizer,
            texts,
            {"shape": (), "dtype": "string"},
            marks=with_strings_in_model,
        ),
        pytest.param(
            integer_lookup,
            models.numbers,
            {"shape": (models.LENGTH,), "dtype": "int32"},
            marks=pytest.mark.skipif(
                BACKEND == "jax", reason="`fit` on JAX cannot trace a lookup in a model"
            ),
        ),
    ],
)
def test_a_plain_layer_after_a_lookup_in_a_sequential_model_follows_it(
    make, prepare, inputs, with_input
):
    layer = make()
    layers = [
        layer,
        keras.layers.Embedding(layer.vocabulary_size(), WIDTH, name="words"),
        keras.layers.Flatten(),
        keras.layers.Dense(1),
    ]
    if with_input:
        layers.insert(0, keras.Input(**inputs))
    model = keras.Sequential(layers, name="sequential")
    model.compile(models.adam(), "mse")
    fit(model, prepare(MONDAY))
    old_tokens, before = layer.get_vocabulary(), models.state(model)
    layer.adapt(prepare(TUESDAY))
    after = fit(model, prepare(TUESDAY))
    path = next(path for path in before if path.endswith("words/embeddings"))
    assert_rows_followed(path, old_tokens, layer.get_vocabulary(), before, after)


def test_one_embedding_on_two_inputs_moves_once():
    layer = models.vectorizer()
    plain = keras.layers.Embedding(20, WIDTH, name="words")
    title, body = (keras.Input((), dtype="string", name=n) for n in ("title", "body"))
    joined = keras.layers.Concatenate()([plain(layer(title)), plain(layer(body))])
    model = keras.Model([title, body], keras.layers.Flatten()(joined))
    warm_start(model)
    old_tokens, before = layer.get_vocabulary(), models.state(model)
    layer.adapt(TUESDAY)
    report = warm_start(model)
    assert len(report.variables) == 1
    assert_rows_followed(
        "words/embeddings",
        old_tokens,
        layer.get_vocabulary(),
        before,
        models.state(model),
    )


def test_an_embedding_inside_another_model_is_found_and_moved():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    ids = keras.Input((models.LENGTH,), dtype="int32")
    encoder = keras.Model(ids, keras.layers.Flatten()(embedding(ids)), name="encoder")
    inputs, ids = models.text_input(layer)
    model = keras.Model(inputs, keras.layers.Dense(1)(encoder(ids)))
    models.mapped(model, layer).compile("adam", "mse")
    model.fit(texts(MONDAY), LABELS, verbose=0)
    encoder.predict(layer(MONDAY), verbose=0)
    old_tokens, before = layer.get_vocabulary(), models.state(model)
    layer.adapt(TUESDAY)
    after = fit(model, texts(TUESDAY))
    assert_rows_followed(
        "words/embeddings", old_tokens, layer.get_vocabulary(), before, after
    )
    assert encoder.predict_function is None


def test_integer_ids_follow_their_lookup():
    lookup = keras.layers.IntegerLookup(num_oov_indices=1)
    lookup.adapt([[10, 20, 30, 20]])
    embedding = WarmStartEmbedding(output_dim=2, vocabulary=lookup, name="items")
    embedding.build()
    row = array(embedding(lookup([20]))).tolist()
    lookup.adapt([[30, 30, 40, 20]])
    assert warm_start(embedding).changed
    assert array(embedding(lookup([20]))).tolist() == row


def test_a_source_named_in_vocabularies_is_followed_from_then_on():
    model, layer, embedding = models.trained_in_model()
    tokens = [*layer.get_vocabulary()[2:], "new"]
    old_tokens, before = layer.get_vocabulary(), models.state(model)
    report = warm_start(model, {"words": tokens})
    assert embedding.get_vocabulary() == ["", "[UNK]", *tokens]
    assert "mask and OOV rows of the base were added" in str(report)
    assert embedding.vocabulary_source is tokens
    assert_rows_followed(
        "words/embeddings",
        old_tokens,
        ["", "[UNK]", *tokens],
        before,
        models.state(model),
    )


def test_a_custom_loop_warm_starts_with_its_own_optimizer():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    optimizer = models.adam()

    embedding.build()

    def step(data):
        models.own_step(
            optimizer,
            embedding.trainable_variables,
            lambda: keras.ops.sum(embedding(layer(data)) ** 2),
        )

    step(MONDAY)
    old_tokens = layer.get_vocabulary()
    before = {v.path: array(v) for v in optimizer.variables}
    layer.adapt(TUESDAY)
    report = warm_start(embedding, optimizer=optimizer, verbose=0)
    after = {v.path: array(v) for v in optimizer.variables}
    assert_rows_followed(
        "adam/words_embeddings_velocity",
        old_tokens,
        layer.get_vocabulary(),
        before,
        after,
    )
    assert not any("optimizer=" in note for note in report.notes)
    rows = array(embedding.embeddings)
    step(TUESDAY)
    new = layer.get_vocabulary().index("twist")
    assert np.all(array(embedding.embeddings)[new] != rows[new])


@pytest.mark.skipif(BACKEND != "jax", reason="is about a function of JAX's `jit`")
@pytest.mark.parametrize("input_dim", [None, 20])
def test_a_jitted_loop_of_jax_goes_on_with_the_state_that_moved(input_dim):
    import jax

    layer = models.vectorizer()
    embedding = WarmStartEmbedding(input_dim, WIDTH, vocabulary=layer, name="words")
    embedding.build()
    optimizer = models.adam()
    optimizer.build(embedding.trainable_variables)

    @jax.jit
    def update(values, slots, ids):
        def loss(values):
            rows, _ = embedding.stateless_call(values, [], ids)
            return keras.ops.sum(rows**2)

        return optimizer.stateless_apply(slots, jax.grad(loss)(values), values)

    def step(data):
        variables, slots = embedding.trainable_variables, optimizer.variables
        results = update(
            [v.value for v in variables], [v.value for v in slots], layer(data)
        )
        for variable, value in zip(
            variables + slots, results[0] + results[1], strict=True
        ):
            variable.assign(value)

    def state():
        variables = embedding.trainable_variables + optimizer.variables
        return {v.path: array(v) for v in variables}

    step(MONDAY)
    old_tokens, before = layer.get_vocabulary(), state()
    layer.adapt(TUESDAY)
    warm_start(embedding, optimizer=optimizer, verbose=0)
    after = state()
    tokens = layer.get_vocabulary()
    for path in FOLLOWING:
        assert_rows_followed(path, old_tokens, tokens, before, after)
    step(TUESDAY)
    new = tokens.index("twist")
    for path, trained in state().items():
        if path in FOLLOWING:
            assert np.all(trained[new] != after[path][new])
    assert array(optimizer.iterations) == 2


def test_the_report_names_optimizer_where_no_built_one_is_known():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer)
    embedding.build()
    layer.adapt(TUESDAY)
    report = warm_start(embedding, verbose=0)
    assert "pass `optimizer=`" in " ".join(report.notes)


def test_hashed_oov_rows_of_another_number_start_from_the_mean_of_the_old():
    old = keras.layers.StringLookup(vocabulary=["a", "b"], num_oov_indices=2)
    new = keras.layers.StringLookup(vocabulary=["b", "a"], num_oov_indices=3)
    embedding = WarmStartEmbedding(output_dim=2, vocabulary=old, name="words")
    model = keras.Sequential([embedding, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.array([[0, 1, 2, 3]]), np.ones((1, 4, 1)), verbose=0)
    before = models.state(model)
    report = warm_start(model, {"words": new}, verbose=0)
    for path, after in models.state(model).items():
        if "words" in path or path.endswith("words/embeddings"):
            mean = before[path][:2].mean(axis=0, dtype="float64").astype("float32")
            np.testing.assert_array_equal(after[:3], np.stack([mean] * 3))
            np.testing.assert_array_equal(after[3:], before[path][[3, 2]])
    assert "start from the mean of the old ones" in str(report)


def test_new_rows_are_the_same_in_every_process_and_differ_by_day_and_layer():
    def rows(name="words", seed=None, day=TUESDAY):
        layer = models.vectorizer()
        embedding = WarmStartEmbedding(
            output_dim=WIDTH,
            vocabulary=layer,
            name=name,
            embeddings_initializer=keras.initializers.RandomNormal(seed=1),
        )
        embedding.build()
        first = array(embedding.embeddings)
        layer.adapt(day)
        warm_start(embedding, seed=seed, verbose=0)
        new = embedding.get_vocabulary().index("twist")
        return first, array(embedding.embeddings)[new]

    first, row = rows()
    np.testing.assert_array_equal(row, rows()[1])
    assert not any(np.array_equal(row, other) for other in first)
    for other in (rows(name="other"), rows(seed=5), rows(day=[*TUESDAY, "more"])):
        assert not np.array_equal(row, other[1])


def test_a_callable_for_new_rows_sees_the_new_words_and_the_old_table():
    model, layer, embedding = models.trained_in_model()
    before = array(embedding.embeddings)
    layer.adapt(TUESDAY)
    seen = {}

    def from_the_film(tokens, base):
        seen["tokens"] = tokens
        seen["matrix"] = base.matrix
        film = base.vocabulary.tokens.index("film")
        return np.stack([base.matrix[film]] * len(tokens))

    warm_start(model, new_embeddings_initializer=from_the_film, verbose=0)
    assert seen["tokens"] == ["twist", "zebra"]
    np.testing.assert_array_equal(seen["matrix"], before)
    new = embedding.get_vocabulary().index("zebra")
    np.testing.assert_array_equal(array(embedding.embeddings)[new], before[2])


def test_a_table_resized_while_frozen_trains_after_it_is_unfrozen():
    model, layer, embedding = models.trained_in_model()
    embedding.trainable = False
    model.compile(models.adam(), "mse")
    layer.adapt(TUESDAY)
    fit(model, texts(TUESDAY))
    embedding.trainable = True
    model.compile(models.adam(), "mse")
    before = array(embedding.embeddings)
    model.fit(texts(TUESDAY), LABELS, verbose=0)
    assert np.any(array(embedding.embeddings) != before)


def test_the_optimizer_of_a_model_inside_is_carried_too():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    inner = models.on_ids(embedding)
    inner.fit(layer(MONDAY), LABELS, verbose=0)
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, inner(layer(inputs)))
    model.compile("sgd", "mse")
    old_tokens, before = layer.get_vocabulary(), models.state(inner)
    layer.adapt(TUESDAY)
    warm_start(model, verbose=0)
    after = models.state(inner)
    for path in FOLLOWING:
        assert_rows_followed(path, old_tokens, layer.get_vocabulary(), before, after)
    inner.fit(layer(TUESDAY), LABELS, verbose=0)


def test_a_plain_layer_that_also_serves_on_raw_ids_is_still_found():
    layer = models.vectorizer()
    plain = keras.layers.Embedding(20, WIDTH, name="words")
    model = models.over_texts(layer, plain)
    ids = keras.Input((models.LENGTH,), dtype="int32")
    keras.Model(ids, plain(ids))
    warm_start(model, verbose=0)
    layer.adapt(TUESDAY)
    assert warm_start(model, verbose=0).changed


@pytest.mark.parametrize(
    "learning_rate",
    [keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9), lambda: 0.1],
)
def test_a_learning_rate_that_is_no_number_is_no_obstacle(learning_rate):
    model, layer, _ = models.trained_in_model(
        optimizer=keras.optimizers.Adam(learning_rate, name="adam")
    )
    old_tokens, before = layer.get_vocabulary(), models.state(model)
    layer.adapt(TUESDAY)
    warm_start(model, verbose=0)
    for path in FOLLOWING:
        assert_rows_followed(
            path, old_tokens, layer.get_vocabulary(), before, models.state(model)
        )


@pytest.mark.parametrize(
    "vocabulary",
    [
        None,
        pytest.param(
            ["other"],
            marks=pytest.mark.skipif(
                BACKEND != "tensorflow",
                reason="Keras builds the layer for its own source before the fit begins",
            ),
        ),
    ],
)
def test_a_layer_not_built_yet_follows_the_source_that_the_callback_names(vocabulary):
    layer = models.vectorizer()
    words = WarmStartEmbedding(20, WIDTH, vocabulary=vocabulary, name="words")
    model = scorer(layer, words)
    callback = VocabularyWarmStart({"words": layer})
    model.fit(texts(MONDAY), LABELS, verbose=0, callbacks=[callback])
    assert words.get_vocabulary() == layer.get_vocabulary()
    model.fit(texts(MONDAY), LABELS, verbose=0, callbacks=[callback])
    assert callback.report is None


def test_a_layer_built_in_its_first_fit_stands_for_what_the_source_said_at_its_begin():
    layer = models.vectorizer()
    model = scorer(layer, keras.layers.Embedding(20, WIDTH, name="words"))
    tokens = layer.get_vocabulary()
    rebuild = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: layer.adapt(TUESDAY)
    )
    model.fit(
        texts(MONDAY),
        LABELS,
        verbose=0,
        callbacks=[VocabularyWarmStart({"words": layer}), rebuild],
    )
    report = warm_start(model, {"words": layer}, verbose=0)
    kept = len(set(tokens) & set(layer.get_vocabulary())) - 2
    assert report.vocabularies[0].kept == kept


def test_one_callback_in_two_models_uses_the_base_of_each_once():
    layer = models.vectorizer()
    old = layer.get_vocabulary()
    pair = [
        models.in_model(layer, keras.layers.Embedding(20, WIDTH, name="words"))
        for _ in range(2)
    ]
    layer.adapt(TUESDAY)
    callback = VocabularyWarmStart(models.named(layer), base_vocabularies={"words": old})
    for model in pair:
        callback.report = None
        model.fit(texts(TUESDAY), LABELS, verbose=0, callbacks=[callback])
        assert callback.report.changed
    callback.report = None
    pair[0].fit(texts(TUESDAY), LABELS, verbose=0, callbacks=[callback])
    assert callback.report is None


def test_a_base_listed_by_a_lookup_with_names_of_its_own_keeps_its_special_rows():
    lookup = keras.layers.StringLookup(
        vocabulary=["a", "b"], mask_token="<pad>", oov_token="<unk>"
    )
    words = keras.layers.Embedding(10, 1, name="words", weights=np.arange(10.0)[:, None])
    model = keras.Sequential([keras.Input((2,), dtype="string"), lookup, words])
    old = lookup.get_vocabulary()
    lookup.set_vocabulary(["b", "c", "a"])
    warm_start(model, base_vocabularies={"words": old}, verbose=0)
    rows = array(words.embeddings)[:, 0]
    assert [rows[0], rows[1], rows[2], rows[4]] == [0, 1, 3, 2]


def test_new_words_where_the_first_rows_came_from_a_matrix_are_told():
    """Pretrained vectors: by their place, new words get those of others."""
    layer = models.vectorizer(max_tokens=9)
    vectors = keras.initializers.Constant(np.arange(9.0 * WIDTH).reshape(9, WIDTH))
    words = keras.layers.Embedding(9, WIDTH, vectors, name="words")
    model = models.over_texts(layer, words)
    warm_start(model, verbose=0)
    layer.adapt(RESHUFFLED)
    assert warm_start(model, verbose=0).notes == []  # no new word, no row to be made
    layer.adapt(TUESDAY)
    report = warm_start(model, verbose=0)
    assert "new words take the rows that an array has at their places" in str(report)
