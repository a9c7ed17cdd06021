"""Texts about `benchmarks/training.py`, for the pages named in the docstrings.

`training.json` has one accuracy per seed. A difference is the mean of the differences in
the same seed.
"""

from statistics import mean, stdev

from figures.text import bullets, listed, load, paragraph, percent, points, results, table

STREAMS = {
    "reviews": "film reviews of one site, then of another site",
    "incidents": "reports about failures and flaws of AI systems, by date",
    "tweets": "tweets about one topic after another",
}
NEW_ROWS = {
    "uniform": '`"uniform"`',
    "mean": '`"mean"`',
    "gaussian": '`"gaussian"`',
    "oov": '`"oov"`',
    "subword": '`"subword"`',
    "context": "`ContextRows`",
    "pretrained": "`PretrainedRows`",
}
FULL, WARM, SCRAMBLED = "full retraining", "carried", "scrambled"
FIRST = "first vocabulary"
BY_HAND = "Keras 2.15 by hand"
WAYS = {
    "scratch": "new model, newest part",
    FULL: "full retraining",
    SCRAMBLED: "scrambled rows",
    FIRST: "first vocabulary",
    BY_HAND: "Keras 2.15 by hand",
    WARM: "warm start",
}
OPTIMIZERS = {
    "Adam, 0.001": "Adam, 0.001",
    "Adam": "Adam, 0.003",
    "AdamW": "AdamW, 0.003",
    "Adagrad": "Adagrad, 0.03",
    "SGD": "SGD, 0.2, Nesterov momentum",
}
TOPICS = {
    "driverless": "driverless cars",
    "@usairways": "US Airways",
    "@americanair": "American",
    "coachella": "Coachella",
    "deflategate": "Deflategate",
    "apple": "Apple",
    "claritin": "Claritin",
}

# --- values ---


def _arms(stream):
    """What was measured, by optimizer, arm and epoch; epoch 0 is before any training."""
    lines = results("training")[stream]["arms"]
    return {(line["optimizer"], line["arm"], line["epoch"]): line for line in lines}


def _accuracy(stream, arm, epoch, optimizer="Adam"):
    return _arms(stream)[optimizer, arm, epoch]["accuracy"]


def _newest(stream, arm):
    return _arms(stream)["Adam", arm, 0]["newest"]


def _differences(values, others):
    return [a - b for a, b in zip(values, others, strict=True)]


def _gain(stream, arm, other, optimizer="Adam"):
    """The mean difference of two arms after one epoch."""
    values, others = (_accuracy(stream, a, 1, optimizer) for a in (arm, other))
    return mean(_differences(values, others))


def _by_epoch(stream, arm):
    """The mean accuracy on the next part, with Adam."""
    lines = _arms(stream).items()
    return {
        epoch: mean(line["accuracy"])
        for (optimizer, name, epoch), line in lines
        if (optimizer, name) == ("Adam", arm) and epoch > 0
    }


def _best(stream, arm):
    return max(_by_epoch(stream, arm).values())


def _best_epoch(stream, arm):
    means = _by_epoch(stream, arm)
    return max(means, key=means.get)


def _reached(stream, arm):
    """The first epoch with full retraining's best accuracy, or None."""
    goal, means = _best(stream, FULL), _by_epoch(stream, arm)
    return next((epoch for epoch in sorted(means) if means[epoch] >= goal), None)


def _examples(stream, arm, epoch):
    return _arms(stream)["Adam", arm, epoch]["examples"]


def _share_of_examples(stream, arm, epoch):
    full = _examples(stream, FULL, _best_epoch(stream, FULL))
    return percent(_examples(stream, arm, epoch) / full)


# --- numbers as text ---


def _spread(values, sign=""):
    """Mean and standard deviation over the seeds."""
    deviation = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{round(mean(values), 3) + 0.0:{sign}.3f}{deviation}"


def _epochs(number):
    return f"{number} epoch{'s' if number > 1 else ''}"


def _from_to(values):
    low, high = min(values), max(values)
    return low if low == high else f"{low} to {high}"


