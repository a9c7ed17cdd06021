"""The report as a picture: HTML in a notebook, a figure, and TensorBoard's summaries."""

import copy
import dataclasses
import gc
import json
import pickle
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import keras
import matplotlib.pyplot
import numpy as np
import pytest
from models import BACKEND, EAGER, JIT, array, on_tensorflow

from warmstart_keras import (
    RowMap,
    VocabularyWarmStart,
    WarmStartEmbedding,
    WarmStartError,
    WarmStartReport,
    warm_start,
)
from warmstart_keras.layers import layer_axes_of
from warmstart_keras.report import VariableChange, VocabularyChange, samples, tensorboard
from warmstart_keras.report.notebook import COLOURS

BASE = list("abcdefgh")
NEW = list("hxcaeybgzdw")
KEPT = [token for token in NEW if token in BASE]
FRESH = [token for token in NEW if token not in BASE]
MASK_AND_OOV = 1  # rows before the words
WIDTH = 4


def lookup(tokens=BASE):
    return keras.layers.StringLookup(vocabulary=tokens)


def build(source):
    """ids -> embedding -> a score for each token: the vocabulary along two axes."""
    ids = keras.Input((3,), dtype="int32")
    words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=source, name="words")
    hidden = keras.layers.Flatten()(words(ids))
    model = keras.Model(
        ids, keras.layers.Dense(source.vocabulary_size(), name="head")(hidden)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(0.1, name="adam"), loss, jit_compile=JIT, run_eagerly=EAGER
    )
    return model


def fit(model, **how):
    x = np.arange(24).reshape(8, 3) % (len(BASE) + MASK_AND_OOV)
    return model.fit(x, x[:, 0], batch_size=4, shuffle=False, verbose=0, **how)


@pytest.fixture
def started():
    """A model that was trained, and warm-started for another vocabulary; its report."""
    source = lookup()
    model = build(source)
    fit(model)
    source.set_vocabulary(NEW)
    tokens = ["[UNK]", *BASE]
    how = {"base_vocabularies": {"head": tokens}, "verbose": 0}
    return model, warm_start(model, {"head": source}, **how)


def words(**changes):
    change = VocabularyChange.between("model/words", RowMap(["a", "b", "c"], ["c", "d"]))
    return dataclasses.replace(change, **changes)


def report(*changes, **others):
    table = VariableChange("model/words/embeddings", 0, (3, 8), (2, 8), ["adam/m", "v"])
    head = VariableChange("head/kernel", 1, (16, 3), (16, 2), [])
    whole = WarmStartReport(True, [*changes] or [words()], [table, head], seconds=0.25)
    return dataclasses.replace(whole, **others)


# --- HTML ---


