"""Texts about time, memory and killed jobs, for the pages named in the docstrings."""

import functools
from statistics import median

from figures.text import (
    bullets,
    commands,
    digits,
    duration,
    gigabytes,
    load,
    machine,
    paragraph,
    results,
    size,
    table,
)

REMAP = ("remap_small", "remap_million", "remap_ten_million", "remap_files")


@functools.cache
def _measured():
    """The results of all runs of remap.py by topic, way, rows and width."""
    lines = [line for name in REMAP for line in results(name)]
    return {(x["topic"], x["way"], x["rows"], x["width"]): x for x in lines}


def _sizes(topic):
    """The sizes at which a topic and a plain copy were measured."""
    sizes = {(rows, width) for name, _, rows, width in _measured() if name == topic}
    return sorted(s for s in sizes if ("copy", "copy", *s) in _measured())


def _seconds(*key):
    return _measured()[key]["seconds"]


def _memory(*key):
    """Memory besides the inputs, in sizes of the table."""
    line = _measured()[key]
    return line["extra"] / (4 * line["rows"] * line["width"])


def _memories(keys):
    return ", ".join(f"{_memory(*key):.1f}" for key in keys)


def remap_setup():
    """docs/speed.md: machine and rounds."""
    number = max(len(line["rounds"]) for name in REMAP[:2] for line in results(name))
    rounds = f"medians of {number} rounds" if number > 1 else "a single round"
    return paragraph(f"""
        The machine: {machine(*REMAP)}. The tables show {rounds}.
    """)


def remap_commands():
    """docs/speed.md: the commands that made its figures."""
    return commands(*REMAP, "no_change")


def matrix_table():
    """docs/speed.md: `warmstart_embedding_matrix` on lists."""
    rows = []
    for s in _sizes("lists"):
        keys = [("lists", way, *s) for way in ("ours", "TF1 ops", "tf_keras")]
        times = [_seconds(*key) for key in keys]
        row = [size(*s), duration(_seconds("copy", "copy", *s)), *map(duration, times)]
        rows.append([*row, f"{times[2] / times[0]:.1f} times", _memories(keys)])
    header = ["size", "copy", "`warmstart_keras`", "TF1", "tf_keras"]
    header += ["tf_keras / `warmstart_keras`", "memory, in tables"]
    return table(header, rows)


def rows_table():
    """docs/speed.md: `remap` with a row map."""
    rows = []
    for s in _sizes("rows"):
        copy = _seconds("copy", "copy", *s)
        times = [_seconds("rows", cores, *s) for cores in ("one core", "two cores")]
        cells = [f"{duration(time)} ({time / copy:.1f} copies)" for time in times]
        rows.append([size(*s), duration(copy), *cells])
    return table(["size", "copy", "one core", "two cores"], rows)


def lookup_table():
    """docs/speed.md: `VocabularyWarmStart` after a rebuild."""
    rows = []
    for s in _sizes("lookup"):
        keys = [("lookup", way, *s) for way in ("ours", "recipe")]
        ours, recipe = (_seconds(*key) for key in keys)
        row = [size(*s), duration(ours), duration(recipe), f"{recipe / ours:.1f} times"]
        rows.append([*row, _memories(keys)])
    header = ["size", "`VocabularyWarmStart`", "recipe"]
    header += ["recipe / `VocabularyWarmStart`", "memory, in tables"]
    return table(header, rows)


def nothing_changed():
    """docs/speed.md: `VocabularyWarmStart` without a rebuild."""
    ((rows, width),) = _sizes("nothing changed")
    same_table, same_words = (
        duration(_seconds("nothing changed", way, rows, width))
        for way in ("same table", "same words")
    )
    fit = results("no_change")
    return paragraph(f"""
        With {rows:,} words, the callback takes {same_table} if the lookup layer still
        has the same table object, and {same_words} if it has a new table object with
        the same words. With {fit["tokens"]:,} words and the same table object, the
        first call takes {duration(fit["first_ms"] / 1e3)} and later calls take
        {duration(fit["median_ms"] / 1e3)} (median of {fit["rounds"]}).
    """)


def ten_million():
    """docs/speed.md: the largest table in memory."""
    (line,) = results("remap_ten_million")
    return paragraph(f"""
        For a table of {size(line["rows"], line["width"])}, `warmstart_embedding_matrix`
        takes {duration(line["seconds"])} (a single round). It needs
        {gigabytes(line["extra"])} of memory besides the inputs; the result takes
        {gigabytes(4 * line["rows"] * line["width"])} of it.
    """)