# --- the benchmark ---


def training_setup():
    """docs/training_results.md: what the numbers are."""
    run = load("training")
    seeds = {stream["seeds"] for stream in run["results"].values()}
    versions = run["machine"]["versions"]
    return paragraph(f"""
        The numbers are means over the parts and over {_from_to(seeds)} seeds, ± the
        standard deviation over the seeds. A seed sets the order of the texts, the
        initial weights and the batches. Other texts may differ by more. The run is of
        {run["date"]}, with Keras {versions["keras"]} and PyTorch
        {versions["torch"].partition("+")[0]}.
    """)


def streams_table():
    """docs/training_results.md: the three streams."""
    rows = []
    for stream, texts in STREAMS.items():
        run = results("training")[stream]
        first, second = run["contents"][:2]
        classes = sum(name.startswith("class ") for name in first)
        row = [stream, texts, str(classes), f"{first['texts']:,}"]
        row += [f"{run['parts']} of {second['texts']} texts"]
        rows.append([*row, percent(run["new_words"]), percent(run["new_in_texts"])])
    header = ["stream", "texts", "classes", "first part", "parts trained on after it"]
    header += ["new words in the vocabulary", "new words in the texts"]
    return table(header, rows, right=False)


# --- new rows ---


def new_rows_table():
    """docs/training_results.md: each method, as a difference to "uniform"."""
    columns = [(stream, epoch) for epoch in (0, 1) for stream in STREAMS]
    uniform = [_accuracy(stream, "uniform", epoch) for stream, epoch in columns]
    rows = [[NEW_ROWS["uniform"], *map(_spread, uniform)]]
    default = {WARM: 'the default (`"uniform"` with other random numbers)'}
    for arm, name in {**NEW_ROWS, **default}.items():
        values = [_accuracy(stream, arm, epoch) for stream, epoch in columns]
        changes = map(_differences, values, uniform)
        rows.append([name, *(_spread(change, "+") for change in changes)])
    names = [f"{s}: {_epochs(e) if e else 'right after'}" for s, e in columns]
    return table(["new rows", *names], [rows[0], *rows[2:]], right=False)


def newest_texts_table():
    """docs/training_results.md: the same on the texts with most new words."""
    uniform = [_newest(stream, "uniform") for stream in STREAMS]
    rows = [[NEW_ROWS["uniform"], *map(_spread, uniform)]]
    for arm, name in NEW_ROWS.items():
        changes = map(_differences, [_newest(s, arm) for s in STREAMS], uniform)
        rows.append([name, *(_spread(change, "+") for change in changes)])
    return table(["new rows", *STREAMS], [rows[0], *rows[2:]], right=False)


def _to_uniform(arm):
    """Mean differences to "uniform", right after the rebuild and after one epoch."""
    return [
        mean(_differences(_accuracy(s, arm, epoch), _accuracy(s, "uniform", epoch)))
        for epoch in (0, 1)
        for s in STREAMS
    ]


def new_rows():
    """docs/training_results.md: what the two tables show."""
    gaussian = _to_uniform("gaussian")
    assert max(gaussian) < 0, "`gaussian` is not worse than `uniform` on every stream"
    others = [arm for arm in NEW_ROWS if arm not in ("uniform", "gaussian")]
    near = max(abs(change) for arm in others for change in _to_uniform(arm))
    newest = [
        mean(_differences(_newest(s, arm), _newest(s, "uniform")))
        for arm in others
        for s in STREAMS
    ]
    spreads = [stdev(_accuracy(s, "uniform", epoch)) for epoch in (0, 1) for s in STREAMS]
    return paragraph(f"""
        `"gaussian"` is worse than `"uniform"` on every stream, by
        {points(-max(gaussian))} to {points(-min(gaussian))} percentage points. Each
        other method differs from `"uniform"` by at most {points(near)} points on all
        texts. On the texts with most new words, the differences are between
        {points(min(newest), "+")} and {points(max(newest), "+")} points. Other random
        numbers change the accuracy of `"uniform"` by up to
        {points(max(map(abs, _to_uniform(WARM))))} points (last line of the first
        table), and other seeds by {points(min(spreads))} to {points(max(spreads))}
        points (standard deviation).
    """)