class Reader(HTMLParser):
    """Sees which elements and attributes there are, and which text they enclose."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self._inside = [], [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._inside.append(tag)

    def handle_endtag(self, tag):
        assert self._inside.pop() == tag

    def handle_data(self, data):
        if self._inside[-1:] != ["style"]:
            self.text += f" {data}"


def text_of(shown):
    return " ".join(Reader(shown._repr_html_()).text.split())


@pytest.mark.dealt
def test_the_html_is_well_formed():
    noted = report(notes=["Mind the gap."], unchecked=["encoder"], previous="'a.keras'")
    for shown in (noted, WarmStartReport(changed=False, notes=["a & b"])):
        root = ElementTree.fromstring(shown._repr_html_())
        assert (root.tag, root.get("class")) == ("div", "warmstart-report")


@pytest.mark.dealt
def test_the_html_says_every_number_and_every_name():
    change = words(kept=1234567, moved=7654, new=89, dropped=101112)
    noted = report(
        change,
        notes=["Mind the gap."],
        unchecked=["encoder"],
        previous="'a.keras'",
        missing=["model/b"],
        left_out=["old/c"],
    )
    text = text_of(noted)
    for part in (
        "Warm start in 0.25 s",
        f"model/words {change.base_fingerprint[:8]} → {change.new_fingerprint[:8]}",
        "kept 1,234,567 7,654 of them moved. First: c , …",
        "new 89 First: d , …",
        "dropped 101,112 First: a , b , …",
        "model/words/embeddings 0 (3, 8) (2, 8) 2 adam/m v",
        "head/kernel 1 (16, 3) (16, 2) 0",
        "From 'a.keras'.",
        "Not in the previous run, kept as initialized: model/b",
        "Only in the previous run, left out: old/c",
        "Note: Mind the gap.",
        "['encoder']",
    ):
        assert part in text


@pytest.mark.dealt
def test_each_layer_has_a_bar_for_each_number_to_one_scale():
    html = report(words(kept=40, new=10, dropped=0))._repr_html_()
    bars = re.findall(r'style="width:([\d.]+)%;background:(#\w+)"', html)
    assert bars == [("100.00", COLOURS["kept"]), ("25.00", COLOURS["new"])]


HOSTILE = '<script>alert("&")</script>'


@pytest.mark.dealt
def test_nothing_that_is_named_becomes_html():
    change = VocabularyChange.between(
        HOSTILE, RowMap([HOSTILE, "a"], ["a", HOSTILE[::-1]])
    )
    variable = VariableChange(HOSTILE, 0, (2, 2), (2, 2), [HOSTILE])
    about = {key: [HOSTILE] for key in ("notes", "unchecked", "missing", "left_out")}
    shown = report(change, variables=[variable], previous=HOSTILE, **about)
    reader = Reader(shown._repr_html_())
    assert "script" not in reader.tags
    assert reader.text.count(HOSTILE) == 9
    assert HOSTILE[::-1] in reader.text


@pytest.mark.dealt
def test_the_html_has_no_script_and_asks_for_nothing_from_elsewhere():
    reader = Reader(report(notes=["Mind the gap."])._repr_html_())
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert {name for name, _ in reader.attributes} <= {
        "aria-hidden",
        "aria-label",
        "class",
        "role",
        "scope",
        "style",
        "tabindex",
    }
    assert "url(" not in report()._repr_html_()


@pytest.mark.dealt
def test_a_report_that_nothing_changed_shows_its_line_and_its_notes():
    shown = WarmStartReport(changed=False, notes=["Mind the gap."])
    assert text_of(shown) == "Warm start: no vocabulary changed. Note: Mind the gap."


def luminance(colour):
    """Relative luminance, as of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.dealt
@pytest.mark.parametrize("page", ["#ffffff", "#1e1e1e", "#111111"])
def test_bars_stand_out_from_light_and_from_dark_pages(page):
    for colour in COLOURS.values():
        low, high = sorted([luminance(colour), luminance(page)])
        assert (high + 0.05) / (low + 0.05) >= 3


