"""Bad input: an error that says what was received and the cure; the model untouched."""

import keras
import models
import numpy as np
import pytest
from models import (
    BACKEND,
    LABELS,
    LENGTH,
    MONDAY,
    TUESDAY,
    WIDTH,
    assert_refused,
    named,
    texts,
)

from warmstart_keras import (
    Vocabulary,
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    plan_warm_start,
    warm_start,
)


@pytest.fixture(scope="module")
def monday():
    """A trained model, never changed by a test of this module."""
    return models.trained_in_model()


def test_an_empty_vocabulary(monday):
    model, _, _ = monday
    assert_refused(
        model,
        r"at least one token. Received: an empty list",
        lambda: warm_start(model, {"words": []}),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"must exist and be readable. Received: '.*words.txt' \(No such file"),
        (b"", r"at least one token.*Received: '.*words.txt', which is empty"),
        (b"good\nb\xe4d\n", r"must be UTF-8. Received: '.*words.txt', with .* at byte 6"),
    ],
    ids=["missing", "empty", "not UTF-8"],
)
def test_a_vocabulary_file_that_cannot_be_read(monday, tmp_path, content, message):
    model, _, _ = monday
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    assert_refused(model, message, lambda: warm_start(model, {"words": str(path)}))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.array([["a", "b"]]), r"must have rank 1. Received: shape=\(1, 2\)"),
        ([1.5, 2.5], r"strings, bytes or integers. Received: 1.5 \(of type float\)"),
        (["good", 3], r"all strings or all integers. Received: both"),
        (
            {"good": 0, "bad": 2},
            r"exactly the rows 0..n-1, each once. Received: 2 tokens",
        ),
        (7.5, r"A vocabulary must be a lookup layer, .* Received: 7.5 \(of type float\)"),
    ],
    ids=["rank", "floats", "mixed", "gaps", "no vocabulary"],
)
def test_a_source_that_is_no_vocabulary(monday, source, message):
    model, _, _ = monday
    assert_refused(model, message, lambda: warm_start(model, {"words": source}))


def test_tokens_and_rows_that_disagree(monday):
    model, layer, _ = monday
    rows = layer.vocabulary_size()
    assert_refused(
        model,
        rf"a token for each of its {rows} rows. Received: 3 tokens",
        lambda: warm_start(model, base_vocabularies={"words": ["", "[UNK]", "film"]}),
    )


def test_a_vocabulary_larger_than_a_fixed_capacity():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(9, WIDTH, vocabulary=layer, name="words")
    model, layer, _ = models.trained_in_model(embedding, layer)
    layer.adapt(MONDAY + TUESDAY)
    tokens = layer.vocabulary_size()
    assert_refused(
        model,
        rf"must fit its 9 rows. Received: {tokens} tokens. Raise `input_dim`",
        lambda: model.fit(
            texts(MONDAY), LABELS, verbose=0, callbacks=[VocabularyWarmStart()]
        ),
    )


def test_a_layer_built_for_fewer_rows_than_its_vocabulary_has():
    layer = models.vectorizer()
    with pytest.raises(
        WarmStartError, match=r"`input_dim` of .*Received: 9 tokens.*`input_dim=9`"
    ):
        WarmStartEmbedding(3, WIDTH, vocabulary=layer).build()


@pytest.mark.parametrize(
    ("min_kept", "new", "message"),
    [
        (None, ["other", "words"], "0 of 7 words kept.*`min_kept` requires at least one"),
        (0.5, ["film", "good", "x"], "2 of 7 words kept.*`min_kept` requires 50%"),
    ],
)
def test_too_few_words_kept(monday, min_kept, new, message):
    model, _, _ = monday
    assert_refused(
        model, message, lambda: warm_start(model, {"words": new}, min_kept=min_kept)
    )


def test_min_kept_of_zero_lets_every_word_leave():
    model, _, embedding = models.trained_in_model()
    warm_start(model, {"words": ["other"]}, min_kept=0, verbose=0)
    assert embedding.get_vocabulary() == ["", "[UNK]", "other"]


def test_a_lookup_without_words_is_no_rebuild_of_one_that_has_some(monday):
    model, _, _ = monday
    assert_refused(
        model,
        r"must have words. Received: 2 special rows and no word",
        lambda: warm_start(model, {"words": models.vectorizer(None)}, min_kept=0),
    )


def test_a_layer_name_that_the_model_lacks(monday):
    model, layer, _ = monday
    assert_refused(
        model,
        r"Received: 'wrods'. The model has the embedding layers \['words'\]",
        lambda: warm_start(model, {"wrods": layer}),
    )


