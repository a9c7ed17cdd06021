"""Labels that come and go, and the compiled metrics that have an entry for each."""

import keras
import numpy as np
import pytest
from faults import let_fail
from models import EAGER, JIT, array

from warmstart_keras import VocabularyWarmStart, WarmStartError, warm_start

X = np.random.default_rng(0).normal(size=(24, 5)).astype("float32")
BASE = ["a", "b", "c"]
REBUILDS = {
    "grown": ["d", "a", "c", "b", "e"],
    "shrunk": ["c", "a"],
    "reshuffled": ["c", "b", "a"],
}


def one_hot(labels):
    drawn = np.random.default_rng(1).integers(0, len(labels), len(X))
    return np.eye(len(labels), dtype="float32")[drawn]


def classifier(loss="categorical_crossentropy", metrics=(), *, eager=EAGER):
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(3, name="labels"), keras.layers.Softmax()]
    )
    model.compile(
        keras.optimizers.Adam(0.1),
        loss,
        metrics=list(metrics),
        jit_compile=JIT,
        run_eagerly=eager,
    )
    return model


@pytest.mark.parametrize("labels", REBUILDS.values(), ids=REBUILDS)
def test_metrics_are_right_for_the_new_labels(labels):
    f1 = keras.metrics.F1Score(name="f1")
    auc = keras.metrics.AUC(multi_label=True, name="auc")
    is_traced = len(labels) > len(BASE)  # only one of them is: it takes seconds
    model = classifier(metrics=["accuracy", f1, auc], eager=EAGER and not is_traced)
    model.fit(X, one_hot(BASE), verbose=0)
    before = model.predict(X, verbose=0)
    warm_start(model, {"labels": labels}, base_vocabularies={"labels": BASE}, verbose=0)

    y = one_hot(labels)
    found = model.evaluate(X, y, verbose=0, return_dict=True)
    predicted = model.predict(X, verbose=0)
    for metric in (keras.metrics.F1Score(), keras.metrics.AUC(multi_label=True)):
        metric.update_state(y, predicted)
        name = "f1" if isinstance(metric, keras.metrics.F1Score) else "auc"
        np.testing.assert_allclose(found[name], array(metric.result()), atol=1e-6)
    kept = [label for label in labels if label in BASE]
    ratio = predicted[:, [labels.index(label) for label in kept]]
    ratio = ratio / before[:, [BASE.index(label) for label in kept]]
    np.testing.assert_allclose(ratio, np.repeat(ratio[:, :1], len(kept), 1), rtol=1e-4)
    model.fit(X, y, verbose=0)
    assert len(array(f1.result())) == len(labels)  # the very object of the user's


@pytest.mark.compiling
@pytest.mark.parametrize("before", [False, True])
def test_sparse_labels_in_fit_and_before_it(before):
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model = classifier("sparse_categorical_crossentropy", [accuracy], eager=False)
    callback = VocabularyWarmStart({"labels": BASE}, verbose=0)
    model.fit(X, one_hot(BASE).argmax(1), verbose=0, callbacks=[callback])
    for labels in REBUILDS.values():
        callback = VocabularyWarmStart({"labels": labels}, verbose=0)
        y = one_hot(labels).argmax(1)
        if before:
            warm_start(model, {"labels": labels}, verbose=0)
        model.fit(X, y, verbose=0, callbacks=[callback])
        assert (callback.report is None) == before  # rows move once
        found = model.evaluate(X, y, verbose=0, return_dict=True)
        predicted = model.predict(X, verbose=0)
        assert predicted.shape[1] == len(labels)
        assert found["accuracy"] == pytest.approx((predicted.argmax(1) == y).mean())


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")  # Keras on JAX
def test_a_metric_that_is_told_the_number_of_labels():
    iou = keras.metrics.OneHotMeanIoU(num_classes=3, name="iou")
    auc = keras.metrics.AUC(multi_label=True, num_labels=3, name="auc")
    model = classifier(metrics=[iou, auc])
    model.fit(X, one_hot(BASE), verbose=0)
    labels = REBUILDS["grown"]
    report = warm_start(
        model, {"labels": labels}, base_vocabularies={"labels": BASE}, verbose=0
    )
    assert not any("cannot be reset" in note for note in report.notes)
    found = model.evaluate(X, one_hot(labels), verbose=0, return_dict=True)
    wanted = keras.metrics.OneHotMeanIoU(num_classes=5)
    wanted.update_state(one_hot(labels), model.predict(X, verbose=0))
    assert found["iou"] == pytest.approx(float(array(wanted.result())))


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")  # Keras on JAX
def test_a_metric_of_a_subclassed_model_that_is_told_the_number_is_named():
    class Classifier(keras.Model):
        def __init__(self):
            super().__init__()
            self.labels = keras.layers.Dense(3, "softmax", name="labels")

        def call(self, inputs):
            return self.labels(inputs)

    model = Classifier()
    iou = keras.metrics.OneHotMeanIoU(num_classes=3, name="iou", dtype="int32")
    model.compile("sgd", "categorical_crossentropy", metrics=[iou], run_eagerly=True)
    model.fit(X, one_hot(BASE), verbose=0)
    report = warm_start(
        model,
        {"labels": REBUILDS["grown"]},
        base_vocabularies={"labels": BASE},
        verbose=0,
    )
    assert any("'iou' (of type OneHotMeanIoU) was made for" in n for n in report.notes)


