"""Matching of the tokens of two vocabularies, without a Python object per token."""

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from warmstart_keras.backend import workers
from warmstart_keras.vocabulary.tokens import Tokens

NO_MATCH = -1
CHUNK = 2**16  # tokens per step: few enough to stay in the CPU cache
_LONGEST = 2**16  # bytes
_EIGHT = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # the low n bytes
_ODD, _OTHER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_HALF, _THIRD = np.uint64(32), np.uint64(29)


def match(
    base: Tokens, base_places: np.ndarray, new: Tokens, new_places: np.ndarray
) -> np.ndarray:
    """Finds the place in `base` of each of some new tokens; -1 if the base lacks it.

    If a token repeats, its k-th occurrence matches the k-th occurrence in the base. If
    the base has fewer occurrences, the last one matches.

    Tokens are found by a 64-bit hash. Different tokens can have the same hash, so every
    pair is compared byte by byte. A dict is slower, and is used in three cases:

    - One pair differs: the dict matches all tokens.
    - One token is longer than 64 KiB: the dict matches all tokens, since hashing takes
      eight bytes at a time and would be slower.
    - The base has a hash several times: the dict matches the tokens with this hash.

    Only the tokens at `base_places` and `new_places` count. Both arrays ascend.
    """
    found = np.full(len(new_places), NO_MATCH, np.int64)
    if not len(base_places) or not len(new_places) or base.integers != new.integers:
        return found
    if max(base.lengths.max(), new.lengths.max()) > _LONGEST:
        return match_by_dict(base, base_places, new, new_places)
    with workers(len(base.blob) + len(new.blob) + 32 * len(found)) as each:
        both = tuple(each(Bytes.of, (base, new)))
        base_hashes, new_hashes = each(hashes, both, (base_places, new_places))
        places, is_repeated = match_hashes(base_hashes, new_hashes, each)
        is_there = places != NO_MATCH
        is_again = is_there & is_repeated[places]
        matched = np.flatnonzero(is_there ^ is_again)
        pairs = base_places[places[matched]], new_places[matched]
        if not _are_equal(both, pairs, each):
            return match_by_dict(base, base_places, new, new_places)
    found[matched] = pairs[0]
    if is_again.any():
        found[is_again] = match_by_dict(
            base, base_places[is_repeated], new, new_places[is_again]
        )
    return found


def match_by_dict(
    base: Tokens, base_places: np.ndarray, new: Tokens, new_places: np.ndarray
) -> np.ndarray:
    """Matches tokens as `match` does, but with a dict, one token at a time."""
    occurrences = defaultdict(list)
    for place, token in zip(base_places.tolist(), base.some(base_places), strict=True):
        occurrences[token].append(place)
    seen: dict = defaultdict(int)
    found = []
    for token in new.some(new_places):
        places = occurrences.get(token, [NO_MATCH])
        found.append(places[min(seen[token], len(places) - 1)])
        seen[token] += 1
    return np.array(found, np.int64)