def test_a_layer_object_that_is_not_in_the_model(monday):
    model, layer, _ = monday
    stranger = keras.layers.Embedding(3, 2)
    assert_refused(
        model,
        r"must name layers of the model. Received: <Embedding",
        lambda: warm_start(model, {stranger: layer}),
    )


def test_a_layer_without_rows_for_tokens(monday):
    model, layer, _ = monday
    assert_refused(
        model,
        r"one row per token. Received: 'score' of type Dense",
        lambda: warm_start(model, {"score": layer}),
    )


def two_embeddings(first="words", second="words"):
    layer = models.vectorizer()
    inputs = keras.Input((), dtype="string")
    ids = keras.Input((models.LENGTH,), dtype="int64")
    inner = keras.Model(
        ids, keras.layers.Embedding(20, WIDTH, name=first)(ids), name="left"
    )
    other = keras.Model(
        ids, keras.layers.Embedding(20, WIDTH, name=second)(ids), name="right"
    )
    joined = keras.layers.Concatenate()([inner(layer(inputs)), other(layer(inputs))])
    return keras.Model(inputs, joined), layer


def test_a_name_that_two_layers_bear():
    model, layer = two_embeddings()
    assert_refused(
        model,
        r"one layer. Received: 'words'.*\['left/words', 'right/words'\].*layer object",
        lambda: warm_start(model, {"words": layer}, base_vocabularies={"words": layer}),
    )


def test_the_layer_object_where_two_layers_bear_its_name():
    model, layer = two_embeddings()
    embedding = model.get_layer("left").get_layer("words")
    old = layer.get_vocabulary()
    layer.adapt(TUESDAY)
    report = warm_start(model, {embedding: layer}, base_vocabularies={embedding: old})
    assert [change.layer for change in report.vocabularies] == ["left/words"]


def test_one_source_where_two_layers_can_be_meant():
    model, layer = two_embeddings("first", "second")
    assert_refused(
        model,
        r"`vocabularies` must be a mapping .* Received: TextVectorization, for a "
        r"model with the embedding layers \['left/first', 'right/second'\]",
        lambda: warm_start(model, layer),
    )
    assert_refused(
        model,
        r"Received: 'yesterday.keras' \(a model to start from is `previous=`\), for a",
        lambda: warm_start(model, "yesterday.keras"),
    )


def test_one_source_where_one_layer_can_be_meant():
    model, _, embedding = models.trained_in_model()
    warm_start(model, {"film": 0, "good": 1}, verbose=0)
    assert embedding.get_vocabulary() == ["film", "good"]


def test_a_layer_that_is_not_built_where_rows_must_be_moved_into_it():
    layer = models.vectorizer()
    words = keras.layers.Embedding(20, WIDTH, name="words")
    model = keras.Sequential([words, keras.layers.Dense(1)])
    message = r"must be built. Received: \['words'\], not built yet. Call the model on"
    with pytest.raises(WarmStartError, match=message):
        warm_start(model, {"words": layer})
    assert not words.built


def test_a_model_that_is_not_compiled():
    layer = models.vectorizer()
    embedding = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    embedding.build()
    model = keras.Sequential([embedding], name="scorer")
    callback = VocabularyWarmStart()
    callback.set_model(model)
    layer.adapt(TUESDAY)
    before = models.state(model)
    with pytest.raises(
        WarmStartError, match=r"a compiled model. Received: model 'scorer'.*model.compile"
    ):
        callback.on_train_begin()
    models.assert_same_state(before, models.state(model))


class Encoder(keras.layers.Layer):
    """A parent that keeps the vocabulary's size in its own configuration."""

    def __init__(self, size, follows=False, **kwargs):
        super().__init__(**kwargs)
        self.size, self.follows = size, follows
        self.words = keras.layers.Embedding(size, WIDTH, name="words")

    def build(self, input_shape):
        self.words.build(input_shape)
        self.built = True

    def call(self, inputs):
        return keras.ops.mean(self.words(inputs), axis=1)

    def get_config(self):
        size = self.words.input_dim if self.follows else self.size
        return {**super().get_config(), "size": size, "follows": self.follows}


def encoder_model(kind=Encoder, **kwargs):
    layer = models.vectorizer()
    encoder = kind(layer.vocabulary_size(), name="encoder", **kwargs)
    model = models.in_model(layer, encoder)
    model.fit(texts(MONDAY), LABELS, verbose=0)
    old = layer.get_vocabulary()
    layer.adapt(MONDAY + TUESDAY)
    return model, {"words": layer}, {"words": old}


