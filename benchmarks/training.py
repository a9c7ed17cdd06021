"""What a new word's embedding row should start from, and whether warm starting pays.

Three streams of real texts (`streams.py`) arrive part by part. At each part the
vocabulary of 5,000 words is rebuilt from the latest texts, and a small classifier is
retrained, in many ways ("arms"). Each is tested on the part before it is trained on it
("right after", epoch 0), and after its epochs on the *next* part.

    pip install "warmstart-keras[benchmarks]"
    KERAS_BACKEND=torch python benchmarks/training.py --jobs 2    # 5 seeds
    KERAS_BACKEND=torch python benchmarks/training.py --quick     # a minute or so
    python benchmarks/training.py --from-csv training_results/training.csv --json FILE

Prints tables with mean and spread (standard deviation over the seeds of the mean over the
parts); writes them, all numbers and curves to `--output`. A seed draws the order of the
texts, the initial weights and the batches.
"""

import argparse
import itertools
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import record
import streams
from tqdm import tqdm
from training_tables import (
    BY_HAND,
    CARRIED,
    COLUMNS,
    EPOCHS,
    FIRST,
    FRESH,
    FULL,
    SCRAMBLED,
    SCRATCH,
    STALE,
    plain_values,
    write_report,
)

import warmstart_keras as wk

WINDOW = 4000  # the vocabulary is rebuilt from this many of the latest texts
MAX_TOKENS = 5000
OUTPUT_DIM = 32
BATCH_SIZE = 32
LOSS = "sparse_categorical_crossentropy"

# Learning rates with which full retraining learns most in 3 to 5 epochs, as tried on the
# first and the eighth part of each stream, seed 0. Adam's usual 0.001 is slow for it
# (incidents: 0.60 after 3 epochs, with 0.003 0.77). The gradients of rows are so small
# that Adagrad's usual first accumulator of 0.1 drowns them. SGD is slow at any rate, and
# learns nothing above 0.5; its momentum is the state that there is to carry.
OPTIMIZERS = {
    "Adam": lambda: keras.optimizers.Adam(0.003),
    "Adam, 0.001": lambda: keras.optimizers.Adam(0.001),
    "SGD": lambda: keras.optimizers.SGD(0.2, momentum=0.9, nesterov=True),
    "AdamW": lambda: keras.optimizers.AdamW(0.003),
    "Adagrad": lambda: keras.optimizers.Adagrad(0.03, initial_accumulator_value=1e-6),
}


@dataclass(frozen=True)
class Today:
    """One part of a stream, in the ids of the vocabulary that was rebuilt for it.

    Attributes:
        vectorizer, tokens: The vocabulary.
        window: The texts that it was built from.
        ids, labels: Of all texts so far, and of the next part after them.
        size: Number of texts in the part.
    """

    stream: str
    number: int
    vectorizer: keras.layers.TextVectorization
    tokens: list[str]
    window: list[str]
    ids: np.ndarray
    labels: np.ndarray
    size: int

    @property
    def so_far(self) -> slice:
        return slice(0, len(self.ids) - streams.PART)

    @property
    def part(self) -> slice:
        return slice(self.so_far.stop - self.size, self.so_far.stop)

    @property
    def next_part(self) -> slice:
        return slice(self.so_far.stop, None)

    def share_of_new(self, before: "Today") -> np.ndarray:
        """Of the words of each text of the part, the share that is new."""
        new = ~np.isin(self.tokens, before.tokens)
        ids = self.ids[self.part]
        return (new[ids] & (ids > 0)).sum(axis=1) / np.maximum((ids > 0).sum(axis=1), 1)