BROWSER = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])),
    None,
)
# What JupyterLab does to tables, as of its packages/rendermime/style/base.css.
JUPYTER = """<style>
.jp-RenderedHTMLCommon table { table-layout: fixed; margin-left: auto; font-size: 12px; }
:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon :is(td, th, tr) { text-align: right; }
.jp-RenderedHTMLCommon :is(td, th, tr) { vertical-align: middle; padding: 0.5em; }
.jp-RenderedHTMLCommon tbody tr:nth-child(odd) { background: #888; }
.jp-RenderedHTMLCommon ul:not(.list-inline) { padding-left: 2em; }
.jp-RenderedHTMLCommon p { margin: 0; margin-bottom: 1em; }
</style>"""
# The report is in a frame, whose width is the report's viewport.
PAGE = """<!DOCTYPE html><meta charset="utf-8">
<iframe style="width:{width}px;height:2000px;border:0" srcdoc='{inside}'></iframe>
<pre id="found"></pre>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  page.querySelectorAll("details").forEach((e) => e.open = true);
  const width = page.documentElement.clientWidth;
  const name = (e) => e.tagName + ": " + e.textContent.slice(0, 40);
  const all = [...page.querySelectorAll("p, li, caption, th, td, summary, .ws-bar")];
  const cells = all.filter((e) => !e.matches(".ws-bar, summary"));
  const box = (e) => e.getBoundingClientRect();
  const scrolls = (e) => e.closest(".ws-scroll");
  const found = {{elements: all.length, cut: [], overlapping: [], colours: []}};
  found.aligned = getComputedStyle(page.querySelector(".ws-wide")).textAlign;
  if (page.documentElement.scrollWidth > width) found.cut.push("the page");
  for (const e of all) {{
    const outer = scrolls(e) || page.documentElement;
    const right = scrolls(e) ? box(outer).left + outer.scrollWidth : width;
    if (box(e).right > right + 1 || box(e).left < -1) found.cut.push(name(e));
    if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth) found.cut.push(name(e));
    if (!box(e).width || !box(e).height) found.cut.push("empty: " + name(e));
  }}
  for (const e of page.querySelectorAll(".ws-scroll"))
    if (box(e).right > width + 1) found.cut.push("region");
  cells.forEach((a, i) => cells.slice(i + 1).forEach((b) => {{
    const [p, q] = [box(a), box(b)];
    const over = Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
      && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1;
    if (over && !a.contains(b) && !b.contains(a))
      found.overlapping.push(name(a) + " / " + name(b));
  }}));
  for (const e of [...cells, ...page.querySelectorAll("tr")]) {{
    const style = page.defaultView.getComputedStyle(e);
    found.colours.push(style.color, style.backgroundColor);
  }}
  found.colours = [...new Set(found.colours)];
  document.querySelector("#found").textContent = JSON.stringify(found);
}};
</script>"""
THEMES = {"light": ("#ffffff", "#111111"), "dark": ("#111111", "#eeeeee")}


@pytest.mark.dealt
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium, which is not installed")
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", [400, 1400])
def test_a_browser_shows_all_of_it_and_nothing_overlaps(tmp_path, theme, width):
    long = VocabularyChange.between(
        f"model/{'encoder_' * 18}words",
        RowMap(
            ["a", *["W" * 39 + str(i) for i in range(9)]], ["a", "M" * 40, "ابت", "語"]
        ),
    )
    long = dataclasses.replace(long, kept=123456789, moved=123456788, dropped=1)
    wide = VariableChange(
        f"{'encoder_' * 18}/embeddings",
        0,
        (10**8, 1024),
        (10**8 + 1, 1024),
        ["adam/m"] * 9,
    )
    shown = report(
        words(),
        long,
        variables=[wide, *report().variables],
        notes=["Mind the gap. " * 20, "/" * 300],
        previous=f"'/{'folder/' * 40}yesterday.keras'",
    )
    background, colour = THEMES[theme]
    inside = (
        f'<body style="margin:0;background:{background};color:{colour}">'
        f"{JUPYTER}<div class='jp-RenderedHTMLCommon'>{shown._repr_html_()}</div></body>"
    ).replace("&", "&amp;")
    page = tmp_path / "page.html"
    page.write_text(
        PAGE.format(width=width, inside=inside.replace("'", "&#39;")), "utf-8"
    )
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={int(theme == 'light')}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.S)[1])
    assert found["elements"] > 40
    assert found["cut"] == []
    assert found["overlapping"] == []
    assert found["aligned"] == "left"
    inherited = {"light": "rgb(17, 17, 17)", "dark": "rgb(238, 238, 238)"}[theme]
    assert sorted(found["colours"]) == sorted([inherited, "rgba(0, 0, 0, 0)"])


# --- the rows that are kept for it ---


def rows_of(variable, axis, rows):
    return np.moveaxis(array(variable), axis, 0)[rows].reshape(len(rows), -1)


def variable_of(model, sample):
    return next(v for v in model.weights if v.path == sample.variable)


