"""Reports of warm starts: as text, HTML, figures and TensorBoard summaries."""

from warmstart_keras.report import tensorboard
from warmstart_keras.report.changes import (
    VariableChange,
    VocabularyChange,
    aligned,
    escaped,
    printable,
    words_table,
)
from warmstart_keras.report.report import WarmStartReport
from warmstart_keras.report.samples import sampled
