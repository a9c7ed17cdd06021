"""Texts about the examples, for README.md."""

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


def daily_retraining_table():
    """README.md: accuracy of each arm by day, and its training examples."""
    days, means = _days(), _means()
    rows = [
        [str(d), *(f"{accuracy:.3f}" for accuracy, _ in days[d].values())] for d in days
    ]
    rows.append(["mean", *(f"**{value:.3f}**" for value in means.values())])
    examples = [f"{number:,}" for _, number in days[max(days)].values()]
    return table(["day", *means], [*rows, ["training examples, all days", *examples]])


def daily_retraining():
    """README.md: what the example does, and what it shows."""
    run, days, means = load("daily_retraining"), _days(), _means()
    last = days[max(days)]
    examples = last["warm start"][1] / last["all so far"][1]
    return paragraph(f"""
        A classifier learns from {run["first_reviews"]:,} short reviews of one site.
        Then the reviews of another site arrive, {run["reviews_a_day"]} a day for
        {run["days"]} days. Each day the vocabulary of {run["words"]:,} words is
        rebuilt: {percent(run["new"])} of the words are new, and {percent(run["moved"])}
        of the kept words move to another row. The mean accuracy on the *next* day's
        reviews is {means["warm start"]:.3f} with a warm start,
        {means["scrambled rows"]:.3f} if the same model is trained on without one,
        {means["day only"]:.3f} for a new model trained on the day's reviews, and
        {means["all so far"]:.3f} for a new model trained on all reviews so far. The
        warm start uses {percent(examples)} of the training examples of the last one.
        Before any retraining, the accuracy on the reviews of day 1 is
        {run["before"]:.3f}.
    """)


def recommender():
    """README.md: hits of the recommender."""
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
    """README.md: perplexity of the language model."""
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
