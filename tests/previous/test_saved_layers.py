"""Which layer of a previous run is which layer of a model: by names, not by position."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from warmstart_keras.backend import LazyArray
from warmstart_keras.previous.saved_layers import SavedLayer, match, tree


def stored(*shape):
    values = np.zeros(shape)
    return LazyArray(shape, values.dtype, values.__getitem__)


def a_tree(layers, *, known=True):
    """A tree of one model: for each group the name of a layer, its class and shape."""
    groups = {"": SavedLayer("model", "", "functional", {})}
    for group, (name, kind, shape) in layers.items():
        values = {"0": stored(*shape)} if shape else {}
        groups[group] = SavedLayer(name, "", kind if known else "", values)
    return tree(groups)


def matched(theirs, ours, tables=()):
    axes = {
        id(value): frozenset({0})
        for layer in ours.walk()
        for value in layer.values.values()
        if layer.name in tables
    }
    pairs = match(theirs, ours, axes)
    return {own.path: saved.path for saved, own in pairs if own.path}


DENSE = ("layers/dense", "layers/dense_1", "layers/dense_2")


def test_names_count_and_not_places():
    theirs = a_tree({DENSE[0]: ("a", "dense", (2,)), DENSE[1]: ("b", "dense", (2,))})
    ours = a_tree({DENSE[0]: ("b", "dense", (2,)), DENSE[1]: ("a", "dense", (2,))})
    assert matched(theirs, ours) == {"b": "b", "a": "a"}


def test_automatic_names_count_in_their_order_if_all_is_alike():
    def made(first, shapes):
        names = [f"dense_{first + i}" for i in range(len(shapes))]
        return a_tree(
            {
                DENSE[i]: (name, "dense", shape)
                for i, (name, shape) in enumerate(zip(names, shapes, strict=True))
            }
        )

    three = [(2, 2), (2, 2), (2, 3)]
    pairs = {"dense_7": "dense_1", "dense_8": "dense_2", "dense_9": "dense_3"}
    assert matched(made(1, three), made(7, three)) == pairs
    assert matched(made(1, three), made(7, three[::-1])) == {}
    assert matched(made(1, three), made(7, three[:2])) == {}


def test_the_tenth_layer_comes_after_the_ninth():
    def made(first):
        names = ["layers/dense", *(f"layers/dense_{i}" for i in range(1, 12))]
        return a_tree(
            {g: (f"dense_{first + i}", "dense", (2,)) for i, g in enumerate(names)}
        )

    pairs = matched(made(0), made(20))
    assert pairs == {f"dense_{20 + i}": f"dense_{i}" for i in range(12)}


def test_a_given_name_is_no_automatic_one():
    theirs = a_tree({DENSE[0]: ("dense", "dense", (2,))})
    ours = a_tree({DENSE[0]: ("head", "dense", (2,))})
    assert matched(theirs, ours) == {}


def test_an_attribute_tells_automatic_names_apart():
    theirs = a_tree(
        {"head": ("dense_1", "", (2,)), "body": ("dense", "", (2,))}, known=False
    )
    ours = a_tree({"head": ("dense", "dense", (2,)), "body": ("dense_1", "dense", (2,))})
    assert matched(theirs, ours) == {"dense": "dense_1", "dense_1": "dense"}


def test_two_given_names_in_one_attribute_are_two_layers():
    theirs = a_tree({"words": ("users", "", (3, 2))}, known=False)
    ours = a_tree({"words": ("items", "embedding", (3, 2))})
    assert matched(theirs, ours) == {}


def test_an_embedding_of_ours_stands_where_a_plain_one_stood():
    theirs = a_tree({"layers/embedding": ("embedding_3", "embedding", (5, 2))})
    ours = a_tree(
        {
            "layers/warm_start_embedding": (
                "warm_start_embedding",
                "warm_start_embedding",
                (8, 2),
            )
        }
    )
    pairs = matched(theirs, ours, tables=("warm_start_embedding",))
    assert pairs == {"warm_start_embedding": "embedding_3"}


def test_a_layer_that_moved_into_another_model_is_found_by_its_name():
    theirs = a_tree({"layers/dense": ("head", "dense", (2,))})
    ours = a_tree(
        {
            "layers/sequential": ("sequential", "sequential", ()),
            "layers/sequential/layers/dense": ("head", "dense", (2,)),
        }
    )
    assert matched(theirs, ours) == {"sequential/head": "head"}


names = st.sampled_from(["a", "b", "dense", "dense_1", "dense_4", "words"])
layers = st.lists(st.tuples(names, st.sampled_from([(2,), (3,), (2, 2)])), max_size=4)


@given(layers, layers)
def test_no_layer_is_matched_twice_nor_by_another_given_name(theirs, ours):
    both = [
        a_tree(
            {
                f"layers/dense{f'_{i}' * bool(i)}": (name, "dense", shape)
                for i, (name, shape) in enumerate(one)
            }
        )
        for one in (theirs, ours)
    ]
    pairs = match(*both, {})[1:]
    for side in (0, 1):
        found = [id(pair[side]) for pair in pairs]
        assert len(set(found)) == len(found)
    for saved, own in pairs:
        if not (saved.has_automatic_name and own.has_automatic_name):
            assert saved.name == own.name


@given(layers)
def test_equal_runs_are_matched_wholly_unless_names_are_borne_twice(one):
    def made():
        return a_tree(
            {
                f"layers/dense{f'_{i}' * bool(i)}": (name, "dense", shape)
                for i, (name, shape) in enumerate(one)
            }
        )

    found = [name for name, _ in one]
    if len(set(found)) == len(found):
        assert matched(made(), made()) == {name: name for name in found}