# --- ways to retrain ---


def ways_table():
    """docs/training_results.md: each way at its best number of epochs."""
    rows = []
    for stream in STREAMS:
        for arm, name in WAYS.items():
            epoch, first = _best_epoch(stream, arm), _reached(stream, arm)
            accuracy = _spread(_accuracy(stream, arm, epoch))
            row = [stream if arm == next(iter(WAYS)) else "", name]
            row += [f"{accuracy} ({epoch})", f"{_examples(stream, arm, epoch):,}"]
            if first is None:
                below = _best(stream, FULL) - _best(stream, arm)
                row.append(f"not reached, {points(below)} points below")
            else:
                share = _share_of_examples(stream, arm, first)
                row.append(f"after {_epochs(first)}, {share} of the examples")
            rows.append(row)
    header = ["stream", "way", "best accuracy (epochs)", "examples per part"]
    return table([*header, "full retraining's best accuracy"], rows, right=False)


def _reaching():
    """A sentence about the examples that a warm start needs."""
    first = {stream: _reached(stream, WARM) for stream in STREAMS}
    shares = [
        f"{_share_of_examples(stream, WARM, epoch)} ({stream})"
        for stream, epoch in first.items()
        if epoch is not None
    ]
    assert shares, "the warm start reaches full retraining's best accuracy nowhere"
    missed = [
        f"{points(_best(stream, FULL) - _best(stream, WARM))} points ({stream})"
        for stream, epoch in first.items()
        if epoch is None
    ]
    rest = f", and stays below it by {listed(missed)}" if missed else ""
    return f"""
        A warm start with the defaults reaches the best accuracy of full retraining with
        {listed(shares)} of its training examples{rest}.
    """


def _scrambled():
    for stream in STREAMS:
        worst = min(WAYS, key=lambda arm, stream=stream: _best(stream, arm))
        assert worst == SCRAMBLED, f"{worst} is the worst way on {stream}"
    below = [round(100 * (_best(s, FULL) - _best(s, SCRAMBLED))) for s in STREAMS]
    return f"With scrambled rows, the best accuracy is {_from_to(below)} points lower."


def _against_hand():
    """The warm start against the recipe of Keras 2.15."""
    changes = [
        f"{points(_best(stream, WARM) - _best(stream, BY_HAND), '+')} ({stream})"
        for stream in STREAMS
    ]
    return f"""
        The best accuracy of a warm start differs from that of Keras 2.15's recipe,
        whose `compile` resets the optimizer, by {listed(changes)} percentage points.
    """


def ways():
    """docs/training_results.md: what the table of the ways shows."""
    return paragraph(f"{_reaching()} {_scrambled()} {_against_hand()}")


def training_summary():
    """docs/new_rows.md: the main figures of docs/training_results.md."""
    warm, full, _ = _by_part()
    loss = max(mean(_differences(full[part], warm[part])) for part in warm)
    return paragraph(f"""
        `benchmarks/training.py` retrains a classifier on three streams of real texts.
        {_reaching()} {_scrambled()} The start of
        the new rows matters little. Where a stream jumps to another topic, full
        retraining is up to {points(loss)} points better.
    """)


# --- the optimizer's state ---


def optimizer_table():
    """docs/training_results.md: accuracy after one epoch, as a difference to "fresh"."""
    rows = []
    for optimizer, name in OPTIMIZERS.items():
        fresh = [_accuracy(stream, "fresh", 1, optimizer) for stream in STREAMS]
        rows.append([name, "fresh", *map(_spread, fresh)])
        for arm in (WARM, "stale"):
            values = [_accuracy(stream, arm, 1, optimizer) for stream in STREAMS]
            changes = map(_differences, values, fresh)
            rows.append(["", arm, *(_spread(change, "+") for change in changes)])
    return table(["optimizer", "slots", *STREAMS], rows, right=False)