class Counts(keras.metrics.Metric):
    """How often each label was there: a metric of the user's, made for so many."""

    def __init__(self, labels=3, **kwargs):
        super().__init__(**kwargs)
        self.counts = self.add_variable((labels,), "zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.counts.assign_add(keras.ops.sum(y_true, axis=0))

    def result(self):
        return keras.ops.sum(self.counts)


def test_a_metric_that_cannot_be_reset_is_named():
    model = classifier(metrics=[Counts(name="mine")])
    model.fit(X, one_hot(BASE), verbose=0)
    labels = REBUILDS["grown"]
    report = warm_start(
        model, {"labels": labels}, base_vocabularies={"labels": BASE}, verbose=0
    )
    assert any("'mine' (of type Counts) was made for" in n for n in report.notes)


def test_a_metric_about_one_label_is_named():
    model = classifier(metrics=[keras.metrics.Precision(class_id=1, name="of_b")])
    model.fit(X, one_hot(BASE), verbose=0)
    labels = REBUILDS["reshuffled"]
    report = warm_start(
        model, {"labels": labels}, base_vocabularies={"labels": BASE}, verbose=0
    )
    assert any("'of_b' refers to outputs by their old index" in n for n in report.notes)


def test_a_fault_at_any_step_leaves_metrics_and_shapes_as_they_were():
    f1 = keras.metrics.F1Score(name="f1")
    model = classifier(metrics=[f1])
    model.fit(X, one_hot(BASE), verbose=0)

    def state():
        variables = [*model.variables, *model.optimizer.variables, *f1.variables]
        values = [(v.path, array(v).tobytes()) for v in variables]
        shapes = [layer.output.shape for layer in model.layers]
        return values, shapes, str(model.get_config()), model.output_shape

    before, labels = state(), REBUILDS["grown"]

    def start():
        base = {"labels": BASE}
        warm_start(model, {"labels": labels}, base_vocabularies=base, verbose=1)

    for step in range(1, len(let_fail(start)) + 1):
        let_fail(start, step)
        assert state() == before, f"at step {step}"
    model.fit(X, one_hot(BASE), verbose=0)
    start()
    model.fit(X, one_hot(labels), verbose=0)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX looks ahead alone")
def test_stale_metrics_in_fit_on_jax():
    model = classifier(metrics=[keras.metrics.F1Score()])
    y = one_hot(BASE)
    callback = VocabularyWarmStart({"labels": BASE}, verbose=0)
    model.fit(X, y, verbose=0, callbacks=[callback])
    callback = VocabularyWarmStart({"labels": REBUILDS["grown"]}, verbose=0)
    with pytest.raises(WarmStartError, match=r"Call `warm_start\(model, .*before `fit`"):
        model.fit(X, y, verbose=0, callbacks=[callback])
    assert model.output_shape == (None, 3)
