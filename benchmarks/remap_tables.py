"""The tables of `remap.py`, and what it is to reach."""

import statistics

LISTS = "`warmstart_embedding_matrix` on lists of words"
TABLES = {  # the title of each table, and the topics that are in it
    LISTS: ["lists"],
    "`warmstart_embedding_matrix` on other inputs": ["arrays", "text files", "tensors"],
    "`remap`: the rows alone": ["rows"],
    "A lookup rebuilt: `VocabularyWarmStart`, table and two slots": ["lookup"],
    "Nothing changed: `VocabularyWarmStart`": ["nothing changed"],
    "`remap` from file to file": ["files"],
}
RESULTS = ("seconds", "cpu", "extra", "anonymous")


def records(found):
    """What was found as plain values, with medians over the rounds; memory in bytes."""
    lines = []
    for one, result in found.items():
        line = {**one._asdict(), **result}
        for name in RESULTS:
            values = [got[name] for got in result["rounds"] if got.get(name) is not None]
            line[name] = statistics.median(values) if values else None
        if any("failed" in got for got in result["rounds"]):
            line["note"] = "failed"
        lines.append(line)
    return lines


# --- numbers as text ---


def rounded(value):
    return f"{float(f'{value:.3g}'):,g}"


def duration(seconds):
    if seconds < 1:
        return f"{rounded(seconds * 1e3)} ms"
    return f"{rounded(seconds)} s"


def ratio(above, below):
    if above is None or not below:
        return "-"
    value = above / below
    return f"{value:.2g}" if value < 100 else rounded(value)


def name_of(topic, way):
    return topic if topic == way else f"{topic}, {way}"


def size_of(line):
    return f"{line['rows']:,} x {line['width']}"


def matrix_bytes(line):
    return line["rows"] * line["width"] * 4


def time_of(line, most_rounds):
    if line["seconds"] is None:
        return line["note"] or "-"
    few = "" if len(line["rounds"]) == most_rounds else " (1 round)"
    return duration(line["seconds"]) + few + (line["note"] and f" ({line['note']})")


