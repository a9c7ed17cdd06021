"""`WarmStartEmbedding`: a drop-in `Embedding` that knows what its rows stand for."""

import warnings

import keras
import models
import numpy as np
import pytest
from models import (
    BACKEND,
    LABELS,
    MONDAY,
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
    warmstart_embedding_matrix,
)


def test_it_takes_every_argument_of_embedding_and_computes_the_same():
    matrix = np.arange(12.0).reshape(6, 2)
    arguments = {
        "embeddings_regularizer": "l2",
        "embeddings_constraint": "unit_norm",
        "mask_zero": True,
        "weights": matrix,
    }
    ours = WarmStartEmbedding(6, 2, "ones", **arguments)
    keras_own = keras.layers.Embedding(6, 2, "ones", **arguments)
    ids = np.array([[0, 3, 5]])
    for got, expected in (
        (ours(ids), keras_own(ids)),
        (ours.compute_mask(ids), keras_own.compute_mask(ids)),
        (ours.losses[0], keras_own.losses[0]),
    ):
        np.testing.assert_array_equal(array(got), array(expected))
    assert [w.name for w in ours.weights] == [w.name for w in keras_own.weights]


def test_it_has_as_many_rows_as_the_vocabulary_has_tokens():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer)
    assert embedding.input_dim is None
    embedding.build()
    assert embedding.input_dim == layer.vocabulary_size()
    assert embedding.get_vocabulary() == layer.get_vocabulary()
    assert (
        embedding.get_vocabulary(include_special_tokens=False)
        == (layer.get_vocabulary()[2:])
    )


def test_a_list_a_file_and_a_tokenizer_are_sources_too(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("film\nplot\n", encoding="utf-8")
    for source in (["film", "plot"], str(path), {"film": 0, "plot": 1}):
        embedding = WarmStartEmbedding(output_dim=2, vocabulary=source)
        embedding.build()
        assert embedding.get_vocabulary() == ["film", "plot"]


def test_neither_input_dim_nor_vocabulary_is_an_error():
    with pytest.raises(
        WarmStartError, match=r"`vocabulary` or `input_dim`.*Received: neither"
    ):
        WarmStartEmbedding(output_dim=3)


def test_a_layer_without_known_tokens_says_so():
    embedding = WarmStartEmbedding(5, 2, name="words")
    with pytest.raises(
        WarmStartError, match=r"'words' is unknown.* not built.*`vocabulary="
    ):
        embedding.get_vocabulary()
    embedding.build()
    with pytest.raises(
        WarmStartError, match=r"a clone, or has no source.*base_vocabular"
    ):
        embedding.get_vocabulary()


def test_the_configuration_holds_the_present_number_of_rows_and_no_source():
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=models.vectorizer())
    embedding.build()
    config = embedding.get_config()
    assert (config["input_dim"], config["rows"]) == (None, 9)
    assert "vocabulary" not in config
    again = WarmStartEmbedding.from_config(config)
    again.build()
    assert again.input_dim == 9
    assert again.row_vocabulary is None


def test_the_configuration_of_a_layer_not_built_yet_holds_the_rows_it_would_have():
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=models.vectorizer())
    assert embedding.get_config()["rows"] == 9


def test_new_row_initializers_survive_the_configuration():
    initializer = keras.initializers.RandomNormal(stddev=0.5, seed=3)
    embedding = WarmStartEmbedding(4, 2, new_embeddings_initializer=initializer)
    again = WarmStartEmbedding.from_config(embedding.get_config())
    assert again.new_embeddings_initializer.get_config() == initializer.get_config()


def test_new_rows_start_from_what_the_layer_says_and_the_callback_overrules():
    for given, expected in ((None, 1.0), ("zeros", 0.0)):
        layer = models.vectorizer()
        embedding = WarmStartEmbedding(
            output_dim=WIDTH, vocabulary=layer, new_embeddings_initializer="ones"
        )
        embedding.build()
        layer.adapt(TUESDAY)
        warm_start(embedding, new_embeddings_initializer=given, verbose=0)
        row = embedding.get_vocabulary().index("twist")
        np.testing.assert_array_equal(
            array(embedding.embeddings)[row], [expected] * WIDTH
        )


