"""Kernels with a row for each word, fed by vectors of counts, and what lies between."""

import keras
import numpy as np
import pytest
from heads import expected, layer
from models import array, with_strings_in_model

from warmstart_keras import (
    Binding,
    VocabularyWarmStart,
    WarmStartError,
    plan_warm_start,
    warm_start,
)

TEXTS = ["a b c d", "c d e f", "f g a"]
LABELS = np.array([0, 1, 2])
REBUILT = list("gfedcbax")[:7]
MODES = ("multi_hot", "tf_idf", "count")


def vectorizer(mode, words=tuple("abcdefg"), **kwargs):
    made = keras.layers.TextVectorization(output_mode=mode, **kwargs)
    weights = {"idf_weights": weight_of(words)} if mode == "tf_idf" else {}
    made.set_vocabulary(list(words), **weights)
    return made


def weight_of(words):
    return np.array([1 + ord(word[0]) % 5 for word in words], "float32")


def rebuild(made, mode, words):
    weights = {"idf_weights": weight_of(words)} if mode == "tf_idf" else {}
    made.set_vocabulary(list(words), **weights)


def vectors(made, texts=TEXTS):
    return array(made(np.array(texts))).astype("float32")


def classifier(width, *between, first=None, **kwargs):
    keras.utils.set_random_seed(5)
    first = first or keras.layers.Dense(5, "tanh", name="bag")
    model = keras.Sequential(
        [keras.Input((width,)), *between, first, keras.layers.Dense(3, name="classes")],
        **kwargs,
    )
    model.compile(
        keras.optimizers.Adam(0.05, name="adam"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,  # what is compiled takes long, and is other tests' matter
    )
    return model


def lora_dense():
    made = keras.layers.Dense(5, "tanh", name="bag")
    made.build((None, 8))
    made.enable_lora(2, b_initializer="normal")
    return made


def einsum():
    return keras.layers.EinsumDense("bv,vh->bh", (5,), bias_axes="h", name="bag")


BAG = {"bag/kernel": 0}
CASES = {
    "dense": (list, None, BAG),
    "einsum": (list, einsum, BAG),
    "dense with LoRA": (list, lora_dense, BAG | {"bag/lora_kernel_a": 0}),
    "batch normalisation between": (
        lambda: [keras.layers.BatchNormalization(name="between")],
        None,
        BAG
        | {
            f"between/{name}": 0
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        },
    ),
    "several layers between": (
        lambda: [
            keras.layers.LayerNormalization(name="norm"),
            keras.layers.Dropout(0.1),
            layer("PReLU", name="slope"),
            keras.layers.Activation("tanh"),
        ],
        None,
        BAG | {"norm/gamma": 0, "norm/beta": 0, "slope/alpha": 0},
    ),
}


@pytest.mark.parametrize(
    ("case", "mode"),
    [(case, "count") for case in CASES] + [("dense", mode) for mode in MODES[:2]],
)
def test_rows_of_a_kernel_follow_their_words(case, mode, tmp_path):
    between, first, axes = CASES[case]
    words = vectorizer(mode)
    model = classifier(8, *between(), first=first and first())
    warm_start(model, {"bag": words}, base_vocabularies={"bag": words}, verbose=0)
    for _ in range(3):
        model.train_on_batch(vectors(words), LABELS)
    state = {v.path: array(v).copy() for v in all_variables(model)}
    before = model.predict_on_batch(vectors(words))
    rebuild(words, mode, REBUILT)
    warm_start(model, {"bag": words}, verbose=0)

    old, now = ["[UNK]", *"abcdefg"], ["[UNK]", *REBUILT]
    for variable in all_variables(model):
        path = variable.path.removeprefix("adam/").replace("/", "_")
        ends = [e for e in axes if e.replace("/", "_") in path]
        axis = axes[ends[0]] if ends else None
        value = array(variable)
        wanted = expected(state[variable.path], axis, old, now, value)
        np.testing.assert_array_equal(value, wanted, variable.path, strict=True)
    after = model.predict_on_batch(vectors(words))
    np.testing.assert_allclose(after, before, atol=1e-5)
    model.train_on_batch(vectors(words), LABELS)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = model.predict_on_batch(vectors(words))
    np.testing.assert_allclose(loaded.predict_on_batch(vectors(words)), again, atol=1e-6)


def all_variables(model):
    return [*model.variables, *model.optimizer.variables]


def test_one_hot_ids_of_integers():
    ids = keras.layers.IntegerLookup(
        vocabulary=[10, 20, 30], output_mode="one_hot", num_oov_indices=0
    )
    model = classifier(3, first=keras.layers.Dense(2, name="bag"))
    warm_start(model, {"bag": ids}, base_vocabularies={"bag": ids}, verbose=0)
    before = model.predict_on_batch(array(ids(np.array([10, 30]))))
    ids.set_vocabulary([30, 40, 10])
    report = warm_start(model, {"bag": ids}, verbose=0)
    after = model.predict_on_batch(array(ids(np.array([10, 30]))))
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert (report.vocabularies[0].kept, report.vocabularies[0].new) == (2, 1)


def test_vectors_of_a_fixed_width_have_room():
    words = vectorizer("multi_hot", max_tokens=12, pad_to_max_tokens=True)
    model = classifier(12)
    warm_start(model, {"bag": words}, base_vocabularies={"bag": words}, verbose=0)
    before = model.predict_on_batch(vectors(words))
    words.set_vocabulary(list("gfxedcyba"))
    warm_start(model, {"bag": words}, verbose=0)
    np.testing.assert_allclose(model.predict_on_batch(vectors(words)), before, atol=1e-5)


def test_another_width_needs_a_new_model(tmp_path):
    words = vectorizer("count")
    model = classifier(8, keras.layers.BatchNormalization(name="between"))
    callback = VocabularyWarmStart({"bag": words}, verbose=0)
    model.fit(vectors(words), LABELS, verbose=0, callbacks=[callback])
    before = model.predict_on_batch(vectors(words))
    kernel = array(model.get_layer("bag").kernel).copy()
    more = vectorizer("count", words=tuple("gfexdcbay"))
    with pytest.raises(WarmStartError, match=r"must stay 8 wide.*previous=this_model"):
        warm_start(model, {"bag": more})
    np.testing.assert_array_equal(array(model.get_layer("bag").kernel), kernel)

    model.save(tmp_path / "old.keras")
    for previous in (model, tmp_path / "old.keras"):
        new = classifier(10, keras.layers.BatchNormalization(name="between"))
        warm_start(
            new,
            {"bag": more},
            previous=previous,
            base_vocabularies={"bag": words},
            verbose=0,
        )
        after = new.predict_on_batch(vectors(more))
        np.testing.assert_allclose(after, before, atol=1e-5)
        assert new.optimizer.iterations == model.optimizer.iterations


def test_every_kernel_behind_the_same_vectors_moves():
    words = vectorizer("multi_hot")
    inputs = keras.Input((8,))
    wide = keras.layers.Dense(2, name="wide")(inputs)
    deep = keras.layers.Dense(4, name="deep")(keras.layers.Dropout(0.5)(inputs))
    model = keras.Model(inputs, keras.layers.Concatenate()([wide, deep]))
    before = model.predict_on_batch(vectors(words))
    old = vectorizer("multi_hot")
    rebuild(words, "multi_hot", REBUILT)
    report = warm_start(
        model, {"wide": words}, base_vocabularies={"wide": old}, verbose=0
    )
    assert [v.path for v in report.variables] == ["wide/kernel", "deep/kernel"]
    after = model.predict_on_batch(vectors(words))
    np.testing.assert_allclose(after[:, :2], before[:, :2], atol=1e-6)


def test_words_in_and_labels_out_of_one_kernel():
    words, labels = vectorizer("count"), ["x", "y", "z"]
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, name="all")])
    model.compile(keras.optimizers.Adam(name="adam"), "mse")
    model.train_on_batch(vectors(words), np.eye(3))
    state = {v.path: array(v).copy() for v in all_variables(model)}
    bindings = [Binding("all", "kernel", axis=axis) for axis in (0, 1)]
    bases = dict(zip(bindings, (vectorizer("count"), labels), strict=True))
    rebuild(words, "count", REBUILT)
    new = ["z", "w", "x", "v"]
    warm_start(
        model,
        dict(zip(bindings, (words, new), strict=True)),
        base_vocabularies=bases,
        verbose=0,
    )
    old, now = ["[UNK]", *"abcdefg"], ["[UNK]", *REBUILT]
    for variable in all_variables(model):
        value, before = array(variable), state[variable.path]
        if "kernel" in variable.path:
            for row, word in enumerate(now):
                for column, label in enumerate(new):
                    if word in old and label in labels:
                        came_from = before[old.index(word), labels.index(label)]
                        assert value[row, column] == came_from
        elif "bias" in variable.path:
            wanted = expected(before, 0, labels, new, value)
            np.testing.assert_array_equal(value, wanted)
    assert model.output_shape == (None, 4)