def test_a_report_has_the_rows_of_kept_and_new_words_along_either_axis(started):
    model, found = started
    table, head = found.samples
    assert [s.layer for s in found.samples] == [c.layer for c in found.vocabularies]
    for sample, axis in ((table, 0), (head, 1)):
        at = [NEW.index(token) + MASK_AND_OOV for token in KEPT]
        assert sample.kept.tolist() == at
        assert sample.kept_from.tolist() == [BASE.index(t) + MASK_AND_OOV for t in KEPT]
        assert sample.new.tolist() == [NEW.index(t) + MASK_AND_OOV for t in FRESH]
        rows = [*sample.kept, *sample.new]
        expected = rows_of(variable_of(model, sample), axis, rows)
        np.testing.assert_array_equal(sample.values, expected)
        norms = np.linalg.norm(expected.astype("float64"), axis=1)
        np.testing.assert_allclose(np.concatenate(sample.norms), norms)


def test_the_rows_of_a_report_stay_as_they_were_while_the_model_is_trained(started):
    model, found = started
    before = [sample.values.copy() for sample in found.samples]
    assert all(not part.any() for s in found.samples for part in s.since())
    fit(model)
    for sample, axis, then in zip(found.samples, (0, 1), before, strict=True):
        np.testing.assert_array_equal(sample.values, then)
        rows = [*sample.kept, *sample.new]
        now = rows_of(variable_of(model, sample), axis, rows)
        expected = np.linalg.norm(now.astype("float64") - then, axis=1)
        kept, new = sample.since()
        assert (len(kept), len(new)) == (len(KEPT), len(FRESH))
        np.testing.assert_allclose(np.concatenate([kept, new]), expected)
        assert expected.any()


def test_once_rows_have_moved_again_how_far_is_not_known(started):
    model, found = started
    sources = {"words": lookup(NEW[::-1]), "head": lookup(NEW)}
    warm_start(model, sources, verbose=0)
    table, head = found.samples
    assert table.since() == "its rows now stand for another vocabulary"
    assert isinstance(head.since(), tuple)


def test_a_report_does_not_hold_the_model():
    layer = WarmStartEmbedding(output_dim=WIDTH, vocabulary=BASE, name="words")
    layer.build()
    (sample,) = warm_start(layer, NEW, verbose=0).samples
    assert isinstance(sample.since(), tuple)
    del layer
    gc.collect()
    assert sample.since() == "the model no longer exists"


def test_a_report_can_be_pickled_without_the_model(started):
    _, found = started
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    for sample, other in zip(again.samples, found.samples, strict=True):
        np.testing.assert_array_equal(sample.values, other.values)
        assert sample.since() == "the model no longer exists"


def test_the_rows_are_no_part_of_the_plain_data(started):
    _, found = started
    assert "samples" not in found.to_dict()
    assert "samples" not in repr(found)
    assert found == dataclasses.replace(found, samples=[])
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert copy.deepcopy(found) == found


@pytest.mark.dealt
@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 123457])
def test_of_many_words_a_thousand_are_taken_at_equal_distances(number):
    rows = np.arange(number) * 3
    some = samples._some(rows, 1000)
    assert len(some) == min(number, 1000)
    assert np.isin(some, rows).all()
    steps = np.diff(some)
    assert number < 2 or steps.max() - steps.min() <= 3


@pytest.mark.dealt
def test_of_wide_tables_fewer_rows_are_held():
    model, row_map = build(lookup()), RowMap(lookup(), lookup(NEW))
    (rows,) = layer_axes_of(model.get_layer("words"), "words")
    _, outputs = layer_axes_of(model.get_layer("head"), "head")
    numbers = 2 * (WIDTH + 3 * WIDTH) * 2
    found = samples.sampled([(rows, row_map), (outputs, row_map)], numbers)
    assert [len(sample.kept) for sample in found] == [2, 2]
    assert len(row_map.kept_words) == len(KEPT)