def test_a_parent_whose_own_configuration_holds_the_old_size():
    model, new, old = encoder_model()
    assert_refused(
        model,
        r"The configuration of 'encoder' \(of type Encoder\) must rebuild layer 'words' "
        r".*rebuilds 9 rows, where the new vocabulary needs 11. .*fixed capacity",
        lambda: warm_start(model, new, base_vocabularies=old),
    )


def test_a_parent_whose_configuration_follows_the_embedding(tmp_path):
    model, new, old = encoder_model(follows=True)
    report = warm_start(model, new, base_vocabularies=old, verbose=0)
    assert report.changed
    assert report.unchecked == []
    model.save(tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras", custom_objects={"Encoder": Encoder})


class Nameless(Encoder):
    """A parent whose configuration cannot be had."""

    def get_config(self):
        raise NotImplementedError


def test_a_parent_without_a_configuration_is_named_in_the_report():
    model, new, old = encoder_model(Nameless)
    report = warm_start(model, new, base_vocabularies=old, verbose=0)
    assert report.unchecked == ["encoder"]
    assert "no check of the configuration was possible for ['encoder']" in str(report)


def test_a_named_plain_layer_about_which_nothing_is_known():
    layer = models.vectorizer()
    words = keras.layers.Embedding(20, WIDTH, name="words")
    model = models.on_ids(words)
    assert_refused(
        model,
        r"what the rows of layer 'words' stand for now. .*`base_vocabularies=\{'words'",
        lambda: warm_start(model, {"words": layer}),
    )


def test_a_base_that_was_used_up_is_not_taken_twice():
    """Running a cell, or a daily script, again must not move the rows again."""
    layer = models.vectorizer()
    words = keras.layers.Embedding(20, WIDTH, name="words")
    model = models.in_model(layer, words)
    old = layer.get_vocabulary()
    layer.adapt(TUESDAY)
    warm_start(model, named(layer), base_vocabularies={"words": old}, verbose=0)
    assert_refused(
        model,
        r"`base_vocabularies` .*Received: .* <Vocabulary of 10 tokens .*Remove the layer",
        lambda: warm_start(model, named(layer), base_vocabularies={"words": old}),
    )


def test_a_base_of_words_alone_for_a_table_with_spare_rows():
    layer = models.vectorizer()
    words = keras.layers.Embedding(20, WIDTH, name="words")
    model = models.in_model(layer, words)
    old_words = layer.get_vocabulary(include_special_tokens=False)
    layer.adapt(TUESDAY)
    assert_refused(
        model,
        r"mask and OOV rows. Received: `base_vocabularies` with 7 tokens.*Vocabulary\(",
        lambda: warm_start(model, named(layer), base_vocabularies={"words": old_words}),
    )
    base = {"words": Vocabulary(old_words, mask=True, oov=1)}
    assert warm_start(model, named(layer), base_vocabularies=base, verbose=0).changed


def test_a_base_that_overrules_what_was_only_taken_for_granted():
    layer = models.vectorizer()
    words = keras.layers.Embedding(20, WIDTH, name="words")
    model = models.in_model(layer, words)
    old, before = layer.get_vocabulary(), models.state(model)
    layer.adapt(TUESDAY)
    callback = VocabularyWarmStart(named(layer), verbose=0)
    callback.set_model(model)
    callback.on_train_begin()  # nothing was known: today's tokens
    warm_start(model, named(layer), base_vocabularies={"words": old}, verbose=0)
    np.testing.assert_array_equal(
        models.array(words.embeddings)[layer.get_vocabulary().index("good")],
        before["words/embeddings"][old.index("good")],
    )


def test_a_plain_layer_that_was_named_before_and_is_not_now_is_told():
    layer = models.vectorizer()
    words = keras.layers.Embedding(20, WIDTH, name="words")
    model = models.on_ids(words)
    source = {"words": layer}
    warm_start(model, source, base_vocabularies={"words": layer.get_vocabulary()})
    with pytest.warns(UserWarning, match=r"'words': .* source is unknown"):
        report = warm_start(model)
    assert "`vocabularies={'words': vectorizer}`" in str(report)


def test_a_model_in_which_nothing_is_known_to_follow_a_vocabulary_is_told():
    layer = models.vectorizer()
    model = models.on_ids(keras.layers.Embedding(20, WIDTH, name="words"))
    message = r"no vocabulary was found .* of model .* the embeddings \['words'\]\. "
    message += r".*`vocabularies=\{'words': vectorizer\}`"
    with pytest.warns(UserWarning, match=message):
        report = warm_start(model, verbose=0)
    assert not report.changed
    with pytest.warns(UserWarning, match=message):
        model.fit(
            models.ids(layer, MONDAY), LABELS, callbacks=[VocabularyWarmStart(verbose=0)]
        )
    named = VocabularyWarmStart({"words": layer}, verbose=0)
    with pytest.warns(UserWarning, match=r"'words': its base vocabulary is unknown"):
        model.fit(models.ids(layer, MONDAY), LABELS, callbacks=[named])


@models.with_strings_in_model
def test_a_model_that_is_not_built_yet_is_not_told_since_a_lookup_may_feed_it():
    layer, words = models.vectorizer(), keras.layers.Embedding(20, WIDTH, name="words")
    rest = [keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential([layer, words, *rest])
    model.compile("adam", "mse")
    for day in (MONDAY, TUESDAY):
        layer.adapt(day)
        callback = VocabularyWarmStart(verbose=0)
        model.fit(texts(day), LABELS, callbacks=[callback], verbose=0)
    assert callback.report.vocabularies[0].kept > 0


def test_a_model_of_which_some_layer_has_a_vocabulary_is_not_told_of_the_others():
    layer = models.vectorizer()
    ids, place = (
        keras.Input((LENGTH,), dtype="int32"),
        keras.Input((LENGTH,), dtype="int32"),
    )
    words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=layer, name="words")
    places = keras.layers.Embedding(LENGTH, WIDTH, name="places")
    model = keras.Model([ids, place], words(ids) + places(place))
    assert warm_start(model).notes == []


def test_a_base_without_a_source():
    words = keras.layers.Embedding(20, WIDTH, name="words")
    model = models.on_ids(words)
    assert_refused(
        model,
        r"`base_vocabularies` must have .* Received: layer 'words'.*`vocabularies=\{'wo",
        lambda: warm_start(model, base_vocabularies={"words": ["a", "b"]}),
    )


def test_a_table_that_is_quantised():
    layer = models.vectorizer()
    words = keras.layers.Embedding(layer.vocabulary_size(), WIDTH, name="words")
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, words(layer(inputs)))
    warm_start(model)
    words.quantize("int8")
    layer.adapt(TUESDAY)
    assert_refused(
        model,
        r"must not be quantized.*quantization_mode='int8'.*float model",
        lambda: warm_start(model),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer_state": "keep"}, "`optimizer_state` must be .* Received: .*'keep'"),
        ({"min_kept": 50}, "`min_kept` must be a share .* Received: min_kept=50"),
        ({"seed": "x"}, "`seed` must be an integer or None. Received: seed='x'"),
        ({"also": [None]}, "`also` must be one of Keras's models.* Received: None"),
        ({"verbose": 3}, "`verbose` must be .* Received: verbose=3"),
        (
            {"new_embeddings_initializer": "unifrom"},
            "must be a Keras initializer .* Received: 'unifrom'",
        ),
        (
            {"new_embeddings_initializer": np.ones((2, 2))},
            r"Pass an array as `keras.initializers.Constant\(array\)`",
        ),
    ],
)
def test_arguments_that_mean_nothing(monday, arguments, message):
    model, _, _ = monday
    assert_refused(model, message, lambda: warm_start(model, **arguments))
    with pytest.raises(WarmStartError, match=message):
        VocabularyWarmStart(**arguments)


