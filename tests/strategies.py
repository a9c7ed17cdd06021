"""Hypothesis strategies that several test files share."""

from hypothesis import strategies as st

from warmstart_keras import Vocabulary

# Text that has broken formats, joins and terminals before. U+2028, U+0085 and some
# others end a line for `str.splitlines`; lone surrogates are refused by UTF-8 proper.
TRICKY_TEXT = [
    "",
    "[UNK]",
    "a",
    "a b",
    "a\nb",
    "\r",
    "\r\n",
    "\x00",
    "a\x00",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "a\u2029b",
    "\ufeff",
    "é",
    "e\u0301",
    "\U0001f600",
    "\ud800",
    "\udcff",
    "\ud83d\ude00",
    "1",
    "-1",
    '"',
    "\\",
]

# No UTF-8. The third and fourth are what the lone surrogates above would be.
BROKEN_BYTES = [b"\xff", b"a\xff", b"\xed\xa0\x80", b"\xed\xb3\xbf", b"\xc3", b"\xf5\x80"]


def words():
    """Text of any kind, lone surrogates included."""
    return st.sampled_from(TRICKY_TEXT) | st.text(st.characters(), max_size=3)


def broken_bytes():
    """Bytes that are not UTF-8."""
    return st.sampled_from(BROKEN_BYTES) | st.binary(max_size=4).map(
        lambda end: b"\xff" + end
    )


def integers():
    """Integers that fit into an int64, as in an `IntegerLookup`."""
    return st.integers(-(2**63), 2**63 - 1)


def tokens():
    """Strings, bytes that are text and bytes that are none; no integers."""
    encoded = st.text(max_size=3).map(str.encode)
    return words() | broken_bytes() | encoded


def token_lists(unique=False):
    """Lists of one token and more: all strings and bytes, or all integers."""
    return st.one_of(
        st.lists(tokens(), min_size=1, max_size=8, unique=unique),
        st.lists(integers(), min_size=1, max_size=8, unique=unique),
    )


@st.composite
def vocabularies(draw, pool=None, unique=False):
    """Vocabularies with or without mask and OOV rows, these at either end."""
    pool = draw(token_pools()) if pool is None else pool
    found = draw(st.lists(st.sampled_from(pool), max_size=10, unique=unique))
    integer = isinstance(pool[0], int)
    mask = [0 if integer else ""] * draw(st.integers(0, 1))
    oov = [draw(st.sampled_from([None, -1 if integer else "[UNK]"]))]
    oov *= draw(st.sampled_from([2, 0, 1, 2, 3]))
    at_end = draw(st.booleans())
    parts = [mask, found, oov] if at_end else [mask, oov, found]
    first_oov = len(mask) + (len(found) if at_end else 0)
    return Vocabulary.from_parts(
        [token for part in parts for token in part],
        mask_row=0 if mask else None,
        oov_rows=range(first_oov, first_oov + len(oov)),
        hashing=draw(st.sampled_from(["farmhash", "siphash[1, 2]", None])),
    )


def token_pools():
    """A few distinct tokens as a `Vocabulary` holds them, to draw vocabularies from."""
    text = st.lists(words() | broken_bytes(), min_size=1, max_size=8, unique=True)
    return text | st.lists(integers(), min_size=1, max_size=8, unique=True)


@st.composite
def vocabulary_pairs(draw, unique=False):
    """Two vocabularies that share some of their words, mostly."""
    pool = draw(token_pools())
    return draw(vocabularies(pool, unique)), draw(vocabularies(pool, unique))


@st.composite
def list_pairs(draw, unique_base=False, elements=None):
    """Two lists that share some of their tokens, mostly: a base and a new one."""
    elements = words() if elements is None else elements
    pool = st.sampled_from(draw(st.lists(elements, min_size=1, max_size=8, unique=True)))
    base = draw(st.lists(pool, min_size=1, max_size=8, unique=unique_base))
    return base, draw(st.lists(pool, min_size=1, max_size=8))


@st.composite
def permuted_lists(draw):
    """A list of distinct words, and the same words in another order."""
    base = draw(st.lists(words(), min_size=1, max_size=8, unique=True))
    return base, draw(st.permutations(base))
