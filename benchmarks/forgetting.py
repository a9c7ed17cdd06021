"""What a warm-started model forgets of a domain that its stream has left.

The stream of reviews goes from one site to another (`streams.py`). After each part the
models of `training.py` are tested on the next part, and on reviews of the *first* site
that none has seen: by a model that goes on from part to part, trained on each once it
has come, and by one that is trained anew on all parts so far.

    pip install "warmstart-keras[benchmarks]"
    KERAS_BACKEND=torch python benchmarks/forgetting.py [--seeds 5] [--parts 12]

Prints a table with mean and spread (standard deviation over the seeds). The optimizer is
Adam; each model has the epochs of `training.py`.
"""

import argparse
from dataclasses import replace

import keras
import pandas as pd
import streams
from tqdm import tqdm
from training import ARMS, OPTIMIZERS, build_model, days, measure, retrain, train
from training_tables import EPOCHS, FULL, spread

WARM = "uniform"
NAMES = {WARM: "warm start", FULL: "all so far"}


def run(seed: int, most: int) -> pd.DataFrame:
    """Lets the stream go by once; a line for each part, model and site."""
    unseen = streams.unseen_of_the_first_site(seed)
    models, lines, before = {}, [], None
    for today in days("reviews", seed, most):
        seed_today = 10_000 * seed + 100 * today.number
        if before is None:
            keras.utils.set_random_seed(seed_today)
            models = dict.fromkeys(
                NAMES, build_model(today, OPTIMIZERS["Adam"], follows=True)
            )
            for epoch in range(1, EPOCHS + 1):
                train(models[WARM], today, today.part, seed_today + epoch)
        old = replace(
            today,
            ids=keras.ops.convert_to_numpy(today.vectorizer(unseen["text"].tolist())),
            labels=unseen["label"].to_numpy(),
        )
        for arm, name in NAMES.items():
            if before is not None:
                models[arm], _ = retrain(
                    ARMS[arm], models[arm], before, today, "Adam", seed_today
                )
            next_part, _ = measure(models[arm], today, today.next_part)
            first_site, _ = measure(models[arm], old, slice(None))
            lines.append((seed, today.number, name, "next part", next_part))
            lines.append((seed, today.number, name, "first site", first_site))
        before = today
    return pd.DataFrame(lines, columns=["seed", "part", "model", "texts", "accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", type=int, default=streams.MOST_PARTS)
    args = parser.parse_args()
    seeds = tqdm(range(args.seeds), unit="seed", leave=False)
    results = pd.concat([run(seed, args.parts) for seed in seeds])
    groups = results.groupby(["part", "texts", "model"])["accuracy"]
    table = groups.apply(spread).unstack(["texts", "model"])
    print(table.to_string())


if __name__ == "__main__":
    main()