def slots():
    """docs/training_results.md: what the table of the optimizers shows."""

    def gains(optimizer):
        gains = [
            f"{points(_gain(s, WARM, 'fresh', optimizer), '+')} ({s})" for s in STREAMS
        ]
        return listed(gains)

    rates = [
        mean(_accuracy(s, "fresh", 1)) - mean(_accuracy(s, WARM, 1, "Adam, 0.001"))
        for s in STREAMS
    ]
    rates = [f"{points(rate, '+')} ({s})" for rate, s in zip(rates, STREAMS, strict=True)]
    stale = max(
        abs(_gain(stream, "stale", WARM, optimizer))
        for optimizer in OPTIMIZERS
        for stream in STREAMS
    )
    return bullets(
        f"""With `Adam(0.001)`, Keras's default rate, carried slots change the accuracy by
        {gains("Adam, 0.001")} percentage points.""",
        f"""With `Adam(0.003)`, the tuned rate, they change it by {gains("Adam")}.""",
        f"""With Adagrad, they change it by {gains("Adagrad")}.""",
        f"""With SGD and momentum, they change it by {gains("SGD")}.""",
        f"""The rate can matter more: `Adam(0.003)` with fresh slots differs from
        `Adam(0.001)` with carried slots by {listed(rates)}.""",
        f"""Stale slots differ from carried slots by at most {points(stale)} points.""",
    )


def worth_it_table():
    """docs/worth_it.md: what a rebuild of the vocabulary gains on texts."""
    ways = {
        FIRST: "first vocabulary, never rebuilt",
        WARM: "rebuilt, warm start",
        SCRAMBLED: "rebuilt, scrambled rows",
        FULL: "rebuilt, full retraining on all texts so far",
    }
    rows = [
        [name, *(_spread(_accuracy(s, way, _best_epoch(s, way))) for s in STREAMS)]
        for way, name in ways.items()
    ]
    return table(["vocabulary", *STREAMS], rows, right=False)


# --- part by part ---


def _by_part():
    """The accuracy of warm start and full retraining on the tweets, by part."""
    epoch = _best_epoch("tweets", FULL)
    lines = results("training")["tweets"]["by_part"]
    warm, full = (
        {x["part"]: x["accuracy"] for x in lines if (x["arm"], x["epoch"]) == way}
        for way in ((WARM, 1), (FULL, epoch))
    )
    return warm, full, epoch


def parts_table():
    """docs/training_results.md: the tweets, part by part."""
    contents = results("training")["tweets"]["contents"]

    def topics(part):
        named = (TOPICS[contents[part][end]] for end in ("from", "to"))
        return ", ".join(dict.fromkeys(named))

    warm, full, epoch = _by_part()
    rows = [
        [
            f"{part}: {topics(part)}",
            topics(part + 1),
            percent(contents[part + 1]["class 0"]),
            _spread(warm[part]),
            _spread(full[part]),
            _spread(_differences(warm[part], full[part]), "+"),
        ]
        for part in sorted(warm)
    ]
    header = ["trained on part", "tested on the next", "negative tweets in it"]
    header += ["warm start, 1 epoch", f"full retraining, {_epochs(epoch)}", "difference"]
    return table(header, rows, right=False)


def parts():
    """docs/training_results.md: what the table of the parts shows."""
    warm, full, _ = _by_part()
    gains = {part: mean(_differences(warm[part], full[part])) for part in sorted(warm)}
    better = sum(gain > 0 for gain in gains.values())
    topic = [points(gains[part], "+") for part in (6, 7, 8)]
    jump = [points(gains[part], "+") for part in (9, 10)]
    return paragraph(f"""
        The warm start is better on {better} of {len(gains)} parts. Within one topic
        (trained on parts 6, 7 and 8), the differences are {listed(topic)} percentage
        points. At the jump to another topic (trained on parts 9 and 10), they are
        {listed(jump)} points.
    """)
