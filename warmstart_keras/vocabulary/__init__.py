"""Vocabularies, the sources that they are read from, and the `RowMap` between two."""

from warmstart_keras.vocabulary.reading import read_as, read_saved_lookup
from warmstart_keras.vocabulary.row_map import NEW, RowMap
from warmstart_keras.vocabulary.sources import VocabularySource, is_plain
from warmstart_keras.vocabulary.tokens import Token
from warmstart_keras.vocabulary.vocabulary import Vocabulary, read