def days(stream: str, seed: int, most: int, rebuilds: bool = True) -> Iterator[Today]:
    """Yields the parts, except the last one, which is for tests only.

    Args:
        stream, seed, most: Which stream, in which order, and at most how many parts.
        rebuilds: Whether the vocabulary is rebuilt for each part. If not, the first
            part's vocabulary serves all of them.
    """
    parts = streams.parts(stream, seed, most)
    for number, part in enumerate(parts[:-1]):
        texts = pd.concat(parts[: number + 2])  # with the next
        window = texts["text"].tolist()[: -streams.PART][-WINDOW:]
        if rebuilds or number == 0:
            vectorizer = keras.layers.TextVectorization(
                MAX_TOKENS, output_sequence_length=streams.STREAMS[stream].sequence_length
            )
            vectorizer.adapt(window)
        ids = keras.ops.convert_to_numpy(vectorizer(texts["text"].tolist()))
        tokens, labels = vectorizer.get_vocabulary(), texts["label"].to_numpy()
        yield Today(
            stream, number, vectorizer, tokens, window, ids, labels, size=len(part)
        )


def build_model(today: Today, optimizer: Callable, follows: bool) -> keras.Model:
    """The same small classifier for every arm, but for its embedding layer.

    Args:
        today: What vocabulary and classes it is for.
        optimizer: Makes a new one.
        follows: Whether each row of the embedding knows its word, and can follow it.
    """
    if follows:
        embedding = wk.WarmStartEmbedding(
            output_dim=OUTPUT_DIM, mask_zero=True, vocabulary=today.tokens
        )
    else:
        embedding = keras.layers.Embedding(len(today.tokens), OUTPUT_DIM, mask_zero=True)
    model = keras.Sequential(
        [
            keras.Input((today.ids.shape[1],), dtype="int64"),
            embedding,
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(streams.STREAMS[today.stream].classes, "softmax"),
        ]
    )
    # No metrics: they would cost time in each step, and are worked out apart.
    model.compile(optimizer(), LOSS)
    return model


def copy_of(model: keras.Model, today: Today, optimizer: Callable, follows: bool):
    """A model with the same weights and the same state of the optimizer."""
    copy = build_model(today, optimizer, follows)
    copy.set_weights(model.get_weights())
    copy.optimizer.build(copy.trainable_variables)
    for new, old in zip(copy.optimizer.variables, model.optimizer.variables, strict=True):
        # Not the array itself: JAX deletes what one of them has used up.
        new.assign(keras.ops.convert_to_numpy(old))
    return copy


# The ways to start at a rebuild: each gets the arm's model as it was trained on the part
# before, the part before, today's part and what makes a new optimizer.


def anew(model, before, today, optimizer):
    return build_model(today, optimizer, follows=False)


def goes_on(model, before, today, optimizer):
    return model


def by_hand(model, before, today, optimizer):
    """Keras 2.15's recipe ends with `compile`: the optimizer forgets all."""
    table = model.layers[0].embeddings
    table.assign(
        wk.warmstart_embedding_matrix(before.tokens, today.tokens, table, "uniform")
    )
    model.compile(optimizer(), LOSS)
    return model


def stale(model, before, today, optimizer):
    """Rows follow their words, and slots of the optimizer do not."""
    table = model.layers[0].embeddings
    table.assign(wk.remap(table, wk.RowMap(before.tokens, today.tokens)))
    return model


def fresh(model, before, today, optimizer):
    wk.warm_start(model, vocabularies=today.tokens, verbose=0)
    model.compile(optimizer(), LOSS)
    return model


def carried(new_rows: Any = None, **options) -> Callable:
    """Rows and slots follow their words.

    Args:
        new_rows: What new rows start from, or a function of today's part that makes it.
        options: Of `warm_start`.
    """

    def start(model, before, today, optimizer):
        wk.warm_start(
            model,
            vocabularies=today.tokens,
            verbose=0,
            new_embeddings_initializer=new_rows(today)
            if callable(new_rows)
            else new_rows,
            **options,
        )
        return model

    return start


def from_context(today: Today):
    return wk.ContextRows(today.window, today.vectorizer, verbose=0)


def from_elsewhere(today: Today):
    return wk.PretrainedRows(streams.vectors_of_others(today.stream))


@dataclass(frozen=True)
class Arm:
    """One way to retrain.

    Attributes:
        start: What is done at a rebuild.
        follows: Whether its model is one with `WarmStartEmbedding`.
        epochs: After which it is tested; with other optimizers than Adam after the
            first three alone.
        so_far: Whether it is trained on all parts so far, not on the latest alone.
        optimizers: Those that it is tried with.
        rebuilds: Whether the vocabulary is rebuilt, not kept from the first part.
    """

    start: Callable
    follows: bool = False
    epochs: tuple[int, ...] = tuple(range(1, EPOCHS + 1))
    so_far: bool = False
    optimizers: tuple[str, ...] = ("Adam",)
    rebuilds: bool = True


