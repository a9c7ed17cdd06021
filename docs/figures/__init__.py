"""Tables and sentences of the pages, made from the JSON files in this folder.

Benchmarks and examples write these files (`--json`). `cog` puts the texts into the pages:

    cog -r -P -I docs -p "import figures" README.md docs/*.md         # fills the pages
    cog --check -P -I docs -p "import figures" README.md docs/*.md    # changes nothing

A page asks for a text in one line. The text stands between this line and `[[[end]]]`:

    <!-- [[[cog print(figures.kills()) ]]] -->
    <!-- [[[end]]] -->

Each text begins and ends with an empty line, as Markdown needs beside a comment.
"""

from figures.accuracy import (
    new_rows,
    new_rows_table,
    newest_texts_table,
    optimizer_table,
    parts,
    parts_table,
    slots,
    streams_table,
    training_setup,
    training_summary,
    ways,
    ways_table,
    worth_it_table,
)
from figures.cost import (
    command_line,
    command_line_table,
    files,
    kills,
    lookup_table,
    matrix_table,
    nothing_changed,
    remap_commands,
    remap_setup,
    rows_table,
    sharded_memory,
    subword,
    ten_million,
)
from figures.examples import (
    daily_retraining,
    language_model,
    recommender,
)
