"""The tables and curves of `training.py`."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

EPOCHS = 3  # over each part; arms with more are measured after these too

SCRATCH, FULL, SCRAMBLED = "scratch", "full retraining", "scrambled"
FIRST = "first vocabulary"  # it is never rebuilt
BY_HAND = "Keras 2.15 by hand"
CARRIED = "carried"
FRESH, STALE = "fresh", "stale"
NEW_ROWS = ["uniform", "mean", "gaussian", "oov", "subword", "context", "pretrained"]
COLUMNS = [
    *("stream", "seed", "optimizer", "arm", "part", "epoch"),
    *("accuracy", "loss"),
    # Right after the rebuild, on the quarter of the texts with most new words.
    "accuracy_newest",
    *("examples", "seconds"),
    # The share of the vocabulary that is new, and of the words of the part's texts.
    *("new_words", "new_in_texts"),
]

CURVES = [SCRATCH, FULL, SCRAMBLED, BY_HAND, CARRIED, "subword", "context", "pretrained"]


def by_seed(results: pd.DataFrame, value: str = "accuracy") -> pd.Series:
    """The mean over the parts, by optimizer, arm, epoch and seed."""
    keys = ["optimizer", "arm", "epoch", "seed"]
    return results.groupby(keys)[value].mean()


def spread(values: pd.Series, sign: str = "") -> str:
    """Mean and standard deviation over the seeds; a dash where nothing was run."""
    values = values.dropna()
    if values.empty:
        return "-"
    deviation = f" ± {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{deviation}"


def new_rows_table(results: pd.DataFrame) -> pd.DataFrame:
    """What new rows start from (Adam, its state carried)."""
    lines = {}
    accuracy = by_seed(results)
    newest, seconds = by_seed(results, "accuracy_newest"), by_seed(results, "seconds")
    for arm in [a for a in NEW_ROWS if ("Adam", a) in accuracy]:
        line = lines[arm] = {}
        for epoch, when in ((0, "right after"), (1, "1 epoch"), (EPOCHS, "3 epochs")):
            line[when] = spread(accuracy["Adam", arm, epoch])
        line["right after, texts with most new words"] = spread(newest["Adam", arm, 0])
        if ("Adam", "uniform") in accuracy:
            change = newest["Adam", arm, 0] - newest["Adam", "uniform", 0]
            line["these, to uniform"] = spread(change, "+")
            for epoch, when in ((0, "right after"), (1, "1 epoch")):
                change = accuracy["Adam", arm, epoch] - accuracy["Adam", "uniform", epoch]
                line[f"{when}, to uniform"] = spread(change, "+")
        line["seconds"] = f"{seconds['Adam', arm, EPOCHS].mean():.2f}"
    return pd.DataFrame.from_dict(lines, orient="index")


def best_epoch(results: pd.DataFrame, optimizer: str, arm: str) -> int:
    """That after which the arm is most accurate on the next part."""
    means = by_seed(results)[optimizer, arm].groupby("epoch").mean()
    return means.drop(0).idxmax()


def ways_table(results: pd.DataFrame) -> pd.DataFrame:
    """Ways to retrain (Adam): quality, cost, and cost of full retraining's quality."""
    accuracy = by_seed(results)
    if "Adam" not in accuracy:
        return pd.DataFrame()
    costs = {what: by_seed(results, what) for what in ("examples", "seconds")}
    there = accuracy["Adam"].index.unique("arm")
    new_rows = [a for a in NEW_ROWS if a in there]
    # Chosen by the very numbers that are shown, so a little too good.
    best = max(new_rows, key=lambda a: accuracy["Adam", a, 1].mean(), default=None)
    names = {a: a for a in (SCRATCH, FULL, SCRAMBLED, FIRST, BY_HAND)}
    names |= {CARRIED: "warm start", best: f"warm start, best new rows ({best})"}

    lines = {}
    for arm in [a for a in names if a in there]:
        epoch = best_epoch(results, "Adam", arm)
        line = lines[names[arm]] = {
            "right after": spread(accuracy["Adam", arm, 0]),
            "1 epoch": spread(accuracy["Adam", arm, 1]),
            "3 epochs": spread(accuracy["Adam", arm, EPOCHS]),
            "best": f"{spread(accuracy['Adam', arm, epoch])} ({epoch})",
            "examples": f"{costs['examples']['Adam', arm, epoch].mean():,.0f}",
            "seconds": f"{costs['seconds']['Adam', arm, epoch].mean():.2f}",
        }
        if FULL in there:
            line["reaches full retraining's best"] = _reaching_full(
                results, accuracy, costs, arm
            )
    return pd.DataFrame.from_dict(lines, orient="index")


def _reaching_full(results, accuracy, costs, arm: str) -> str:
    """After how many epochs the arm is as good as full retraining at its best."""
    full_epoch = best_epoch(results, "Adam", FULL)
    means = accuracy["Adam", arm].groupby("epoch").mean().drop(0)
    goal = accuracy["Adam", FULL].groupby("epoch").mean()[full_epoch]
    if means.max() < goal:
        return f"not reached, {100 * (goal - means.max()):.1f} points below"
    epoch = means.index[means >= goal][0]
    shares = {
        what: cost["Adam", arm, epoch].mean() / cost["Adam", FULL, full_epoch].mean()
        for what, cost in costs.items()
    }
    return (
        f"{_epochs(epoch)}, {shares['examples']:.1%} "
        f"of the examples, {shares['seconds']:.1%} of the seconds"
    )