EVERY = tuple(OPTIMIZERS)
NEWEST = 0.25  # the share of a part's texts that have most new words
ARMS = {
    # Three passes over 512 texts teach a new model next to nothing.
    SCRATCH: Arm(anew, epochs=(1, 2, 3, 5, 10, 20)),
    FULL: Arm(anew, epochs=(1, 2, 3, 4, 5), so_far=True),
    SCRAMBLED: Arm(goes_on, optimizers=EVERY),
    FIRST: Arm(goes_on, rebuilds=False),
    BY_HAND: Arm(by_hand),
    "uniform": Arm(carried("uniform"), follows=True),
    "mean": Arm(carried("mean"), follows=True),
    "gaussian": Arm(carried("gaussian"), follows=True),
    "oov": Arm(carried("oov"), follows=True),
    "subword": Arm(carried("subword"), follows=True),
    "context": Arm(carried(from_context), follows=True),
    "pretrained": Arm(carried(from_elsewhere), follows=True),
    # With the default new rows.
    CARRIED: Arm(carried(), follows=True, optimizers=EVERY),
    FRESH: Arm(fresh, follows=True, optimizers=EVERY),
    STALE: Arm(stale, optimizers=EVERY),
}
ABOUT = "about.json"  # beside the CSV: command, date and machine of the run
QUICK = {
    "streams": ["incidents"],
    "seeds": 1,
    "parts": 3,
    "arms": [FULL, SCRAMBLED, BY_HAND, "uniform", "mean", CARRIED],
    "optimizers": ["Adam"],
}