@pytest.mark.skipif(BACKEND != "jax", reason="tables are sharded on JAX alone")
@pytest.mark.parametrize("cut", [("model", None), (None, "model"), (None, None)])
def test_rows_that_are_cut_over_devices_are_found(cut):
    from keras.distribution import DeviceMesh, LayoutMap, ModelParallel, TensorLayout

    devices = keras.distribution.list_devices()[:4]
    mesh = DeviceMesh((2, 2), ("batch", "model"), devices)
    layout_map = LayoutMap(mesh)
    layout_map[".*words/embeddings"] = TensorLayout(cut, mesh)
    distribution = ModelParallel(layout_map=layout_map, batch_dim_name="batch")
    with distribution.scope():
        layer = WarmStartEmbedding(output_dim=WIDTH, vocabulary=BASE, name="words")
        model = keras.Sequential([keras.Input((3,), dtype="int32"), layer])
        (sample,) = warm_start(model, NEW[:10], verbose=0).samples
        rows = [*sample.kept, *sample.new]
        np.testing.assert_array_equal(sample.values, rows_of(layer.embeddings, 0, rows))
        layer.embeddings.assign(layer.embeddings + 1)
        np.testing.assert_allclose(np.concatenate(sample.since()), 2, rtol=1e-5)


@pytest.mark.dealt
def test_a_table_that_no_process_holds_is_left_out_and_the_figure_says_so():
    layer = WarmStartEmbedding(output_dim=WIDTH, vocabulary=BASE, name="words")
    layer.build()
    row_map = RowMap(BASE, NEW)
    (axis,) = layer_axes_of(layer, "words")
    (sample,) = samples.sampled([(axis, row_map)])
    sample.values = None  # as `two_processes.py` sees it
    assert sample.norms is None
    assert sample.since() == "its rows are sharded over several processes"
    change = VocabularyChange.between("words", row_map)
    figure = report(change, samples=[sample]).plot()
    said = [text.get_text() for axes in axes_of(figure) for text in axes.texts]
    assert said[-2:] == ["its rows are sharded over several processes"] * 2
    assert len(axes_of(figure)[1].collections[0].get_offsets()) == len(KEPT)


@on_tensorflow
def test_rows_of_a_mirrored_table_are_found():
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = WarmStartEmbedding(output_dim=WIDTH, vocabulary=BASE, name="words")
        model = keras.Sequential([keras.Input((3,), dtype="int32"), layer])
    (sample,) = warm_start(model, NEW, verbose=0).samples
    rows = [*sample.kept, *sample.new]
    np.testing.assert_array_equal(sample.values, rows_of(layer.embeddings, 0, rows))


# --- the figure ---

PANELS = [
    "Words",
    "Kept words: old and new row",
    "Norms right after the warm start",
    "Distance moved since then",
]


def axes_of(figure):
    return [axes for part in figure.subfigs for axes in part.axes]


def drawn(figure, tmp_path):
    """The size of the picture's file; a warning on the way is an error."""
    path = tmp_path / "figure.png"
    figure.savefig(path)
    return path.stat().st_size


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_figure_has_a_row_of_four_panels_for_each_layer(started, tmp_path):
    model, found = started
    fit(model)
    figure = found.plot()
    assert [axes.get_title() for axes in axes_of(figure)] == PANELS * 2
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == ["words", "head (outputs)"]
    assert drawn(figure, tmp_path) > 20_000


def test_the_panels_show_what_the_report_says(started):
    model, found = started
    fit(model)
    table, _ = found.samples
    words, places, norms, since = axes_of(found.plot())[:4]
    assert [bar.get_width() for bar in words.patches] == [7, 4, 1]
    assert [text.get_text() for text in words.texts] == ["7", "4", "1"]
    offsets = places.collections[0].get_offsets()
    np.testing.assert_array_equal(offsets, np.stack([table.kept_from, table.kept], 1))
    by = f"{np.median(np.abs(table.kept - table.kept_from)):.0f}"
    said = f"old row\n5 of 7 words moved,\nmedian distance of 7 rows: {by}"
    assert places.get_xlabel() == said
    for axes, values in ((norms, table.norms), (since, table.since())):
        expected = [
            f"{name}: {len(part)} rows, median {np.median(part):.3g}"
            for name, part in zip(("kept", "new"), values, strict=True)
        ]
        assert labels(axes) == expected
        for stairs in axes.patches:
            assert sum(stairs.get_data().values) == pytest.approx(100)