def optimizer_table(results: pd.DataFrame) -> pd.DataFrame:
    """What becomes of the optimizer's state."""
    accuracy = by_seed(results)
    lines = {}
    for optimizer in accuracy.index.unique("optimizer"):
        for arm in (CARRIED, FRESH, STALE, SCRAMBLED, FULL):
            if (optimizer, arm) not in accuracy:
                continue
            line = lines[optimizer, arm] = {}
            for epoch in (1, EPOCHS):
                after = accuracy[optimizer, arm, epoch]
                line[f"after {epoch}"] = spread(after)
                if (optimizer, FRESH) in accuracy:
                    change = after - accuracy[optimizer, FRESH, epoch]
                    line[f"after {epoch}: to fresh"] = spread(change, "+")
    table = pd.DataFrame.from_dict(lines, orient="index")
    table.index = [", ".join(key) for key in lines]
    return table


def parts_table(results: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on the next part, part by part (Adam), for where warm starting hurts."""
    adam = results[results["optimizer"] == "Adam"].set_index(["arm", "epoch", "part"])
    adam = adam.sort_index()
    there = adam.index.unique("arm")
    if CARRIED not in there or FULL not in there:
        return pd.DataFrame()
    chosen = [(CARRIED, 1), (FULL, best_epoch(results, "Adam", FULL))]
    full = adam.loc[chosen[1]].set_index("seed", append=True)["accuracy"]
    lines: dict = {}
    for arm, epoch in chosen:
        name = f"{'warm start' if arm == CARRIED else arm}, {_epochs(epoch)}"
        after = adam.loc[(arm, epoch)].set_index("seed", append=True)["accuracy"]
        for part, values in after.groupby("part"):
            lines.setdefault(f"{part}", {})[name] = spread(values)
        if arm == CARRIED:
            for part, values in (after - full).groupby("part"):
                lines[f"{part}"]["to full retraining"] = spread(values, "+")
    return pd.DataFrame.from_dict(lines, orient="index")


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' if number > 1 else ''}"


TABLES = {
    "What new rows start from (Adam, state carried)": new_rows_table,
    "Ways to retrain (Adam)": ways_table,
    "The optimizer's state": optimizer_table,
    "Part by part (Adam)": parts_table,
}


def markdown(table: pd.DataFrame) -> str:
    lines = [["", *table.columns], ["---"] * (len(table.columns) + 1)]
    lines += [[name, *line] for name, line in zip(table.index, table.values, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(results: pd.DataFrame, file: Path) -> None:
    """Accuracy on the next part, part by part: mean over the seeds, and spread."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    adam = results[results["optimizer"] == "Adam"]
    for arm in [a for a in CURVES if (adam["arm"] == a).any()]:
        # A new model gets the epochs that it is best after.
        epoch = best_epoch(results, "Adam", arm) if arm in (SCRATCH, FULL) else 1
        lines = adam[(adam["arm"] == arm) & (adam["epoch"] == epoch)]
        parts = lines.groupby("part")["accuracy"].agg(["mean", "std"]).fillna(0)
        label = f"{'warm start' if arm == CARRIED else arm}, {_epochs(epoch)}"
        axes.plot(parts.index, parts["mean"], marker="o", markersize=3, label=label)
        low, high = parts["mean"] - parts["std"], parts["mean"] + parts["std"]
        axes.fill_between(parts.index, low, high, alpha=0.15)
    axes.set(xlabel="trained on part", ylabel="accuracy on the next part")
    axes.set_title(", ".join(results["stream"].unique()))
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside upper center", ncols=3)
    figure.savefig(file, dpi=120)


def plain_values(results: pd.DataFrame) -> dict:
    """Results of one stream for a JSON file; lists have one value per seed."""
    results = results.sort_values("seed")
    arms = [
        {
            **dict(zip(("optimizer", "arm", "epoch"), key, strict=True)),
            "examples": round(lines["examples"].mean()),
            "accuracy": _by_seed(lines, "accuracy"),
            "newest": _by_seed(lines, "accuracy_newest"),
        }
        for key, lines in results.groupby(["optimizer", "arm", "epoch"], sort=False)
    ]
    compared = results["arm"].isin([CARRIED, FULL]) & (results["optimizer"] == "Adam")
    by_part = [
        {
            **dict(zip(("arm", "epoch", "part"), key, strict=True)),
            "accuracy": _by_seed(lines, "accuracy"),
        }
        for key, lines in results[compared].groupby(["arm", "epoch", "part"], sort=False)
    ]
    return {
        "seeds": results["seed"].nunique(),
        "parts": results["part"].nunique(),
        "new_words": round(results["new_words"].mean(), 4),
        "new_in_texts": round(results["new_in_texts"].mean(), 4),
        "arms": arms,
        "by_part": by_part,
    }


def _by_seed(lines: pd.DataFrame, value: str) -> list[float]:
    """The mean over the parts for each seed; empty where the value was not measured."""
    return lines.groupby("seed")[value].mean().dropna().round(6).tolist()


def write_report(results: pd.DataFrame, folder: Path) -> None:
    """Prints the tables; writes them as Markdown, and the curves."""
    document = []
    for stream, lines in results.groupby("stream", sort=False):
        title = (
            f"{stream}: {lines['part'].nunique()} parts, "
            f"seeds: {lines['seed'].nunique()}, "
            f"{lines['new_words'].mean():.1%} of the vocabulary new at each, "
            f"{lines['new_in_texts'].mean():.1%} of the words in its texts"
        )
        print(f"\n{title}")
        document.append(f"## {title}")
        for caption, make in TABLES.items():
            table = make(lines)
            if not table.empty:
                print(f"\n{caption}\n{table.to_string()}")
                document.append(f"**{caption}**\n\n{markdown(table)}")
        draw(lines, folder / f"training_{stream}.png")
    (folder / "tables.md").write_text("\n\n".join(document) + "\n", encoding="utf-8")
    print(f"\nTables, curves and numbers: {folder}")