def train(model: keras.Model, today: Today, texts: slice, seed: int) -> float:
    """One epoch; returns its seconds."""
    keras.utils.set_random_seed(seed)
    # Every arm gets the same batches. Shuffled by `fit`, they are others in the first
    # `fit` after `compile`, which draws more random numbers.
    order = np.random.default_rng(seed).permutation(texts.stop - texts.start)
    ids, labels = today.ids[texts][order], today.labels[texts][order]
    start = time.perf_counter()
    model.fit(ids, labels, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    return time.perf_counter() - start


def measure(model: keras.Model, today: Today, texts: Any) -> tuple[float, float]:
    """Accuracy and loss on some texts, a slice or their places."""
    outputs = keras.ops.convert_to_numpy(model(today.ids[texts], training=False))
    labels = today.labels[texts]
    right = outputs[np.arange(len(labels)), labels]
    accuracy = (outputs.argmax(axis=1) == labels).mean()
    return float(accuracy), float(-np.log(right.clip(1e-7)).mean())


def retrain(arm: Arm, model, before: Today, today: Today, name: str, seed: int):
    """Lets one part go by; returns the model and `(epoch, accuracy, loss, ...)`s."""
    epochs = arm.epochs if name == "Adam" else arm.epochs[:EPOCHS]
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    model = arm.start(model, before, today, OPTIMIZERS[name])
    seconds, examples = time.perf_counter() - start, 0
    newest = np.argsort(-today.share_of_new(before), kind="stable")
    newest = today.part.start + newest[: int(NEWEST * today.size)]
    quality = (*measure(model, today, today.part), measure(model, today, newest)[0])
    lines = [(0, *quality, examples, seconds)]
    texts = today.so_far if arm.so_far else today.part
    for epoch in range(1, epochs[-1] + 1):
        seconds += train(model, today, texts, seed + epoch)
        examples += texts.stop - texts.start
        if epoch in epochs:
            quality = measure(model, today, today.next_part)
            lines.append((epoch, *quality, np.nan, examples, seconds))
    return model, lines


def run(stream: str, seed: int, arms: list[str], optimizers: list[str], most: int):
    """Lets a whole stream go by; returns a table with a line for each measurement."""
    if "pretrained" in arms:
        streams.vectors_of_others(stream)  # are kept, and in nobody's cost
    lines = []
    for rebuilds in (True, False):
        chosen = [arm for arm in arms if ARMS[arm].rebuilds is rebuilds]
        pairs = [(o, a) for o in optimizers for a in chosen if o in ARMS[a].optimizers]
        if pairs:
            lines += run_pairs(days(stream, seed, most, rebuilds), seed, pairs)
    return pd.DataFrame(lines, columns=COLUMNS)


def run_pairs(parts: Iterator[Today], seed: int, pairs: list[tuple[str, str]]) -> list:
    """Measures pairs of optimizer and arm on the parts of a stream; returns lines."""
    models, lines, before = {}, [], None
    for today in parts:
        seed_today = 10_000 * seed + 100 * today.number
        if before is None:
            for name, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
                keras.utils.set_random_seed(seed_today)
                first = build_model(today, OPTIMIZERS[name], follows=False)
                for epoch in range(1, EPOCHS + 1):
                    train(first, today, today.part, seed_today + epoch)
                for pair in group:
                    follows = ARMS[pair[1]].follows
                    models[pair] = copy_of(first, today, OPTIMIZERS[name], follows)
        else:
            new = ~np.isin(today.tokens, before.tokens)
            words = today.ids[today.part][today.ids[today.part] > 0]
            about_new = new.mean(), new[words].mean()
            for pair in pairs:
                name, arm = pair
                models[pair], measured = retrain(
                    ARMS[arm], models[pair], before, today, name, seed_today
                )
                about = (today.stream, seed, name, arm, today.number)
                lines += [(*about, *line, *about_new) for line in measured]
        before = today
    return lines


def for_pages(results: pd.DataFrame) -> Iterator[tuple[str, dict]]:
    """The values of each stream, and what the texts of its parts are about."""
    for stream, lines in results.groupby("stream", sort=False):
        contents = streams.describe(stream).round(4).astype({"from": str, "to": str})
        yield stream, {**plain_values(lines), "contents": contents.to_dict("records")}


def one_thread() -> None:
    """Small models gain nothing from more, and other jobs lose."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)


def run_all(args: argparse.Namespace, about: dict) -> pd.DataFrame:
    """All streams and seeds; what is done is on disk at once."""
    results, file = [], args.output / "training.csv"
    (args.output / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    how = (args.arms, args.optimizers, args.parts)
    # Not forked: the backends' threads would not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, context, initializer=one_thread) as pool:
        jobs = [
            pool.submit(run, stream, seed, *how)
            for stream in args.streams
            for seed in range(args.seeds)
        ]
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="job", leave=False):
            results.append(job.result())
            pd.concat(results).to_csv(file, index=False)
    return pd.read_csv(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list(streams.STREAMS)
    parser.add_argument("--streams", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, default=5, help="how many; default: 5")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    every = list(OPTIMIZERS)
    parser.add_argument("--optimizers", nargs="+", choices=every, default=every)
    parser.add_argument(
        "--parts",
        type=int,
        default=streams.MOST_PARTS,
        help="at most so many after the first, the last of which only tests",
    )
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument(
        "--quick", action="store_true", help="a little, in a minute or so"
    )
    parser.add_argument("--output", type=Path, default=Path("training_results"))
    parser.add_argument("--from-csv", type=Path, help="tables and curves, without a run")
    record.add_option(parser)
    args = parser.parse_args()
    if args.quick:
        parser.set_defaults(**QUICK)
        args = parser.parse_args()
    if args.parts < 2 or args.seeds < 1 or args.jobs < 1:
        parser.error("`--parts` must be at least 2, `--seeds` and `--jobs` at least 1")

    args.output.mkdir(parents=True, exist_ok=True)
    about = record.about_this_run("torch", "jax")
    if args.from_csv:
        results = pd.read_csv(args.from_csv)
        described = args.from_csv.with_name(ABOUT)
        about = json.loads(described.read_text("utf-8")) if described.exists() else about
    else:
        results = run_all(args, about)
    write_report(results, args.output)
    if args.json:
        record.write(args.json, about, dict(for_pages(results)))


if __name__ == "__main__":
    main()
