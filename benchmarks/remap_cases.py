"""What `remap.py` measures: the inputs of each case, its work, and whether that is right.

A case is a function `(rows, width, folder) -> (work, check)`: it makes the inputs in
memory or in `folder`; `work()` is what is measured, `check(result)` compares it with a
dictionary looked up word by word.
"""

import hashlib
import importlib
import os

import numpy as np

CHUNK = 2**16  # rows that are compared or written at a time


# --- what a case is made of, and compared with ---


def spelled(numbers):
    """Words, each an object of its own as in a vocabulary that was read from a file."""
    parts = np.array_split(numbers, len(numbers) // CHUNK + 1)
    return [f"w{number:x}" for part in parts for number in part.tolist()]


def made_words(rows):
    """Base and new words: 90 % of the base's stay, shuffled among 10 % new ones."""
    random = np.random.default_rng(rows)
    numbers = random.permutation(rows + rows // 10)
    base, fresh = numbers[:rows], numbers[rows:]
    kept = random.permutation(base)[: rows - len(fresh)]
    return spelled(base), spelled(random.permutation(np.concatenate([kept, fresh])))


def made_matrix(rows, width, seed=0):
    matrix = np.empty((rows, width), np.float32)
    np.random.default_rng(seed).random(out=matrix, dtype=np.float32)
    return matrix


def oracle(base, new):
    """The base row of each new word, or -1."""
    place = {}
    for row, word in enumerate(base):
        place[word] = row
    return np.array([place.get(word, -1) for word in new])


def digest(matrix, rows):
    """SHA-256 of some rows of a matrix."""
    digest = hashlib.sha256()
    for start in range(0, len(rows), CHUNK):
        digest.update(np.ascontiguousarray(matrix[rows[start : start + CHUNK]]))
    return digest.hexdigest()


def is_right(result, matrix, wanted):
    """Whether kept rows are those of `matrix`, and the new ones those of "uniform"."""
    result = np.asarray(result)
    kept, new = np.flatnonzero(wanted >= 0), np.flatnonzero(wanted < 0)
    return (
        result.shape == (len(wanted), matrix.shape[1])
        and result.dtype == matrix.dtype
        and digest(result, kept) == digest(matrix, wanted[kept])
        and all(
            bool((np.abs(result[new[start : start + CHUNK]]) <= 0.05).all())
            for start in range(0, len(new), CHUNK)
        )
    )


# --- matrices and lists ---


def copied(rows, width, folder):
    matrix = made_matrix(rows, width)
    return matrix.copy, lambda result: is_right(result, matrix, np.arange(rows))


def text_file(words, path):
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return str(path)


def string_tensor(words, path):
    import tensorflow as tf

    return tf.constant(words)


MODULES = {"ours": "warmstart_keras", "tf_keras": "tf_keras.utils"}
GIVEN_AS = {
    "lists": lambda words, path: words,
    "arrays": lambda words, path: np.array(words),
    "text files": text_file,
    "tensors": string_tensor,
}


def warmstart_of(given_as, way):
    def case(rows, width, folder):
        warmstart = importlib.import_module(MODULES[way]).warmstart_embedding_matrix
        given = GIVEN_AS[given_as]
        base, new = made_words(rows)
        sources = given(base, folder / "base.txt"), given(new, folder / "new.txt")
        matrix = made_matrix(rows, width)
        return (
            lambda: warmstart(*sources, matrix, "uniform"),
            lambda result: is_right(result, matrix, oracle(base, new)),
        )

    return case


def tf1_ops(rows, width, folder):
    """The two operations behind the warm start of TensorFlow 1's estimators."""
    import tensorflow as tf

    base, new = made_words(rows)
    base_file = text_file(base, folder / "base.txt")
    new_file = text_file(new, folder / "new.txt")
    matrix = made_matrix(rows, width)
    checkpoint = str(folder / "checkpoint")
    tf.raw_ops.SaveV2(
        prefix=checkpoint, tensor_names=["table"], shape_and_slices=[""], tensors=[matrix]
    )

    def work():
        places, present = tf.raw_ops.GenerateVocabRemapping(
            new_vocab_file=new_file,
            old_vocab_file=base_file,
            new_vocab_offset=0,
            num_new_vocab=rows,
        )
        missing = (rows - int(present)) * width
        return tf.raw_ops.LoadAndRemapMatrix(
            ckpt_path=checkpoint,
            old_tensor_name="table",
            row_remapping=places,
            col_remapping=tf.constant([], tf.int64),
            initializing_values=tf.random.uniform([missing], -0.05, 0.05),
            num_rows=rows,
            num_cols=width,
        )

    return work, lambda result: is_right(result, matrix, oracle(base, new))


def on_cores(number):
    def case(rows, width, folder):
        from warmstart_keras import RowMap, remap

        base, new = made_words(rows)
        row_map, matrix = RowMap(base, new), made_matrix(rows, width)
        return (
            lambda: remap(matrix, row_map, new_embeddings_initializer="zeros"),
            lambda result: is_right(result, matrix, oracle(base, new)),
        )

    case.cores = number
    return case


# --- a model ---


def trained_model(words, width):
    """A model that has taken a few steps; its table and two slots, and their values."""
    import keras
    import tensorflow as tf

    from warmstart_keras import WarmStartEmbedding

    lookup = keras.layers.StringLookup(vocabulary=words)
    table = WarmStartEmbedding(output_dim=width, vocabulary=lookup)
    texts = keras.Input((4,), dtype="string")
    pooled = keras.layers.GlobalAveragePooling1D()(table(lookup(texts)))
    model = keras.Model(texts, keras.layers.Dense(1)(pooled))
    model.compile("adam", "mse")
    for _ in range(3):
        model.train_on_batch(tf.constant([words[:4], words[4:8]]), np.zeros((2, 1)))
    slots = [v for v in model.optimizer.variables if v.shape == table.embeddings.shape]
    variables, values = [table.embeddings, *slots], []
    for seed, variable in enumerate(variables):
        values.append(made_matrix(*variable.shape, seed))  # in rows not trained, too
        variable.assign(values[-1])
    return model, lookup, variables, values


def begin(model):
    """All that the callback does before the first step of a day's `fit`."""
    from warmstart_keras import VocabularyWarmStart

    callback = VocabularyWarmStart(verbose=0)
    callback.set_model(model)
    callback.set_params({"verbose": 0, "epochs": 1, "steps": 1})
    callback.on_train_begin()


def behind_unknown(places):
    """What an oracle says of the words, with the row of unknown ones before them."""
    return np.concatenate([[0], np.where(places < 0, -1, places + 1)])


def callback_after(rebuilt):
    """The callback after the lookup got `"new"` or the `"same"` words, or (None) none."""

    def case(rows, width, folder):
        base, new = made_words(rows - 1)
        model, lookup, variables, values = trained_model(base, width)
        if rebuilt is None:
            begin(model)
        else:
            lookup.set_vocabulary(new if rebuilt == "new" else base)

        def check(_):
            wanted = behind_unknown(oracle(base, new if rebuilt == "new" else base))
            return len(variables) == 3 and all(
                is_right(variable.value, matrix, wanted)
                for variable, matrix in zip(variables, values, strict=True)
            )

        return lambda: begin(model), check

    return case


def recipe(rows, width, folder):
    """What the documentation of Keras 2.15 says to do, for the table and both slots."""
    import tf_keras

    base, new = made_words(rows - 1)
    old_lookup = tf_keras.layers.StringLookup(vocabulary=base)
    lookup = tf_keras.layers.StringLookup(vocabulary=new)
    matrices = [made_matrix(rows, width, seed) for seed in range(3)]

    def work():
        before, now = old_lookup.get_vocabulary(), lookup.get_vocabulary()
        return [
            tf_keras.utils.warmstart_embedding_matrix(before, now, matrix, start)
            for matrix, start in zip(matrices, ("uniform", "zeros", "zeros"), strict=True)
        ]

    def check(results):
        wanted = behind_unknown(oracle(base, new))
        return all(map(is_right, results, matrices, [wanted] * 3))

    return work, check


# --- files ---


def synced(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def base_file(rows, width, folder):
    """A matrix in a file that all measurements share, which the system has at hand."""
    path = folder.parent / f"base-{rows}x{width}.npy"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        shape = (rows, width)
        matrix = np.lib.format.open_memmap(unfinished, "w+", np.float32, shape)
        random = np.random.default_rng(0)
        for start in range(0, rows, CHUNK):
            part = matrix[start : start + CHUNK]
            part[:] = random.random(part.shape, np.float32)
        matrix.flush()
        synced(unfinished)
        unfinished.rename(path)
    with open(path, "rb") as file:
        while file.read(2**24):
            pass
    return path


def between_files(rows, width, folder):
    from warmstart_keras import RowMap, remap

    path, out = base_file(rows, width, folder), str(folder / "new.npy")
    base, new = made_words(rows)
    row_map, matrix = RowMap(base, new), np.load(path, mmap_mode="r")

    def work():
        remap(matrix, row_map, new_embeddings_initializer="uniform", out=out)
        synced(out)  # next to nothing where `remap` did so

    def check(_):
        result = np.load(out, mmap_mode="r")
        return is_right(result, matrix, oracle(base, new))

    return work, check


def copied_file(rows, width, folder):
    path, out = base_file(rows, width, folder), folder / "copy.npy"

    def work():
        with open(path, "rb") as source, open(out, "wb") as target:
            while part := source.read(2**24):
                target.write(part)
            target.flush()
            os.fsync(target.fileno())

    def check(_):
        matrix, result = (np.load(p, mmap_mode="r") for p in (path, out))
        return is_right(result, matrix, np.arange(rows))

    return work, check


CASES = {
    ("copy", "copy"): copied,
    **{(g, way): warmstart_of(g, way) for g in GIVEN_AS for way in ("ours", "tf_keras")},
    ("lists", "TF1 ops"): tf1_ops,
    ("rows", "one core"): on_cores(1),
    ("rows", "two cores"): on_cores(2),
    ("lookup", "ours"): callback_after("new"),
    ("lookup", "recipe"): recipe,
    ("nothing changed", "same table"): callback_after(None),
    ("nothing changed", "same words"): callback_after("same"),
    ("files", "ours"): between_files,
    ("files", "copy"): copied_file,
}