@pytest.mark.parametrize(
    ("new_rows", "message"),
    [
        (
            lambda tokens, base: np.zeros((1, 1)),
            r"`new_embeddings_initializer` must .*shape \(2, 4\).*Received: .*\(1, 1\)",
        ),
        (
            keras.initializers.Constant(np.ones((3, 3))),
            r"shape \(8, 4\). Received: .*Constant object .*raised",
        ),
    ],
)
def test_new_rows_of_another_shape(monday, new_rows, message):
    model, _, _ = monday
    tokens = ["film", "good", "bad", "a", "new", "newer"]
    assert_refused(
        model,
        message,
        lambda: warm_start(model, {"words": tokens}, new_embeddings_initializer=new_rows),
    )


def test_an_optimizer_that_is_none(monday):
    model, _, _ = monday
    assert_refused(
        model,
        "`optimizer` must be one of Keras's optimizers.* Received: 'adam'",
        lambda: warm_start(model, optimizer="adam"),
    )


def compiled(function):
    """A function of a tensor as the backend compiles it."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if BACKEND == "torch":
        import torch

        return torch.compile(function, backend="eager")
    import jax

    return jax.jit(function)


def test_a_warm_start_inside_a_training_step(monday):
    model, _, _ = monday

    @compiled
    def step(value):
        warm_start(model)
        return value + 1

    one = keras.ops.ones(1)
    assert_refused(model, "must not run inside a training step", lambda: step(one))


def test_a_warm_start_inside_a_stateless_scope(monday):
    model, _, _ = monday

    def act():
        with keras.StatelessScope():
            warm_start(model)

    assert_refused(model, "must not run inside a training step", act)


class WarmStartAtEveryStep(keras.callbacks.Callback):
    """Tries, by a reference to the model of its own; counts the refusals.

    By `self.model` it could be done: that gives the model its values back.
    """

    def __init__(self, held):
        super().__init__()
        self.held, self.refusals = held, 0

    def on_train_batch_end(self, batch, logs=None):
        with pytest.raises(WarmStartError, match="must not run inside a training step"):
            warm_start(self.held, {"words": ["film", "good", "other"]})
        self.refusals += 1


@pytest.mark.skipif(
    BACKEND != "jax", reason="on JAX alone `fit` takes the values from its model"
)
def test_a_warm_start_between_the_steps_of_a_fit():
    states = []
    for trying in (True, False):
        keras.utils.set_random_seed(1)
        model, _, _ = models.trained_in_model()
        callbacks = [WarmStartAtEveryStep(model)] if trying else []
        model.fit(texts(MONDAY), LABELS, batch_size=1, verbose=0, callbacks=callbacks)
        states.append(models.state(model))
        assert [callback.refusals for callback in callbacks] == [3] * trying
    models.assert_same_state(*states)


def test_a_plan_whose_model_has_changed_since():
    model, layer, _ = models.trained_in_model()
    layer.adapt(TUESDAY)
    plan = plan_warm_start(model, verbose=0)
    layer.adapt(MONDAY + TUESDAY)
    assert_refused(model, "have changed since.* Call `plan_warm_start` again", plan.apply)
    plan = plan_warm_start(model, verbose=0)
    plan.apply()
    assert_refused(model, "have changed since", plan.apply)


def test_a_plan_changes_nothing_and_tells_what_it_would_do():
    model, layer, embedding = models.trained_in_model()
    layer.adapt(TUESDAY)
    before = models.state(model)
    tokens = embedding.get_vocabulary()
    plan = plan_warm_start(model)
    assert "nothing has moved yet" in str(plan)
    assert "words/embeddings" in str(plan)
    assert [binding.path for binding in plan.bindings] == ["words"]
    models.assert_same_state(before, models.state(model))
    assert embedding.get_vocabulary() == tokens


class SizedEmbedding(keras.layers.Embedding):
    """An embedding whose own configuration holds its size under another name."""

    def __init__(self, size, **kwargs):
        super().__init__(size, WIDTH, **kwargs)
        self.size = size

    def get_config(self):
        return {"name": self.name, "size": self.size}


def test_an_embedding_of_the_users_own_whose_configuration_holds_the_old_size():
    layer = models.vectorizer()
    words = SizedEmbedding(layer.vocabulary_size(), name="words")
    model = models.in_model(layer, words)
    old = layer.get_vocabulary()
    layer.adapt(MONDAY + TUESDAY)
    assert_refused(
        model,
        r"The configuration of 'words' \(of type SizedEmbedding\) must rebuild",
        lambda: warm_start(model, named(layer), base_vocabularies={"words": old}),
    )


def test_a_parent_in_another_model_that_is_named_besides():
    model, new, old = encoder_model()
    words = model.get_layer("encoder").words
    alone = models.on_ids(words)
    assert_refused(
        model,
        r"The configuration of 'encoder' \(of type Encoder\) must rebuild",
        lambda: warm_start(alone, new, base_vocabularies=old, also=model),
    )


def test_a_layer_that_is_named_twice(monday):
    model, layer, embedding = monday
    assert_refused(
        model,
        "must name a layer once. Received: 'words', named twice",
        lambda: warm_start(model, {"words": layer, embedding: layer}),
    )


class FlatMomentum(keras.optimizers.SGD):
    """An optimizer whose slots have the vocabulary along no axis."""

    def build(self, variables):
        super().build(variables)
        self.flat = [self.add_variable((int(np.prod(v.shape)),)) for v in variables]


def test_an_optimizer_whose_slots_have_no_vocabulary_axis():
    model, layer, _ = models.trained_in_model(optimizer=FlatMomentum())
    layer.adapt(TUESDAY)
    assert_refused(
        model,
        r"one entry per token .* Received: .* of shape \(36,\).*model.compile",
        lambda: warm_start(model),
    )