def test_a_clone_knows_its_source_by_the_graph_but_not_its_rows():
    layer = models.vectorizer()
    words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    clone = keras.models.clone_model(models.over_texts(layer, words))
    embedding = clone.get_layer("words")
    assert embedding.row_vocabulary is None
    assert embedding.vocabulary_source is clone.layers[1]
    clone.layers[1].adapt(MONDAY)
    clone.compile("adam", "mse")
    callback = VocabularyWarmStart()
    if BACKEND == "tensorflow":
        clone.fit(texts(MONDAY), LABELS, verbose=0, callbacks=[callback])
    else:
        callback.set_model(clone)
        callback.on_train_begin()
    assert embedding.get_vocabulary() == clone.layers[1].get_vocabulary()
    assert callback.report is None


def test_a_loaded_layer_whose_source_is_not_in_the_model_is_named(tmp_path):
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    model = models.on_ids(embedding)
    model.fit(layer(MONDAY), LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("words").get_vocabulary() == layer.get_vocabulary()
    with pytest.warns(
        UserWarning, match=r"'words': .* source is unknown.*vocabularies=\{'words'"
    ):
        loaded.fit(layer(MONDAY), LABELS, verbose=0, callbacks=[VocabularyWarmStart()])
    layer.adapt(TUESDAY)
    report = warm_start(loaded, {"words": layer}, verbose=0)
    assert report.vocabularies[0].kept == 6


# --- the guard ---


def rebuilt():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    embedding(layer(MONDAY))
    layer.adapt(TUESDAY)
    return layer, embedding


def test_use_after_a_rebuild_without_a_warm_start_warns_once_and_names_the_cure():
    layer, embedding = rebuilt()
    with pytest.warns(UserWarning, match=r"'words' was rebuilt.*warm_start\(model\)"):
        embedding(np.array([1]))
    embedding(np.array([1]))  # a second warning would be an error
    layer.adapt(MONDAY[:2])
    with pytest.warns(UserWarning, match=r"was rebuilt"):
        embedding(np.array([1]))


def test_a_warm_start_ends_the_warning():
    layer, embedding = rebuilt()
    warm_start(embedding, verbose=0)
    embedding(layer(TUESDAY))


def compiled(function):
    """The function as each backend compiles it."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.compile(function, backend="eager")


def test_tracing_a_function_after_a_rebuild_warns():
    _, embedding = rebuilt()
    step = compiled(lambda ids: embedding(ids))
    with pytest.warns(UserWarning, match=r"was rebuilt"):
        step(keras.ops.convert_to_tensor([1], dtype="int32"))


def test_a_first_fit_with_the_callback_does_not_warn_of_the_rebuild_that_it_is_for():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    model = models.in_model(layer, embedding)
    layer.adapt(TUESDAY)
    with warnings.catch_warnings(record=True) as caught:  # Keras may swallow errors
        warnings.simplefilter("always", UserWarning)
        model.fit(texts(TUESDAY), LABELS, verbose=0, callbacks=[VocabularyWarmStart()])
    assert [str(w.message) for w in caught if w.category is UserWarning] == []


@pytest.mark.parametrize(
    ("lookup_class", "dtype", "words"),
    [
        pytest.param(
            keras.layers.StringLookup, "string", "abcd", marks=with_strings_in_model
        ),
        (keras.layers.IntegerLookup, "int32", [10, 20, 30, 40]),
    ],
)
def test_predict_of_a_loaded_model_whose_lookup_came_back_with_other_words_warns(
    lookup_class, dtype, words, tmp_path
):
    """V11: a vocabulary given to the constructor is what is saved, set or not."""
    a, b, c, d = words
    lookup = lookup_class(vocabulary=[a, b, c])
    inputs = keras.Input((2,), dtype=dtype)
    embedding = WarmStartEmbedding(output_dim=2, vocabulary=lookup, name="words")
    model = keras.Model(inputs, embedding(lookup(inputs)))
    lookup.set_vocabulary([c, d, a])
    warm_start(model, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("words").get_vocabulary()[1:] == [c, d, a]
    data = keras.ops.convert_to_tensor([[a, c]], dtype=dtype)
    with pytest.warns(UserWarning, match=r"was rebuilt"):
        loaded.predict(data, verbose=0)
    warm_start(loaded, verbose=0)
    np.testing.assert_array_equal(
        loaded.predict(data, verbose=0), model.predict(data, verbose=0)
    )


# --- Keras 2.15's recipe ---


def recipe(model, layer, embedding, day):
    """What Keras 2.15's documentation said to do."""
    base = embedding.get_vocabulary()
    layer.adapt(day)
    matrix = warmstart_embedding_matrix(
        base, layer.get_vocabulary(), embedding.embeddings, "uniform"
    )
    embedding.embeddings = variable(matrix)
    return array(matrix)


def variable(value):
    """A variable of the backend's own, where it has such."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.Variable(value)
    if BACKEND == "torch":
        import torch

        return torch.nn.Parameter(value)
    return value


def test_the_recipe_of_keras_2_15_works():
    model, layer, embedding = models.trained_in_model()
    matrix = recipe(model, layer, embedding, TUESDAY)
    np.testing.assert_array_equal(array(embedding.embeddings), matrix)
    assert embedding.get_vocabulary() == layer.get_vocabulary()
    assert len(embedding.weights) == 1
    assert embedding.input_dim == len(matrix)
    with pytest.warns(UserWarning, match=r"number of rows.*warm_start.*compile"):
        embedding(np.array([1]))
    model.compile("adam", "mse")
    before = array(embedding.embeddings)
    model.fit(texts(TUESDAY), LABELS, verbose=0)
    assert np.any(array(embedding.embeddings) != before)


@pytest.mark.parametrize("max_tokens", [None, 9])
def test_after_the_recipe_the_next_warm_start_carries_the_slots_by_token(max_tokens):
    layer = models.vectorizer(max_tokens=max_tokens)
    model, layer, embedding = models.trained_in_model(layer=layer)
    old_tokens, before = layer.get_vocabulary(), models.state(model)
    matrix = recipe(model, layer, embedding, MONDAY + TUESDAY)
    warm_start(model, verbose=0)
    after = models.state(model)
    np.testing.assert_array_equal(after["words/embeddings"], matrix)
    kept = 0
    for row, token in enumerate(layer.get_vocabulary()):
        for path in ("adam/words_embeddings_momentum", "adam/words_embeddings_velocity"):
            old = np.zeros(WIDTH)
            if token in old_tokens:
                old = before[path][old_tokens.index(token)]
                kept += 1
            np.testing.assert_array_equal(after[path][row], old, err_msg=str(token))
    assert kept > 6
    model.fit(texts(TUESDAY), LABELS, verbose=0)


def test_an_assigned_matrix_that_was_trained_since_keeps_its_slots():
    model, layer, embedding = models.trained_in_model(
        layer=models.vectorizer(max_tokens=9)
    )
    recipe(model, layer, embedding, MONDAY + TUESDAY)
    model.fit(texts(TUESDAY), LABELS, verbose=0)
    before = models.state(model)
    warm_start(model, verbose=0)
    models.assert_same_state(before, models.state(model))


@pytest.mark.parametrize(
    "matrix", [np.zeros((9, 3)), np.zeros((4, WIDTH)), np.zeros(9), np.array([["a"]])]
)
def test_a_matrix_that_does_not_fit_is_refused(matrix):
    model, _, embedding = models.trained_in_model()
    before = models.state(model)
    message = r"`embeddings` .*shape \(9, 4\).*Received: shape="
    with pytest.raises(WarmStartError, match=message):
        embedding.embeddings = matrix
    models.assert_same_state(before, models.state(model))


def test_assigning_before_the_layer_is_built_is_refused():
    embedding = WarmStartEmbedding(4, 2)
    with pytest.raises(WarmStartError, match=r"`embeddings` .*Received: .*built=False"):
        embedding.embeddings = np.zeros((4, 2))


def test_set_weights_works_and_keeps_the_vocabulary():
    _, layer, embedding = models.trained_in_model()
    embedding.set_weights([np.ones((9, WIDTH))])
    assert embedding.get_vocabulary() == layer.get_vocabulary()
    np.testing.assert_array_equal(array(embedding.embeddings), np.ones((9, WIDTH)))


# --- files ---


def test_a_weights_file_brings_its_rows_and_their_tokens(tmp_path):
    model, monday, embedding = models.trained_in_model()
    model.save_weights(tmp_path / "monday.weights.h5")
    layer = models.vectorizer([*MONDAY[::-1], "plot plot plot"])
    other = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    fresh = models.in_model(layer, other)
    fresh.optimizer.build(fresh.trainable_variables)
    assert other.get_vocabulary() != embedding.get_vocabulary()
    fresh.load_weights(tmp_path / "monday.weights.h5")
    assert other.get_vocabulary() == embedding.get_vocabulary()
    with pytest.warns(UserWarning, match=r"was rebuilt"):
        other(layer(MONDAY))
    warm_start(fresh, verbose=0)
    np.testing.assert_array_equal(
        array(other(layer(MONDAY))), array(embedding(monday(MONDAY)))
    )


def test_a_weights_file_with_another_number_of_rows_is_refused(tmp_path):
    model, _, _ = models.trained_in_model()
    model.save_weights(tmp_path / "monday.weights.h5")
    layer = models.vectorizer(TUESDAY)
    other = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    fresh = models.in_model(layer, other)
    before = array(other.embeddings)
    message = "has 10 rows.*Received: a file with 9 rows.*previous=path"
    with (
        pytest.raises(ValueError, match=message),
        warnings.catch_warnings(action="ignore"),  # Keras's own, of what it skips
    ):
        fresh.load_weights(tmp_path / "monday.weights.h5")
    np.testing.assert_array_equal(array(other.embeddings), before)
    assert other.get_vocabulary() == layer.get_vocabulary()


AWKWARD = [
    "a\u2028b",
    "\x85",
    "x\x0by",
    "\x00",
    "nul\x00inside",
    " ",
    "\ud800",
    "é",
    "\U0001f3ac",
]


def test_tokens_that_break_lines_or_encodings_survive_saving(tmp_path):
    embedding = WarmStartEmbedding(output_dim=2, vocabulary=[*AWKWARD, b"\xff\xfe", ""])
    ids = keras.Input((1,), dtype="int32")
    model = keras.Model(ids, embedding(ids))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[1].get_vocabulary() == [*AWKWARD, b"\xff\xfe", ""]


def test_the_vocabulary_is_an_asset_too(tmp_path):
    _, _, embedding = models.trained_in_model()
    embedding.save_assets(str(tmp_path))
    again = WarmStartEmbedding.from_config(embedding.get_config())
    again.build()
    again.load_assets(str(tmp_path))
    assert again.get_vocabulary() == embedding.get_vocabulary()


def test_a_stored_vocabulary_of_another_length_than_the_rows_is_refused(tmp_path):
    _, _, embedding = models.trained_in_model()
    embedding.save_assets(str(tmp_path))
    other = WarmStartEmbedding(output_dim=WIDTH, vocabulary=["a", "b"], name="words")
    other.build()
    with pytest.raises(WarmStartError, match=r"one token per row. Received: 9 tokens, 2"):
        other.load_assets(str(tmp_path))
    assert other.get_vocabulary() == ["a", "b"]


def test_a_subclass_with_arguments_of_its_own_saves_and_loads(tmp_path):
    @keras.saving.register_keras_serializable(package="tests")
    class Scaled(WarmStartEmbedding):
        def __init__(self, scale=1.0, **kwargs):
            super().__init__(**kwargs)
            self.scale = scale

        def call(self, inputs):
            return super().call(inputs) * self.scale

        def get_config(self):
            return {**super().get_config(), "scale": self.scale}

    layer = models.vectorizer()
    embedding = Scaled(2.0, output_dim=WIDTH, vocabulary=layer, name="words")
    model, layer, embedding = models.trained_in_model(embedding, layer)
    layer.adapt(TUESDAY)
    warm_start(model, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = models.mapped(keras.models.load_model(tmp_path / "model.keras"), layer)
    np.testing.assert_array_equal(
        loaded.predict(texts(TUESDAY), verbose=0),
        model.predict(texts(TUESDAY), verbose=0),
    )


def test_no_warning_in_a_life_without_mistakes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model, layer, _ = models.trained_in_model()
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
        if BACKEND == "tensorflow":
            layer = model.layers[1]
        layer.adapt(TUESDAY)
        callback = VocabularyWarmStart(models.named(layer))
        models.mapped(model, layer)
        model.fit(texts(TUESDAY), LABELS, verbose=0, callbacks=[callback])
        model.predict(texts(TUESDAY), verbose=0)
    assert callback.report.changed


# --- plain embeddings: out, and in -----------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
@pytest.mark.parametrize("rows", [None, 12])
def test_a_plain_embedding_and_back(dtype, rows):
    source = keras.layers.StringLookup(vocabulary=list("abc"))
    layer = WarmStartEmbedding(
        rows,
        3,
        "normal",
        "l2",
        mask_zero=True,
        vocabulary=source,
        name="words",
        dtype=dtype,
        trainable=False,
    )
    layer.build()
    plain = layer.to_embedding()
    assert type(plain) is keras.layers.Embedding
    assert (plain.name, plain.mask_zero, plain.trainable) == ("words", True, False)
    assert plain.dtype_policy == layer.dtype_policy
    assert plain.get_config()["embeddings_regularizer"]["class_name"] == "L2"
    assert array(plain.embeddings).tobytes() == array(layer.embeddings).tobytes()
    again = WarmStartEmbedding.from_embedding(plain, source, "zeros")
    assert again.get_config() == {
        **layer.get_config(),
        "new_embeddings_initializer": "zeros",
    }
    assert again.get_vocabulary() == ["[UNK]", "a", "b", "c"]
    assert again.follows_vocabulary == (rows is None)
    assert again.vocabulary_source is source
    # Each has rows of its own.
    for one, other in ((plain, layer), (again, plain)):
        one.embeddings.assign(np.zeros(one.embeddings.shape))
        assert array(other.embeddings).any() or one is again


def test_rows_of_a_plain_embedding_follow_their_words_from_then_on():
    source = keras.layers.StringLookup(vocabulary=list("abc"))
    plain = keras.layers.Embedding(4, 2)
    plain.build()
    layer = WarmStartEmbedding.from_embedding(plain, source)
    source.set_vocabulary(list("cxb"))
    warm_start(layer, verbose=0)
    before, after = array(plain.embeddings), array(layer.embeddings)
    np.testing.assert_array_equal(after[[1, 3]], before[[3, 2]])


def test_a_limited_lookup_gives_a_capacity():
    source = keras.layers.StringLookup(max_tokens=4, vocabulary=list("abc"))
    plain = keras.layers.Embedding(4, 2)
    plain.build()
    assert not WarmStartEmbedding.from_embedding(plain, source).follows_vocabulary


def test_what_cannot_be_made_plain_or_ours_is_an_error():
    plain = keras.layers.Embedding(4, 2)
    with pytest.raises(
        WarmStartError, match=r"must be built.*Received: built=False.*build\(\)"
    ):
        WarmStartEmbedding.from_embedding(plain, list("abcd"))
    plain.build()
    with pytest.raises(WarmStartError, match=r"5 tokens, input_dim=4"):
        WarmStartEmbedding.from_embedding(plain, list("abcde"))
    layer = WarmStartEmbedding(output_dim=2, vocabulary=list("abcd"))
    with pytest.raises(
        WarmStartError, match=r"must be built.*Received: built=False.*build\(\)"
    ):
        layer.to_embedding()
    layer.build()
    with pytest.raises(WarmStartError, match=r"must be a `keras.layers.Embedding`"):
        WarmStartEmbedding.from_embedding(layer, list("abcd"))
    layer.enable_lora(1)
    with pytest.raises(
        WarmStartError, match=r"lora_enabled=True.*weights=\[layer\.embed"
    ):
        layer.to_embedding()


def test_a_subclassed_model_says_why_a_file_with_other_rows_is_not_loaded(tmp_path):
    class Model(keras.Model):
        def __init__(self, words):
            super().__init__()
            self.words = WarmStartEmbedding(output_dim=2, vocabulary=words, name="words")

        def call(self, ids):
            return self.words(ids)

    models_ = [Model(list(words)) for words in ("abc", "abcd")]
    for model in models_:
        model(np.zeros((1, 2), "int32"))
    models_[0].save_weights(tmp_path / "run.weights.h5")
    with pytest.raises(
        ValueError, match=r"has 4 rows.* a file with 3 rows.*previous=path"
    ):
        models_[1].load_weights(tmp_path / "run.weights.h5")


@pytest.mark.parametrize("strange", ["a\u2028b", "a\x85b", "a\x0bb"])
def test_a_lookup_that_keras_loads_wrongly_scrambles_no_row(strange, tmp_path):
    source = keras.layers.StringLookup()
    source.set_vocabulary(["one", strange, "two"])
    inputs = keras.Input((1,), dtype="string")
    words = WarmStartEmbedding(output_dim=2, vocabulary=source, name="words")
    if BACKEND == "tensorflow":
        model = keras.Model(inputs, words(source(inputs)))
    else:
        ids = keras.Input((1,), dtype="int32")
        model = keras.Model(ids, words(ids))
    model.save(tmp_path / "run.keras")
    loaded = keras.models.load_model(tmp_path / "run.keras")
    layer = loaded.get_layer("words")
    assert layer.get_vocabulary() == ["[UNK]", "one", strange, "two"]
    before = dict(zip(layer.get_vocabulary(), array(layer.embeddings), strict=True))
    if BACKEND == "tensorflow":  # the lookup came back with other tokens
        assert loaded.layers[1].get_vocabulary() != layer.get_vocabulary()
        warm_start(loaded, verbose=0)
    else:
        warm_start(loaded, {"words": ["[UNK]", "two", "one"]}, verbose=0)
    after = dict(zip(layer.get_vocabulary(), array(layer.embeddings), strict=True))
    for word in ("[UNK]", "one", "two"):
        assert after[word].tobytes() == before[word].tobytes()