def match_hashes(
    base: np.ndarray, new: np.ndarray, each: Callable = map
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the place of each new hash in the base, or -1; and the repeated base hashes.

    The place of a repeated hash is any of its places.

    The hash table has four to eight slots per base hash. If several hashes fall into one
    slot, one of them takes the slot. The others try again in the next round, which puts
    them into other slots. At most about an eighth of the hashes are left after a round.
    The slot of a hash is given by the high bits of a product (Dietzfelbinger et al., "A
    Reliable Randomized Algorithm for the Closest-Pair Problem", 1997). `each` is a
    `map`, with threads or without.
    """
    found = np.full(len(new), NO_MATCH, np.int64)
    is_repeated = np.zeros(len(base), bool)
    bits = len(base).bit_length() + 2
    slots: np.ndarray = np.empty(1 << bits, np.int32 if bits < 32 else np.int64)
    left, asked = np.arange(len(base), dtype=slots.dtype), np.arange(len(new))
    factor = int(_ODD)

    def slots_of(some: np.ndarray) -> np.ndarray:
        high = (some * np.uint64(factor)) >> np.uint64(64 - bits)
        return high.astype(np.int64)

    def put(places: np.ndarray) -> None:
        slots[slots_of(base[places])] = places  # the slot keeps any one of several

    def losers_of(places: np.ndarray) -> np.ndarray:
        winners = slots.take(slots_of(base[places]))
        return places[np.flatnonzero(winners != places)]

    def find(places: np.ndarray) -> np.ndarray:
        values = new[places]
        there = slots.take(slots_of(values))
        is_taken = there != NO_MATCH
        is_found = (base.take(there, mode="clip") == values) & is_taken
        found[places] = np.where(is_found, there, NO_MATCH)
        return places[np.flatnonzero(is_found ^ is_taken)]

    while len(left) and len(asked):
        slots.fill(NO_MATCH)
        for _ in each(put, _chunks(left)):
            pass
        losers = np.concatenate(list(each(losers_of, _chunks(left))))
        winners = slots[slots_of(base[losers])]
        are_equal = base[losers] == base[winners]
        is_repeated[losers[are_equal]] = is_repeated[winners[are_equal]] = True
        left = losers[~are_equal]
        asked = np.concatenate(list(each(find, _chunks(asked))))
        factor = factor * int(_OTHER) % 2**64
    return found, is_repeated


def _chunks(some: np.ndarray) -> list[np.ndarray]:
    return [some[first : first + CHUNK] for first in range(0, len(some), CHUNK)]


class Bytes(NamedTuple):
    """View of tokens that is read eight bytes at a time.

    Attributes:
        words: Entry `i` has the eight bytes of the blob from byte `i` on, with zeros
            past the end.
        starts: Place of the first byte of each token.
        ends: Place after the last byte of each token.
        marks: 1 for bytes that are not text, 2 for nameless tokens, 0 for all others;
            empty if all are 0.
    """

    words: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    marks: np.ndarray

    @classmethod
    def of(cls, tokens: Tokens) -> "Bytes":
        """Views the bytes of tokens."""
        padded = np.frombuffer(tokens.blob + bytes(8), np.uint8)
        words = np.ndarray((len(tokens.blob) + 1,), "<u8", padded, strides=(1,))
        marks = np.empty(0, np.uint64)
        if len(tokens.not_text) or len(tokens.nameless):
            marks = np.zeros(len(tokens), np.uint64)
            marks[tokens.not_text] = 1
            marks[tokens.nameless] = 2
        return cls(words, tokens.starts, tokens.ends, marks)


def hashes(tokens: Bytes, places: np.ndarray) -> np.ndarray:
    """Hashes some tokens to 64 bits: uint64 array of shape `(len(places),)`."""
    words, all_starts, all_ends, marks = tokens
    found = np.empty(len(places), np.uint64)
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        starts = all_starts[chunk]
        left = all_ends[chunk] - starts
        part = left.astype(np.uint64) * _OTHER
        part ^= marks[chunk] if len(marks) else np.uint64(0)
        rows = np.arange(len(chunk))
        while len(rows):
            word = words[starts] & _EIGHT[np.minimum(left, 8)]
            mixed = (part[rows] ^ word) * _ODD
            part[rows] = mixed ^ (mixed >> _HALF)
            rows, starts, left = _longer(rows, starts, left)
        part *= _OTHER
        found[start : start + CHUNK] = part ^ (part >> _THIRD)
    return found


def _are_equal(
    both: tuple[Bytes, ...], pairs: tuple[np.ndarray, ...], each: Callable
) -> bool:
    """Returns whether the two tokens of every pair are the same, byte by byte."""
    (words, base_starts, base_ends, marks), new = both
    others, new_starts, new_ends, new_marks = new

    def are_equal(first: int) -> bool:
        a, b = (places[first : first + CHUNK] for places in pairs)
        starts, other_starts = base_starts[a], new_starts[b]
        left = base_ends[a] - starts
        if not np.array_equal(left, new_ends[b] - other_starts):
            return False
        kinds = marks[a] if len(marks) else np.uint64(0)
        new_kinds = new_marks[b] if len(new_marks) else np.uint64(0)
        if np.any(kinds != new_kinds):
            return False
        ahead = other_starts - starts
        rows = np.arange(len(a))
        while len(rows):
            differ = words[starts] ^ others[starts + ahead[rows]]
            if np.any(differ & _EIGHT[np.minimum(left, 8)]):
                return False
            rows, starts, left = _longer(rows, starts, left)
        return True

    return all(each(are_equal, range(0, len(pairs[0]), CHUNK)))


def _longer(
    rows: np.ndarray, starts: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keeps the tokens with more than eight bytes left, and skips these eight bytes."""
    more = np.flatnonzero(left > 8)
    return rows[more], starts[more] + 8, left[more] - 8