def test_words_in_and_labels_out_of_one_kernel_from_a_file(tmp_path):
    old_words, old_labels = vectorizer("count"), ["x", "y", "z"]
    words, labels = vectorizer("count", tuple("gfexdcbay")), ["z", "w", "x", "v"]

    def linear(width, outputs):
        keras.utils.set_random_seed(1)
        layers = [keras.Input((width,)), keras.layers.Dense(outputs, name="all")]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.Adam(name="adam"), "mse", run_eagerly=True)
        return model

    model = linear(8, 3)
    model.train_on_batch(vectors(old_words), np.eye(3))
    model.save(tmp_path / "old.keras")
    bindings = [Binding("all", "kernel", axis=axis) for axis in (0, 1)]
    bases = dict(zip(bindings, (old_words, old_labels), strict=True))
    for previous in (model, tmp_path / "old.keras"):
        new = linear(10, 4)
        source = dict(zip(bindings, (words, labels), strict=True))
        warm_start(new, source, previous, base_vocabularies=bases, verbose=0)
        old, now = ["[UNK]", *"abcdefg"], ["[UNK]", *"gfexdcbay"]
        pairs = zip(all_variables(model), all_variables(new), strict=True)
        for before, after in [(array(b), array(a)) for b, a in pairs]:
            if before.ndim == 2:
                for row, column in np.ndindex(10, 4):
                    if now[row] in old and labels[column] in old_labels:
                        place = old.index(now[row]), old_labels.index(labels[column])
                        assert after[row, column] == before[place]
            elif before.shape == (3,):
                wanted = expected(before, 0, old_labels, labels, after)
                np.testing.assert_array_equal(after, wanted)
        new.train_on_batch(vectors(words), np.eye(4)[:3])


