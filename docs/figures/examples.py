"""Texts about the examples, for README.md and docs/worth_it.md."""

from statistics import mean

from figures.text import load, paragraph, percent, table


def _days():
    """Accuracy and training examples so far, by day and arm."""
    days = {}
    for line in load("daily_retraining")["results"]:
        days.setdefault(line["day"], {})[line["arm"]] = line["accuracy"], line["examples"]
    return days


def _means():
    days = _days().values()
    return {arm: mean(day[arm][0] for day in days) for arm in next(iter(days))}


def daily_retraining():
    """README.md: what the example does, and what it shows."""
    run, days, means = load("daily_retraining"), _days(), _means()
    last = days[max(days)]
    times = last["all so far"][1] / last["warm start"][1]
    setup = paragraph(f"""
        A classifier of film reviews gets {run["reviews_a_day"]} new reviews a day for
        {run["days"]} days. Its vocabulary of {run["words"]:,} words is rebuilt every
        day, and {percent(run["moved"])} of the kept words move to another row. Mean
        accuracy on the next day's reviews:
    """)
    ways = {
        "warm start": "warm start",
        "rows left where they were": "scrambled rows",
        "new model, that day's reviews": "day only",
        f"new model, all reviews ({times:.0f} times as many examples)": "all so far",
    }
    return setup + table(list(ways), [[f"{means[way]:.3f}" for way in ways.values()]])


def recommender():
    """docs/worth_it.md: hits of the recommender."""
    run = load("recommender")
    periods = run["periods"][1:]
    hits = {arm: f"{mean(period[arm] for period in periods):.3f}" for arm in periods[0]}
    first, last = periods[0]["period"], periods[-1]["period"]
    return paragraph(f"""
        `examples/recommender.py` recommends items of a shop whose items come and go
        (the data are simulated). The next item is among the first {run["at"]} in
        {hits["warm start"]} of the cases if embedding and head are warm-started, in
        {hits["head left behind"]} if only the embedding is, and in {hits["new model"]}
        with a new model each period (mean of periods {first} to {last}, seed 0).
    """)


def language_model():
    """docs/worth_it.md: perplexity of the language model."""
    run = load("language_model")
    before, after, wrong = (
        f"{run['kept_words'][when]:,.0f}" for when in ("before", "after", "scrambled")
    )
    return paragraph(f"""
        `examples/language_model.py` rebuilds the vocabulary of a small language model
        with a tied head; {percent(run["new"])} of the words are new. The perplexity on
        kept words is {before} before the rebuild, {after} right after the warm start,
        and {wrong} with scrambled rows (seed 0).
    """)