def test_before_any_training_the_last_panel_says_that_nothing_has_moved(started):
    _, found = started
    last = axes_of(found.plot())[3]
    assert [text.get_text() for text in last.texts] == [
        "no row has moved yet: train first"
    ]


def test_a_figure_is_none_of_pyplot_and_shows_itself_in_a_notebook(started):
    _, found = started
    figure = found.plot()
    assert matplotlib.pyplot.get_fignums() == []
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.dealt
def test_one_layer_alone_can_be_drawn():
    other = words(layer="model/tags")
    figure = report(words(), other).plot("model/tags")
    assert [part.get_suptitle() for part in figure.subfigs] == ["model/tags"]


@pytest.mark.dealt
def test_a_layer_that_did_not_change_cannot_be_drawn():
    message = r"`layer` must be .*Received: layer='tags'.*\['model/words'\]"
    with pytest.raises(WarmStartError, match=message):
        report().plot("tags")


@pytest.mark.dealt
def test_of_many_layers_the_first_eight_are_drawn_and_the_title_says_so():
    figure = report(*[words(layer=f"words{i}") for i in range(10)]).plot()
    assert len(figure.subfigs) == 8
    assert "first 8 of 10 layers; pass `layer=`" in figure.get_suptitle()


@pytest.mark.dealt
def test_a_report_that_nothing_changed_is_drawn_as_such(tmp_path):
    figure = WarmStartReport(changed=False).plot()
    assert figure.get_suptitle() == "Warm start: no vocabulary changed"
    assert drawn(figure, tmp_path)


@pytest.mark.dealt
def test_a_report_without_rows_says_so_where_they_would_be(tmp_path):
    figure = report(words(layer="$a_{")).plot()  # no formula
    said = [text.get_text() for axes in axes_of(figure)[1:] for text in axes.texts]
    assert said == ["this report has no sample of rows"] * 3
    assert drawn(figure, tmp_path)


@pytest.mark.dealt
@pytest.mark.parametrize(
    ("kept", "new", "expected"),
    [
        ([1.0, 1.0], [1.0], ["kept: 2 rows, median 1", "new: 1 row, median 1"]),
        ([0.0, 0.0], [0.0], ["kept: 2 rows, median 0", "new: 1 row, median 0"]),
        (
            [np.nan, 2.0],
            [np.inf],
            ["kept: 2 rows, median 2", "kept: 1 not finite", "new: 1 not finite"],
        ),
        ([], [3.0, 1.0], ["new: 2 rows, median 2"]),
        ([5.0, 5.0 * (1 + 1e-15)], [], ["kept: 2 rows, median 5"]),
        ([1e300, 1.0], [], ["kept: 2 rows, median 1", "kept: 1 not finite"]),
    ],
)
def test_rows_of_any_values_are_drawn(started, tmp_path, kept, new, expected):
    _, found = started
    sample = copy.copy(found.samples[0])
    sample.kept, sample.new = np.arange(len(kept)), np.arange(len(new))
    sample.kept_from = sample.kept
    sample.values = np.array([*kept, *new])[:, None]
    one = dataclasses.replace(
        found, vocabularies=found.vocabularies[:1], samples=[sample]
    )
    figure = one.plot()
    assert labels(axes_of(figure)[2]) == expected
    assert drawn(figure, tmp_path)


@pytest.mark.dealt
def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.delitem(sys.modules, "warmstart_keras.report.plot", raising=False)
    message = r'`report.plot\(\)` .*matplotlib.*`pip install "matplotlib>=3.8"`'
    with pytest.raises(WarmStartError, match=message):
        report().plot()


# --- TensorBoard ---