@with_strings_in_model
def test_a_lookup_layer_in_the_model_tells_all_by_itself():
    words = vectorizer("multi_hot")
    texts = keras.Input((), dtype="string")
    norm = keras.layers.BatchNormalization(name="between")
    inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, name="bag")])
    model = keras.Model(texts, inner(norm(words(texts))))
    model.compile("adam", "mse")
    x = keras.ops.convert_to_tensor(TEXTS)
    model.fit(x, np.eye(3), verbose=0, callbacks=[VocabularyWarmStart(verbose=0)])
    before = array(model(x))
    rebuild(words, "multi_hot", REBUILT)
    plan = plan_warm_start(model, verbose=0)
    assert {b.variable.name for b in plan.bindings} == {
        *("kernel", "gamma", "beta", "moving_mean", "moving_variance")
    }
    plan.apply()
    np.testing.assert_allclose(array(model(x)), before, atol=1e-5)


@with_strings_in_model
def test_vectors_that_are_joined_with_others_are_not_guessed_at():
    words = vectorizer("multi_hot")
    texts, more = keras.Input((), dtype="string"), keras.Input((2,))
    bag = keras.layers.Dense(2, name="bag")(words(texts))
    joined = keras.layers.Concatenate(name="joined")([words(texts), more])
    model = keras.Model([texts, more], [bag, keras.layers.Dense(1)(joined)])
    warm_start(model, base_vocabularies={"bag": vectorizer("multi_hot")}, verbose=0)
    before = [array(v).tobytes() for v in model.variables]
    rebuild(words, "multi_hot", REBUILT)
    with pytest.raises(WarmStartError, match=r"Layer 'joined' joins .*`Dense`"):
        warm_start(model)
    assert [array(v).tobytes() for v in model.variables] == before


def normalised(words):
    norm = keras.layers.Normalization(name="norm")
    norm.adapt(vectors(words))
    return classifier(8, norm), norm


def test_what_a_normalization_learned_follows_its_words():
    words = vectorizer("count")
    model, _ = normalised(words)
    callback = VocabularyWarmStart({"bag": words}, verbose=0)
    model.fit(vectors(words), LABELS, verbose=0, callbacks=[callback])
    before = model.predict_on_batch(vectors(words))
    rebuild(words, "count", REBUILT)
    report = warm_start(model, {"bag": words}, verbose=0)
    assert "norm (features)" in [v.layer for v in report.vocabularies]
    after = model.predict_on_batch(vectors(words))
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_normalization_that_was_adapted_today_stays():
    words = vectorizer("count")
    model, norm = normalised(words)
    callback = VocabularyWarmStart({"bag": words}, verbose=0)
    model.fit(vectors(words), LABELS, verbose=0, callbacks=[callback])
    rebuild(words, "count", REBUILT)
    norm.adapt(vectors(words, ["a b c c", "g g f"]))
    today = [array(v).copy() for v in norm.variables]
    warm_start(model, {"bag": words}, verbose=0)
    for variable, value in zip(norm.variables, today, strict=True):
        np.testing.assert_array_equal(array(variable), value)
    rebuild(words, "count", "abcdefg")  # from then on it is known
    warm_start(model, {"bag": words}, verbose=0)
    order = [1 + REBUILT.index(word) for word in "abcdefg"]
    np.testing.assert_array_equal(array(norm.variables[0])[1:], today[0][order])
    np.testing.assert_array_equal(array(norm.mean).ravel(), array(norm.variables[0]))