def table(header, lines):
    rows = [header, ["---"] * 2 + ["---:"] * (len(header) - 2), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


# --- tables ---


class Results:
    """What was found, by topic, way and size."""

    def __init__(self, lines):
        self.lines = lines
        self.most_rounds = max((len(line["rounds"]) for line in lines), default=1)
        self.by_key = {
            (line["topic"], line["way"], line["rows"], line["width"]): line
            for line in lines
        }

    def get(self, name, *key):
        return self.by_key.get(key, {}).get(name)

    def like(self, line, way, topic=None):
        """The seconds of another way at the same size."""
        return self.get(
            "seconds", topic or line["topic"], way, line["rows"], line["width"]
        )

    def of_topics(self, topics):
        return [line for line in self.lines if line["topic"] in topics]


def topic_table(results, topics):
    lines = results.of_topics(topics)
    in_files = topics == ["files"]
    with_ours = any(line["way"] == "ours" for line in lines) and not in_files
    header = ["size", "what", "time", "/ copy", *["/ ours"] * with_ours]
    header.append("anonymous memory, MB" if in_files else "extra memory / matrix")
    sizes = {(line["rows"], line["width"]) for line in lines if not in_files}
    copies = results.of_topics(["copy"])
    copies = [line for line in copies if (line["rows"], line["width"]) in sizes]
    rows = []
    for line in sorted(copies + lines, key=lambda x: (x["rows"], x["width"])):
        of_copy = results.like(line, "copy", "files" if in_files else "copy")
        alone = len(topics) == 1 or line in copies
        what = line["way"] if alone else name_of(line["topic"], line["way"])
        row = [size_of(line), what, time_of(line, results.most_rounds)]
        row.append(ratio(line["seconds"], of_copy))
        if with_ours:
            row.append(ratio(line["seconds"], results.like(line, "ours")))
        taken = line["anonymous"] if in_files else line["extra"]
        if in_files:
            row.append("-" if taken is None else rounded(taken / 1e6))
        else:
            row.append("-" if taken is None else f"{taken / matrix_bytes(line):.2g}")
        rows.append(row)
    return table(header, rows)


def memory_table(results):
    lines = [x for x in results.of_topics(["lists"]) if x["way"] == "ours"]
    line = max(lines, key=lambda line: line["rows"] * 1000 - line["width"])
    taken, size = line["extra"], matrix_bytes(line)
    row = [size_of(line), "ours", time_of(line, results.most_rounds)]
    row += [f"{rounded(size / 1e9)} GB"]
    row += ["-", "-"] if taken is None else [f"{rounded(taken / 1e9)} GB"]
    row += [] if taken is None else [f"{taken / size:.2g}"]
    header = ["size", "what", "time", "result", "extra memory", "extra memory / result"]
    return table(header, [row])


def growth_table(results):
    """Nanoseconds a row, at each size."""
    sizes = sorted({line["rows"] for line in results.lines})
    ways = {(x["topic"], x["way"], x["width"]): None for x in results.lines}
    rows = []
    for topic, way, width in ways:
        found = [results.get("seconds", topic, way, size, width) for size in sizes]
        if len([value for value in found if value is not None]) > 1:
            per_row = [
                "-" if value is None else rounded(value * 1e9 / size)
                for value, size in zip(found, sizes, strict=True)
            ]
            rows.append([name_of(topic, way), str(width), *per_row])
    return table(["what", "width", *[f"{size:,}" for size in sizes]], rows)


def targets(results):
    """Each target whose size was run: what it is, the figure, its limit."""
    seen = []

    def at_most(what, above, below, limit, unit="", factor=1):
        if above is not None and below:
            figure = above / below * factor
            seen.append(
                (what, f"{figure:.3g}{unit}", f"<= {limit}{unit}", figure <= limit)
            )

    def at_least(what, above, below, limit):
        if above is not None and below:
            figure = above / below
            seen.append((what, f"{figure:.3g}", f">= {limit}", figure >= limit))

    get, million = results.get, 10**6
    size = (million, 128)
    ours = get("seconds", "lists", "ours", *size)
    rival = get("seconds", "lists", "tf_keras", *size)
    at_least("lists, 1,000,000 x 128: times as fast as tf_keras", rival, ours, 6)
    extra, matrix = get("extra", "lists", "ours", *size), million * 128 * 4
    at_most("lists, 1,000,000 x 128: extra memory / matrix", extra, matrix, 1.6)
    copy = get("seconds", "copy", "copy", *size)
    for cores, limit in (("one core", 2.5), ("two cores", 1.8)):
        taken = get("seconds", "rows", cores, *size)
        at_most(f"rows, 1,000,000 x 128, {cores}: copies", taken, copy, limit)

    size = (million, 64)
    ours, rival = (get("seconds", "lookup", way, *size) for way in ("ours", "recipe"))
    at_least("lookup, 1,000,000 x 64: times as fast as the recipe", rival, ours, 25)
    for way, limit in (("same table", 1), ("same words", 200)):
        taken = get("seconds", "nothing changed", way, *size)
        at_most(f"nothing changed, 1,000,000, {way}", taken, 1, limit, " ms", 1e3)

    for line in results.of_topics(["lists", *TABLES[list(TABLES)[1]]]):
        if line["rows"] == 10_000 and line["way"] == "ours":
            what = f"{line['topic']}, {size_of(line)}: time / tf_keras"
            at_most(what, line["seconds"], results.like(line, "tf_keras"), 1)

    size = (10 * million, 64)
    taken = get("seconds", "lists", "ours", *size)
    at_most("lists, 10,000,000 x 64", taken, 1, 30, " s")
    extra, matrix = get("extra", "lists", "ours", *size), 10 * million * 64 * 4
    at_most("lists, 10,000,000 x 64: extra memory / result", extra, matrix, 1.6)

    size = (5 * million, 128)
    taken = get("anonymous", "files", "ours", *size)
    at_most("files, 5,000,000 x 128: anonymous memory", taken, 1e6, 300, " MB")
    ours, copy = (get("seconds", "files", way, *size) for way in ("ours", "copy"))
    at_most("files, 5,000,000 x 128: time / chunked copy", ours, copy, 1.5)
    return seen


def report(lines, machine, in_one_process):
    """All tables, as Markdown."""
    results = Results(lines)
    names = {"Python": machine["python"], **machine["versions"]}
    versions = ", ".join(f"{name} {number}" for name, number in names.items())
    parts = [f"{machine['system']}, {machine['cores']} cores; {versions}."]
    if in_one_process:
        parts.append("All in one process: the times mean nothing.")
    elif (machine["load"] or 0) > 0.5:
        parts.append(f"The machine was busy before: a load of {machine['load']:.1f}.")
    for title, topics in TABLES.items():
        if results.of_topics(topics):
            parts += [f"### {title}", topic_table(results, topics)]
        if title == LISTS and results.of_topics(["lists"]):
            parts += [f"### {title}: the largest", memory_table(results)]
    if len({line["rows"] for line in lines}) > 1:
        parts += ["### How the cost grows: nanoseconds a row", growth_table(results)]
    rows = [
        [what, figure, limit, "holds" if holds else "MISSED"]
        for what, figure, limit, holds in targets(results)
    ]
    if rows:
        parts += ["### Targets", table(["what", "seen", "target", ""], rows)]
    return "\n\n".join(parts)


def compared(old, new):
    """The results of two runs side by side."""
    before, rows = Results(old["results"]), []
    for line in new["results"]:
        key = line["topic"], line["way"], line["rows"], line["width"]
        row = [name_of(*key[:2]), size_of(line)]
        taken = "anonymous" if line["topic"] == "files" else "extra"
        for name, spelled in (("seconds", duration), (taken, megabytes)):
            then, now = before.get(name, *key), line[name]
            row += ["-" if value is None else spelled(value) for value in (then, now)]
            row.append(ratio(now, then))
        rows.append(row)
    header = ["what", "size", "old", "new", "new / old"]
    return table([*header, "old memory", "new memory", "new / old"], rows)


def megabytes(value):
    return f"{rounded(value / 1e6)} MB"
