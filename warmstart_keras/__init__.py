"""Warm start of Keras models after a vocabulary was rebuilt."""

from warmstart_keras.callback import VocabularyWarmStart
from warmstart_keras.errors import WarmStartError
from warmstart_keras.layers import Binding, WarmStartEmbedding
from warmstart_keras.new_rows import (
    ContextRows,
    GaussianRows,
    MeanRows,
    OOVRows,
    PretrainedRows,
    SubwordRows,
)
from warmstart_keras.pipeline import check_pipeline
from warmstart_keras.plan import WarmStartPlan, plan_warm_start, warm_start
from warmstart_keras.report import WarmStartReport
from warmstart_keras.rows import remap, warmstart_embedding_matrix
from warmstart_keras.saving import save_atomically
from warmstart_keras.vocabulary import RowMap, Vocabulary

__version__ = "0.1.0"
__all__ = [
    "Binding",
    "ContextRows",
    "GaussianRows",
    "MeanRows",
    "OOVRows",
    "PretrainedRows",
    "RowMap",
    "SubwordRows",
    "Vocabulary",
    "VocabularyWarmStart",
    "WarmStartEmbedding",
    "WarmStartError",
    "WarmStartPlan",
    "WarmStartReport",
    "check_pipeline",
    "plan_warm_start",
    "remap",
    "save_atomically",
    "warm_start",
    "warmstart_embedding_matrix",
]