def summaries(folder):
    """The values of each tag, with their steps."""
    pytest.importorskip("tensorboard")
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [(e.step, tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def logged(folder, new=NEW):
    """A callback that was in two fits of two steps each, after another vocabulary."""
    source = lookup()
    words = WarmStartEmbedding(output_dim=WIDTH, vocabulary=source, name="words")
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            words,
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="score"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model)
    source.set_vocabulary(new)
    callback = VocabularyWarmStart(log_dir=folder)
    fit(model, callbacks=[callback])
    fit(model, callbacks=[callback])
    return callback


def test_a_warm_start_is_written_for_tensorboard_once_with_all_its_values(tmp_path):
    pytest.importorskip("tensorboard")
    found = logged(tmp_path / "logs").report
    (change,), (sample,) = found.vocabularies, found.samples
    written = summaries(tmp_path / "logs")
    tag = f"warm_start/{change.layer}"
    for name in ("kept", "moved", "new", "dropped"):
        assert written.pop(f"{tag}/{name}") == [(2, getattr(change, name))]
    assert written.pop("warm_start/seconds") == [(2, np.float32(found.seconds))]
    ((step, text),) = written.pop("warm_start/report")
    assert step == 2
    assert str(found).splitlines() == [
        line[4:] for line in text.item().decode().splitlines()
    ]
    by = sample.kept - sample.kept_from
    for name, values in {
        "rows_moved_by": by,
        "norms_kept": sample.norms[0],
        "norms_new": sample.norms[1],
    }.items():
        ((step, buckets),) = written.pop(f"{tag}/{name}")
        assert (step, buckets[:, 2].sum()) == (2, len(values))
        ends = buckets[0, 0], buckets[-1, 1]
        np.testing.assert_allclose(ends, [values.min(), values.max()], rtol=1e-6)
    for kind, values in zip(("kept", "new"), sample.since(), strict=True):
        both = written.pop(f"{tag}/distance_since_{kind}")
        assert [step for step, _ in both] == [4, 6]  # after each training
        buckets = both[-1][1]
        ends = buckets[0, 0], buckets[-1, 1]
        np.testing.assert_allclose(ends, [values.min(), values.max()], rtol=1e-6)
    assert written == {}


@pytest.mark.parametrize(
    ("folder", "new", "writes"),
    [("logs", NEW, True), ("logs", BASE, False), (None, NEW, False)],
    ids=["changed", "not changed", "not asked to"],
)
@pytest.mark.dealt
def test_files_are_written_only_if_asked_and_if_something_changed(
    tmp_path, monkeypatch, folder, new, writes
):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    logged(folder, new)
    assert any(tmp_path.rglob("*")) == writes


@pytest.mark.skipif(BACKEND != "jax", reason="several processes train on JAX alone")
@pytest.mark.parametrize(("process", "writes"), [(0, True), (1, False)])
def test_of_several_processes_the_first_one_writes(
    tmp_path, monkeypatch, process, writes
):
    pytest.importorskip("tensorboard")
    import jax

    source = lookup()
    model = build(source)
    monkeypatch.setattr(jax, "process_index", lambda: process)
    tensorboard.write(str(tmp_path / "logs"), report(), model.optimizer)
    assert (tmp_path / "logs").exists() == writes


@pytest.mark.dealt
def test_values_that_are_not_finite_are_left_out_of_a_histogram(tmp_path, started):
    pytest.importorskip("tensorboard")
    model, found = started
    found.samples[0].values[0] = np.nan
    tensorboard.write(str(tmp_path), found, model.optimizer)
    written = summaries(tmp_path)["warm_start/words/norms_kept"]
    assert written[0][1][:, 2].sum() == len(KEPT) - 1


@pytest.mark.dealt
def test_a_folder_that_cannot_be_written_is_warned_of_and_training_goes_on(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "logs").write_text("a file")
    with pytest.warns(UserWarning, match="`log_dir` must be a folder that can be"):
        callback = logged(tmp_path / "logs")
    assert callback.report.changed


@pytest.mark.dealt
def test_a_folder_that_is_no_path_is_refused():
    with pytest.raises(WarmStartError, match=r"`log_dir` must be the path.*of type int"):
        VocabularyWarmStart(log_dir=3)


@pytest.mark.dealt
def test_without_tensorboard_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(WarmStartError, match=r"not installed.*'logs'.*`pip install"):
        VocabularyWarmStart(log_dir="logs")