def files():
    """docs/speed.md: `remap` from file to file."""
    ways = {line["way"]: line for line in results("remap_files")}
    ours, copy = ways["ours"], ways["copy"]
    return paragraph(f"""
        `remap(..., out=path)` takes {duration(ours["seconds"])} for a table of
        {size(ours["rows"], ours["width"])}
        ({gigabytes(4 * ours["rows"] * ours["width"])}). A plain copy of the file takes
        {duration(copy["seconds"])}. `remap` needs {digits(ours["anonymous"] / 1e6)} MB
        of memory besides the cached pages of the files.
    """)


def command_line():
    """docs/command_line.md: what the table is about."""
    run, about = results("command_line"), load("command_line")
    rounds = f"Medians of {run['rounds']} rounds" if run["rounds"] > 1 else "One round"
    return paragraph(f"""
        The model has a table of {size(run["tokens"], run["width"])} and Adam's two
        slots ({run["old_mb"]:,.0f} MB); 90 % of its words are kept. {rounds}
        (`{about["command"]}`; {machine("command_line")}).
    """)


def command_line_table():
    """docs/command_line.md: seconds and memory of each command."""
    rows = [
        [
            f"`{command}`",
            f"{median(run['seconds']):.1f}",
            f"{median(run['processor_seconds']):.1f}",
            f"{run['mib']:,.0f}",
        ]
        for command, run in results("command_line")["commands"].items()
    ]
    header = ["command", "seconds", "processor seconds", "peak memory, MiB"]
    return table(header, rows)


def subword():
    """docs/new_rows.md: what "subword" takes."""
    run, about = results("subword"), load("subword")
    subword, zeros = (run["methods"][name] for name in ("subword", "zeros"))
    peak = subword["peak_mib"] * 2**20
    peak_extra = f"{digits((peak - zeros['peak_mib'] * 2**20) / 1e6)} MB"
    return paragraph(f"""
        With {run["kept"]:,} kept words, {run["new"]:,} new words and a width of
        {run["width"]}, `"subword"` takes {duration(subword["seconds"])}. This includes
        {duration(zeros["seconds"])} for moving the kept rows, which every method does.
        The memory of the process peaks at {gigabytes(peak)}, which is
        {peak_extra} more than with `"zeros"`
        (`{about["command"]}`, {about["machine"]["cores"]} cores).
    """)


def sharded_memory():
    """docs/backends.md: memory of a sharded table."""
    run = results("sharded_memory")
    stays, grows = (
        max(process["peak_mib"] for process in run["cases"][case])
        for case in ("the number of rows stays", "a tenth more rows")
    )
    held = run["cases"]["the number of rows stays"][0]["share_mib"]
    setup = paragraph(f"""
        Two processes share a table of {size(run["rows"], run["width"])} float32 and
        Adam's two slots (`{load("sharded_memory")["command"]}`). Each process holds
        {held:,.0f} MiB, {held / 3:,.0f} MiB of the table and as much of each slot. 90 %
        of the words are kept, and all of them move. The resident memory of a process
        rises at its peak by:
    """)
    return setup + bullets(
        f"""{stays:,.0f} MiB if the number of rows stays the same. This is
        {3 * stays / held:.1f} times the share of *one* table, because the tables move one
        after the other.""",
        f"""{grows:,.0f} MiB if there are a tenth more rows, which need
        {held / 10:,.0f} MiB after the move too.""",
    )


def kills():
    """docs/daily_job.md: what `kill -9` does to a job."""
    whole, in_place = results("kills"), results("kills_in_place")
    assert whole["failures"] == in_place["failures"] == []
    starts = whole["starts"]
    assert starts["broken file"] == 0
    broken = in_place["starts"]["broken file"]
    return paragraph(f"""
        `python benchmarks/kills.py` kills a job {whole["kills"]} times at a random
        moment. {whole["while_saving"]} of the kills hit a save. Among the starts of the
        job, {starts["whole file"]} found a whole file, and {starts["no file"]} found no
        file, because no save was finished before. None found a broken file, and no
        saved day was lost. With `--in-place`, the job saves as Keras does. Then
        {in_place["while_saving"]} of {in_place["kills"]} kills hit a save, and {broken}
        times the next start found a broken file: it stopped with an error that names
        the file, and did not train.
    """)