def test_a_normalization_of_which_nothing_is_known():
    words = vectorizer("count")
    model, _ = normalised(words)
    before = [array(v).tobytes() for v in model.variables]
    old = vectorizer("count")
    rebuild(words, "count", REBUILT)
    with pytest.raises(WarmStartError, match=r"'norm'.*Received.*base_vocabularies="):
        warm_start(model, {"bag": words}, base_vocabularies={"bag": old})
    assert [array(v).tobytes() for v in model.variables] == before
    bases = {"bag": old, "norm": old}
    warm_start(model, {"bag": words, "norm": words}, base_vocabularies=bases, verbose=0)
    order = [1 + "abcdefg".index(word) for word in REBUILT]
    wanted = np.frombuffer(before[0], "float32")[order]
    np.testing.assert_array_equal(array(model.variables[0])[1:], wanted)


@pytest.mark.parametrize("is_adapted", [True, False])
def test_a_normalization_and_a_previous_run(is_adapted):
    words, more = vectorizer("count"), vectorizer("count", tuple(REBUILT))
    model, _ = normalised(words)
    callback = VocabularyWarmStart({"bag": words}, verbose=0)
    model.fit(vectors(words), LABELS, verbose=0, callbacks=[callback])
    norm = keras.layers.Normalization(name="norm")
    if is_adapted:
        norm.adapt(vectors(more, ["a b c c", "g g f"]))
    new = classifier(8, norm)
    today = [array(v).copy() for v in norm.variables]
    if not is_adapted:
        with pytest.raises(WarmStartError, match=r"'norm' must be adapted .*`adapt`"):
            warm_start(new, {"bag": more}, model)
        return
    warm_start(new, {"bag": more}, model, verbose=0)
    for variable, value in zip(norm.variables, today, strict=True):
        np.testing.assert_array_equal(array(variable), value)
    kernel = array(model.get_layer("bag").kernel)
    order = [1 + "abcdefg".index(word) for word in REBUILT]
    np.testing.assert_array_equal(array(new.get_layer("bag").kernel)[1:], kernel[order])


@with_strings_in_model
def test_a_lookup_whose_only_way_is_not_certain_is_watched():
    words = vectorizer("multi_hot")
    texts, more = keras.Input((), dtype="string"), keras.Input((2,))
    joined = keras.layers.Concatenate(name="joined")([words(texts), more])
    model = keras.Model([texts, more], keras.layers.Dense(1)(joined))
    warm_start(model, verbose=0)
    assert not warm_start(model, verbose=0).changed
    rebuild(words, "multi_hot", REBUILT)
    with pytest.raises(WarmStartError, match=r"Layer 'joined' joins .*`Dense`"):
        warm_start(model)


@with_strings_in_model
def test_vectors_that_are_made_of_ids():
    words = keras.layers.StringLookup(vocabulary=[*"abcdefg"])
    texts = keras.Input((3,), dtype="string")
    counts = keras.layers.CategoryEncoding(8, output_mode="count")(words(texts))
    model = keras.Model(texts, keras.layers.Dense(2, name="bag")(counts))
    x = keras.ops.convert_to_tensor([["a", "b", "b"], ["c", "g", "a"]])
    warm_start(model, verbose=0)
    before = array(model(x))
    words.set_vocabulary(REBUILT)
    report = warm_start(model, verbose=0)
    assert [v.path for v in report.variables] == ["bag/kernel"]
    np.testing.assert_allclose(array(model(x)), before, atol=1e-6)


@with_strings_in_model
def test_two_lookups_into_one_kernel():
    one, other = vectorizer("multi_hot"), vectorizer("multi_hot")
    inputs = [keras.Input((), dtype="string") for _ in range(2)]
    bag = keras.layers.Dense(3, name="bag")
    outputs = keras.layers.Add()([bag(one(inputs[0])), bag(other(inputs[1]))])
    model = keras.Model(inputs, outputs)
    warm_start(model, verbose=0)
    rebuild(one, "multi_hot", REBUILT)
    with pytest.raises(WarmStartError, match="'bag' must have one vocabulary along its"):
        warm_start(model)


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_quantised_kernel(mode):
    words = vectorizer("count")
    model = classifier(8)
    model.get_layer("bag").quantize(mode)
    before = [array(v).tobytes() for v in model.variables]
    with pytest.raises(WarmStartError, match=f"must not be quantized.*'{mode}'"):
        warm_start(model, {"bag": words}, base_vocabularies={"bag": words})
    assert [array(v).tobytes() for v in model.variables] == before
