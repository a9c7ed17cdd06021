"""The command line: files are inspected, compared and remapped, or refused in a line."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from models import array, over_texts, with_strings_in_model
from runs import BASE, KEY, NEW, Day, bits, build, lookup, rewritten, train

from warmstart_keras import Vocabulary, WarmStartEmbedding, warm_start
from warmstart_keras.command_line import main

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.files
PAGE = ROOT / "docs" / "command_line.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run as an archive and as weights, and files of tokens."""
    folder = tmp_path_factory.mktemp("run")
    model = Day().model
    model.save(folder / "old.keras")
    model.save_weights(folder / "old.weights.h5")
    new = Day()
    new.go_on()
    new.model.save(folder / "new.keras")
    lines(folder / "old.txt", BASE)
    lines(folder / "new.txt", NEW)
    return folder


@pytest.fixture(autouse=True)
def _in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def lines(path, tokens):
    Path(path).write_text("".join(f"{token}\n" for token in tokens), "utf-8")
    return str(path)


@pytest.fixture
def run(capsys):
    """Runs the command line; gives what it printed."""

    def of(*arguments, status=0):
        assert main(list(map(str, arguments))) == status
        printed = capsys.readouterr()
        assert status == 2 or not printed.err, printed.err
        return printed.out

    return of


@pytest.fixture
def run_json(run):
    return lambda *arguments, status=0: json.loads(
        run(*arguments, "--json", status=status)
    )


@pytest.fixture
def refused(capsys):
    """Runs what must end with one line on stderr, above 0; gives that line."""

    def of(*arguments):
        assert main(list(map(str, arguments))) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert printed.err.startswith("warmstart_keras: error: ")
        return printed.err

    return of


def loaded(path):
    return keras.models.load_model(path)


def remapped(run_json, old, new, *files, extra=()):
    """The report of a remap, and the model that it wrote."""
    named = [part for file in files for part in ("--vocabulary", file)]
    report = run_json("remap", old, *named, "-o", new, *extra)
    return report, loaded(new)


# --- inspect ---


@pytest.mark.dealt
@pytest.mark.parametrize("name", ["old.keras", "old.weights.h5"])
def test_inspect_says_what_the_rows_of_an_embedding_stand_for(name, run_json):
    said = run_json("inspect", name)
    vocabulary = Vocabulary(["[UNK]", *BASE])
    assert said == {
        "file": name,
        "kind": "model",
        "layers": [
            {
                "layer": "words",
                "known_by": "layer",
                "rows": 8,
                "width": 4,
                "vocabulary": {
                    "tokens": 8,
                    "mask_row": None,
                    "oov_rows": [0],
                    "fingerprint": vocabulary.fingerprint,
                    "first": ["[UNK]", "a", "b", "c", "d"],
                    "last": ["c", "d", "e", "f", "g"],
                },
            }
        ],
        "lookups": [],
    }


@pytest.mark.dealt
def test_inspect_shows_a_table_and_the_ends_of_each_vocabulary(run):
    text = run("inspect", "old.keras")
    print_ = Vocabulary(["[UNK]", *BASE]).fingerprint
    assert re.search(rf"words +8 +4 +8 +OOV 0 +{print_}", text)
    assert "words: [UNK], a, b, c, d, e, f, g\n" in text
    many = lines("many.txt", ["", *(f"w{i}" for i in range(20))])
    text = run("inspect", many)
    assert "(tokens): '', w0, w1, w2, w3, ..., w15, w16, w17, w18, w19\n" in text
    assert re.search(r"\(tokens\) +- +- +21 +mask 0 ", text)


@pytest.mark.dealt
def test_inspect_finds_the_folder_of_a_model(run_json, tmp_path):
    Day().model.save(tmp_path / "model", zipped=False)
    said = run_json("inspect", tmp_path / "model")
    assert said["layers"][0]["vocabulary"]["tokens"] == 8


@with_strings_in_model
def test_inspect_tells_a_plain_embedding_by_the_lookup_that_feeds_it(run, run_json):
    vectorizer = keras.layers.TextVectorization(output_sequence_length=5)
    vectorizer.set_vocabulary(["film", "plot"])
    over_texts(vectorizer, keras.layers.Embedding(6, 2, name="words")).save("t.keras")
    said = run_json("inspect", "t.keras")
    (layer,), (source,) = said["layers"], said["lookups"]
    assert layer["known_by"] == f"lookup {vectorizer.name}"
    assert (layer["rows"], layer["vocabulary"]["tokens"]) == (6, 4)
    assert layer["vocabulary"] == source["vocabulary"]
    assert source["layer"] == vectorizer.name
    assert f"{vectorizer.name} (lookup): '', [UNK], film, plot\n" in run(
        "inspect", "t.keras"
    )


@pytest.mark.dealt
def test_inspect_says_what_is_not_known(run, run_json):
    ids = keras.Input((3,), dtype="int32")
    plain = keras.layers.Embedding(6, 2, name="positions")(ids)
    keras.Model(ids, plain).save("plain.keras")
    (layer,) = run_json("inspect", "plain.keras")["layers"]
    assert (layer["known_by"], layer["vocabulary"]) == (None, None)
    assert re.search(r"positions +6 +2 +- +- +not known", run("inspect", "plain.keras"))
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save("dense.keras")
    assert "has no embedding" in run("inspect", "dense.keras")


@pytest.mark.dealt
def test_no_token_and_no_name_reaches_the_terminal_as_it_is(run, run_json):
    ids = keras.Input((1,), dtype="int32")
    words = ["\x1b[2Jred", "two\u2028lines", b"\xff", "x" * 99]
    layer = WarmStartEmbedding(output_dim=2, vocabulary=words, name="a\x1b[2Jb")
    keras.Model(ids, layer(ids)).save_weights("awkward.weights.h5")
    text = run("inspect", "awkward.weights.h5")
    assert "\x1b" not in text
    assert "\u2028" not in text
    assert r"a\x1b[2Jb: \x1b[2Jred, two\u2028lines, b'\xff', xxx" in text
    first = run_json("inspect", "awkward.weights.h5")["layers"][0]["vocabulary"]["first"]
    assert first[:3] == [r"\x1b[2Jred", r"two\u2028lines", r"b'\xff'"]


@pytest.mark.dealt
def test_code_in_a_file_is_not_run_by_inspect_or_diff(run_json, tmp_path):
    with zipfile.ZipFile("old.keras") as archive:
        config = json.loads(archive.read("config.json"))
    layer = next(x for x in config["config"]["layers"] if x["class_name"] == "Flatten")
    made = keras.layers.Lambda(lambda x: exec("raise SystemExit") or x)
    layer |= {"class_name": "Lambda", "config": made.get_config()}
    path = rewritten("old.keras", tmp_path / "x.keras", "config.json", json.dumps(config))
    assert run_json("inspect", path)["layers"][0]["vocabulary"]["tokens"] == 8
    assert run_json("diff", path, "old.keras")["same"]


@pytest.mark.dealt
def test_more_tokens_than_rows_are_refused(refused, tmp_path):
    path = shutil.copy("old.weights.h5", tmp_path)
    with h5py.File(path, "a") as file:
        del file[KEY]
        data = Vocabulary([*BASE, *NEW]).to_bytes()
        file[KEY] = np.frombuffer(data, np.uint8)
    assert "layer 'words' has 8 rows, but stores 15 tokens" in refused("inspect", path)


# --- diff ---


@pytest.mark.dealt
@pytest.mark.parametrize("old", ["old.txt", "old.keras", "old.weights.h5"])
@pytest.mark.parametrize("new", ["new.txt", "new.keras"])
def test_diff_says_what_became_of_the_words(old, new, run_json):
    found = run_json("diff", old, new, status=1)
    assert (found["old"], found["new"], found["same"]) == (old, new, False)
    assert found["only_in_old"] == found["only_in_new"] == []
    (change,) = found["layers"]
    are_files = old.endswith(".txt") and new.endswith(".txt")
    assert change["layer"] == ("vocabulary" if are_files else "words")
    counts = {key: change[key] for key in ("kept", "moved", "new", "dropped")}
    assert counts == {"kept": 4, "moved": 3, "new": 4, "dropped": 3}
    assert change["first_kept"] == [w for w in NEW if w in BASE]
    assert change["first_new"] == [w for w in NEW if w not in BASE]
    assert change["first_dropped"] == [w for w in BASE if w not in NEW]
    shift = 0 if are_files else 1  # the OOV row comes first
    assert change["first_moved"][0] == {"token": "g", "from": 6 + shift, "to": shift}


@pytest.mark.dealt
def test_diff_shows_a_table_and_the_first_words_of_each_kind(run):
    text = run("diff", "old.keras", "new.keras", status=1)
    assert text.startswith("old.keras -> new.keras\n")
    assert re.search(r"words +\d +\d +\d +\d +[0-9a-f]{8} -> [0-9a-f]{8}\n", text)
    assert "words, first moved: g 7 -> 1, " in text
    assert "words, first dropped: d, e, f\n" in text


@pytest.mark.dealt
def test_diff_of_the_same_is_0(run, run_json):
    assert run_json("diff", "old.keras", "old.weights.h5")["same"]
    assert run_json("diff", "old.keras", "old.txt")["same"]
    assert run_json("diff", "old.txt", "old.keras")["same"]
    text = run("diff", "old.txt", "old.txt")
    assert text.endswith("\nEach row stands for the same token in both files.\n")
    assert "first" not in text


@pytest.mark.dealt
def test_diff_sees_special_rows(run):
    lines("special.txt", ["", "[UNK]", *BASE])
    text = run("diff", "old.keras", "special.txt", status=1)
    assert "words, special rows: OOV 0 -> mask 0, OOV 1\n" in text


@pytest.mark.dealt
def test_diff_names_layers_that_one_model_has_alone(run, run_json):
    def made(*names):
        ids = keras.Input((1,), dtype="int32")
        tables = [
            WarmStartEmbedding(output_dim=2, vocabulary=[name, "b"], name=name)(ids)
            for name in names
        ]
        return keras.Model(ids, tables)

    made("users", "items").save("shop.keras")
    made("items", "shops").save("other.keras")
    found = run_json("diff", "shop.keras", "other.keras", status=1)
    assert [one["layer"] for one in found["layers"]] == ["items"]
    assert (found["only_in_old"], found["only_in_new"]) == (["users"], ["shops"])
    text = run("diff", "shop.keras", "other.keras", status=1)
    assert "Layers with a vocabulary only in other.keras: shops\n" in text


@pytest.mark.dealt
def test_diff_compares_integers_with_a_file_of_integers(run_json, refused):
    ids = keras.Input((1,), dtype="int32")
    layer = WarmStartEmbedding(output_dim=2, vocabulary=[7, 5, 9], name="ids")
    keras.Model(ids, layer(ids)).save("integers.keras")
    (change,) = run_json("diff", "integers.keras", lines("i.txt", [9, 7]), status=1)[
        "layers"
    ]
    assert (change["first_kept"], change["first_dropped"]) == ([9, 7], [5])
    line = refused("diff", "integers.keras", "old.txt")
    assert "must have one integer per line. Received: 'old.txt'" in line


@pytest.mark.dealt
def test_diff_of_a_model_that_knows_no_vocabulary_is_refused(refused):
    ids = keras.Input((3,), dtype="int32")
    keras.Model(ids, keras.layers.Embedding(6, 2, name="p")(ids)).save("plain.keras")
    line = refused("diff", "plain.keras", "old.txt")
    assert "must say what the rows of an embedding stand for" in line
    assert "'plain.keras', with ['p']" in line


# --- remap ---


def test_remap_gives_what_a_warm_start_in_python_gives(run_json, tmp_path):
    report, model = remapped(run_json, "old.keras", tmp_path / "x.keras", "new.txt")
    right = loaded("old.keras")
    words = Vocabulary(["[UNK]", *NEW])
    warm_start(right, {"words": words}, verbose=0)
    assert bits(model) == bits(right)
    assert model.get_layer("words").get_vocabulary() == ["[UNK]", *NEW]
    (variable,) = report["variables"]
    assert len(variable["slots"]) == 2  # Adam's moments
    assert report["notes"] == [
        "layer 'words': the new tokens have no special rows, so the mask and OOV rows of "
        "the base were added."
    ]
    assert report["output"] == str(tmp_path / "x.keras")


def test_kept_words_keep_their_rows_and_slots_bit_for_bit(run_json, tmp_path):
    _, model = remapped(run_json, "old.keras", tmp_path / "x.keras", "new.txt")
    before = loaded("old.keras")
    old, new = ["[UNK]", *BASE], ["[UNK]", *NEW]
    kept = [token for token in new if token in old]
    here, there = [new.index(t) for t in kept], [old.index(t) for t in kept]
    tables = 0
    for one, two in zip(variables_of(before), variables_of(model), strict=True):
        a, b = array(one), array(two)
        if a.shape[:1] == (len(old),):
            tables += 1
            assert a[there].tobytes() == b[here].tobytes()
            assert len(b) == len(new)
        else:
            assert a.tobytes() == b.tobytes(), one.path
    assert tables == 3  # the table, and Adam's two slots
    assert int(array(model.optimizer.iterations)) == 3
    train(model, len(new))


def variables_of(model):
    return [*model.weights, *model.optimizer.variables]


@pytest.mark.dealt
def test_remap_says_what_it_did(run, tmp_path):
    text = run(
        "remap", "old.keras", "--vocabulary", "new.txt", "-o", tmp_path / "x.keras"
    )
    assert text.startswith("Warm start in ")
    assert re.search(r"words +\d +\d +\d +\d ", text)
    assert text.endswith(f"\nWritten: {tmp_path / 'x.keras'}\n")


@pytest.mark.dealt
def test_new_rows_and_seed_are_as_in_python(run_json, tmp_path):
    extra = ("--new-rows", "zeros", "--min-kept", "0.5", "--seed", "3")
    _, model = remapped(
        run_json, "old.keras", tmp_path / "x.keras", "new.txt", extra=extra
    )
    rows = array(model.get_layer("words").embeddings)
    assert not rows[1 + NEW.index("new")].any()


@with_strings_in_model
@pytest.mark.parametrize("given_to", ["set_vocabulary", "the constructor"])
@pytest.mark.parametrize("table", [WarmStartEmbedding, keras.layers.Embedding])
def test_a_lookup_in_the_model_comes_to_the_new_vocabulary(
    given_to, table, run_json, tmp_path
):
    words = ["film", "plot", "good"]
    in_constructor = {"vocabulary": words} if given_to == "the constructor" else {}
    vectorizer = keras.layers.TextVectorization(
        output_sequence_length=5, name="text", **in_constructor
    )
    vectorizer.set_vocabulary(words)
    source = {"vocabulary": vectorizer} if table is WarmStartEmbedding else {}
    embedding = table(input_dim=9, output_dim=2, name="words", **source)
    model = over_texts(vectorizer, embedding)
    import tensorflow as tf

    texts = tf.constant(["good plot", "film film good"])
    model.fit(texts, np.ones((2, 1)), verbose=0)
    model.save("texts.keras")
    new = lines("texts.txt", ["good", "bad", "film", "plot"])
    report, after = remapped(run_json, "texts.keras", tmp_path / "x.keras", new)
    assert after.get_layer("text").get_vocabulary() == [
        "",
        "[UNK]",
        "good",
        "bad",
        "film",
        "plot",
    ]
    np.testing.assert_array_equal(
        after.predict(texts, verbose=0), model.predict(texts, verbose=0)
    )
    (change,) = report["vocabularies"]
    assert (change["kept"], change["new"]) == (3, 1)


@with_strings_in_model
def test_a_lookup_that_the_graph_does_not_tell_follows_by_its_tokens(
    run_json, refused, tmp_path
):
    def made(table):
        texts = keras.Input((3,), dtype="string")
        ids = keras.layers.StringLookup(vocabulary=BASE, name="lookup")(texts)
        ids = keras.layers.Reshape((3, 1))(ids)
        back = keras.layers.StringLookup(vocabulary=BASE, invert=True, name="back")
        return keras.Model(texts, [table(ids), back(ids)])

    made(WarmStartEmbedding(output_dim=2, vocabulary=["[UNK]", *BASE], name="w")).save(
        "loose.keras"
    )
    for name in ("", "w=", "lookup=", "back="):
        _, model = remapped(
            run_json, "loose.keras", tmp_path / "x.keras", f"{name}new.txt"
        )
        for layer in ("lookup", "w", "back"):
            assert model.get_layer(layer).get_vocabulary() == ["[UNK]", *NEW]
    made(keras.layers.Embedding(8, 2, name="w")).save("plain.keras")
    line = refused("remap", "plain.keras", "--vocabulary", "new.txt", "-o", "x.keras")
    assert "what the rows of layer 'w' stand for" in line
    assert "may go into it" in line
    _, model = remapped(
        run_json,
        "plain.keras",
        tmp_path / "x.keras",
        "w=new.txt",
        "lookup=new.txt",
        extra=("--base-vocabulary", f"w={lines('base.txt', ['[UNK]', *BASE])}"),
    )
    assert model.get_layer("w").input_dim == 9


@with_strings_in_model
def test_an_embedding_that_two_lookups_feed_must_be_known(run_json, refused, tmp_path):
    def made(table):
        texts = [keras.Input((3,), dtype="string") for _ in range(2)]
        lookups = [
            keras.layers.StringLookup(vocabulary=BASE, name=n) for n in ("title", "body")
        ]
        both = [table(f(x)) for f, x in zip(lookups, texts, strict=True)]
        return keras.Model(texts, both)

    made(keras.layers.Embedding(8, 2, name="w")).save("two.keras")
    line = refused("remap", "two.keras", "--vocabulary", "new.txt", "-o", "x.keras")
    assert "go into it" in line
    assert "--base-vocabulary w=OLD.txt" in line
    made(WarmStartEmbedding(output_dim=2, vocabulary=["[UNK]", *BASE], name="w")).save(
        "two.keras"
    )
    _, model = remapped(run_json, "two.keras", tmp_path / "x.keras", "title=new.txt")
    for layer in ("title", "body", "w"):
        assert model.get_layer(layer).get_vocabulary() == ["[UNK]", *NEW]
    shared = ("title=new.txt", "--vocabulary", "body=old.txt", "-o", "x.keras")
    line = refused("remap", "two.keras", "--vocabulary", *shared)
    assert "must get one vocabulary, since it shares its tokens with other" in line


def test_several_vocabularies_are_named(run_json, refused, tmp_path):
    ids = [keras.Input((1,), dtype="int32") for _ in range(2)]
    users = WarmStartEmbedding(output_dim=2, vocabulary=["ann", "bob"], name="users")
    items = WarmStartEmbedding(output_dim=2, vocabulary=["tea", "jam"], name="items")
    score = keras.layers.Dot(axes=2)([users(ids[0]), items(ids[1])])
    keras.Model(ids, score).save("shop.keras")
    new_users = lines("users.txt", ["bob", "eve", "ann"])
    line = refused("remap", "shop.keras", "--vocabulary", new_users, "-o", "x.keras")
    assert "['users (2 tokens)', 'items (2 tokens)']" in line
    report, model = remapped(
        run_json, "shop.keras", tmp_path / "x.keras", f"users={new_users}"
    )
    assert model.get_layer("users").get_vocabulary() == ["bob", "eve", "ann"]
    assert model.get_layer("items").get_vocabulary() == ["tea", "jam"]
    assert [change["layer"] for change in report["vocabularies"]] == ["users"]
    assert not any("items" in note for note in report["notes"])
    _, model = remapped(
        run_json,
        "shop.keras",
        tmp_path / "x.keras",
        f"users={new_users}",
        f"items={lines('items.txt', ['jam', 'tea'])}",
    )
    assert model.get_layer("items").get_vocabulary() == ["jam", "tea"]
    line = refused("remap", "shop.keras", "--vocabulary", "no=new.txt", "-o", "x.keras")
    assert "Received: 'no'. The model has the embedding layers" in line


def test_a_head_follows_where_it_is_named(run_json, capsys, tmp_path):
    ids = keras.Input((3,), dtype="int32")
    words = WarmStartEmbedding(output_dim=4, vocabulary=BASE, name="words")
    hidden = keras.layers.GlobalAveragePooling1D()(words(ids))
    head = keras.layers.Dense(len(BASE), name="head")
    model = keras.Model(ids, head(hidden))
    model.save("head.keras")
    _, after = remapped(
        run_json, "head.keras", tmp_path / "x.keras", "words=new.txt", "head=new.txt"
    )
    before, now = array(head.kernel), array(after.get_layer("head").kernel)
    np.testing.assert_array_equal(now[:, NEW.index("g")], before[:, BASE.index("g")])
    assert now.shape == (4, len(NEW))
    # Where it is not, it stays, and the user is warned, on stderr also with `--json`.
    arguments = ("remap", "head.keras", "--vocabulary", "new.txt", "-o")
    assert main([*arguments, str(tmp_path / "x.keras"), "--json"]) == 0
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert printed.err.startswith("warmstart_keras: warning: layer 'head' has 7 outputs")
    assert "`--vocabulary head=NEW.txt`" in printed.err
    assert "`--base-vocabulary head=OLD.txt`" in printed.err


def test_a_plain_embedding_is_remapped_with_its_base(run_json, refused, tmp_path):
    build(lookup(), keras.layers.Embedding).save("plain.keras")
    line = refused("remap", "plain.keras", "--vocabulary", "new.txt", "-o", "x.keras")
    assert "Pass the tokens of the rows: `--base-vocabulary words=OLD.txt`" in line
    old = lines("base.txt", ["[UNK]", *BASE])
    for base in (old, f"words={old}"):
        _, model = remapped(
            run_json,
            "plain.keras",
            tmp_path / "x.keras",
            "new.txt" if base == old else "words=new.txt",
            extra=("--base-vocabulary", base),
        )
        assert array(model.get_layer("words").embeddings).shape == (9, 4)


@with_strings_in_model
def test_integer_lookups_come_along(run_json, tmp_path):
    ids = keras.Input((2,), dtype="int64")
    source = keras.layers.IntegerLookup(vocabulary=[7, 5, 9], name="lookup")
    table = WarmStartEmbedding(output_dim=2, vocabulary=source, name="table")
    keras.Model(ids, table(source(ids))).save("integers.keras")
    _, model = remapped(
        run_json, "integers.keras", tmp_path / "x.keras", lines("i.txt", [9, 7, 1])
    )
    assert list(model.get_layer("lookup").get_vocabulary()) == [-1, 9, 7, 1]
    assert model.get_layer("table").get_vocabulary() == [-1, 9, 7, 1]


def over_vectors(layer):
    """text -> vector of numbers, one for each token -> score."""
    texts = keras.Input((), dtype="string")
    return keras.Model(texts, keras.layers.Dense(1, name="dense")(layer(texts)))


IDS = {"output_sequence_length": 5}


@with_strings_in_model
@pytest.mark.parametrize(
    ("made", "tokens", "match"),
    [
        ({"output_mode": "tf_idf"}, NEW, "must not use `output_mode='tf_idf'`"),
        ({"output_mode": "multi_hot"}, NEW, "does not accept the tokens of 'x.txt'"),
        ({"output_mode": "multi_hot"}, ["a", "a", "b"], "repeated"),
        (IDS, ["[UNK]", *NEW], "must have the layer's special rows"),
        (IDS, [*NEW, "a\u2028b"], "must have tokens without line breaks"),
        (IDS, ["x", "y"], "Too few words.* pass `--min-kept 0`"),
    ],
)
def test_what_a_lookup_cannot_have_is_refused(made, tokens, match, refused):
    words = keras.layers.TextVectorization(name="text", **made)
    if made.get("output_mode") == "tf_idf":
        words.set_vocabulary(BASE, idf_weights=np.ones(len(BASE)))
    else:
        words.set_vocabulary(BASE)
    if "output_mode" in made:
        over_vectors(words).save("lookup.keras")
    else:
        table = WarmStartEmbedding(output_dim=2, vocabulary=words, name="w")
        over_texts(words, table).save("lookup.keras")
    lines("x.txt", tokens)
    line = refused("remap", "lookup.keras", "--vocabulary", "x.txt", "-o", "no.keras")
    assert re.search(match, line)
    assert not Path("no.keras").exists()


@with_strings_in_model
def test_a_lookup_whose_followers_are_not_known_is_refused(refused):
    texts = keras.Input((3,), dtype="string")
    ids = keras.layers.StringLookup(vocabulary=BASE, name="lookup")(texts)
    outputs = keras.layers.Dense(2)(keras.ops.cast(ids, "float32"))
    keras.Model(texts, outputs).save("ids.keras")
    line = refused("remap", "ids.keras", "--vocabulary", "new.txt", "-o", "x.keras")
    assert re.search(r"No layer .* follow the lookup layers \['lookup'\]", line)


@pytest.mark.dealt
def test_code_in_a_file_is_run_with_consent_alone(refused, run_json, tmp_path):
    ids = keras.Input((1,), dtype="int32")
    words = WarmStartEmbedding(output_dim=2, vocabulary=BASE, name="words")
    outputs = keras.layers.Lambda(lambda x: x * 2)(words(ids))
    keras.Model(ids, outputs).save("lambda.keras")
    arguments = ("remap", "lambda.keras", "--vocabulary", "new.txt", "-o")
    line = refused(*arguments, tmp_path / "x.keras")
    assert "pass `--unsafe`" in line
    assert not (tmp_path / "x.keras").exists()
    assert run_json(*arguments, tmp_path / "x.keras", "--unsafe")["changed"]


@pytest.mark.processes
@pytest.mark.dealt
def test_classes_of_a_module_are_found_by_import(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_layers.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable()\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        print('a layer that talks')\n"
        "        return 2 * x\n"
    )
    make = (
        "import keras, my_layers\n"
        "from warmstart_keras import WarmStartEmbedding\n"
        "ids = keras.Input((1,), dtype='int32')\n"
        "words = WarmStartEmbedding(output_dim=2, vocabulary=['a', 'b'], name='words')\n"
        "keras.Model(ids, my_layers.Twice()(words(ids))).save('twice.keras')\n"
    )
    assert process("-c", make).returncode == 0
    lines("new.txt", ["b", "c"])
    remap = ["remap", "twice.keras", "--vocabulary", "new.txt", "-o", "x.keras", "--json"]
    without = process("-m", "warmstart_keras", *remap)
    assert without.returncode == 2
    assert "pass `--import MODULE`" in without.stderr
    done = process("-m", "warmstart_keras", *remap, "--import", "my_layers")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"]
    assert "a layer that talks" in done.stderr


def process(*arguments):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.dealt
def test_a_module_that_is_not_there_is_refused(refused):
    line = refused("inspect", "old.keras", "--import", "no_such_module")
    assert "`--import` must name a module. Received: 'no_such_module'" in line


# --- whole or not at all ---


@pytest.mark.dealt
def test_the_output_may_be_the_input(run_json, tmp_path):
    path = shutil.copy("old.keras", tmp_path)
    _, model = remapped(run_json, path, path, "new.txt")
    assert model.get_layer("words").get_vocabulary() == ["[UNK]", *NEW]


@pytest.mark.dealt
@pytest.mark.parametrize("raised", [KeyboardInterrupt(), OSError("disk full")])
def test_interrupted_writing_leaves_the_old_file(raised, tmp_path, monkeypatch, capsys):
    path = shutil.copy("old.keras", tmp_path)
    whole = Path(path).read_bytes()

    def save(self, filepath, **_):
        Path(filepath).write_bytes(whole[:100])
        raise raised

    monkeypatch.setattr(keras.Model, "save", save)
    status = main(["remap", str(path), "--vocabulary", "new.txt", "-o", str(path)])
    printed = capsys.readouterr()
    assert status == (130 if isinstance(raised, KeyboardInterrupt) else 2)
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert Path(path).read_bytes() == whole
    assert os.listdir(tmp_path) == ["old.keras"]


@pytest.mark.dealt
def test_an_optimizer_that_would_be_lost_is_refused(refused, tmp_path):
    path = tmp_path / "x.keras"
    with zipfile.ZipFile("old.keras") as archive:
        (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["optimizer/vars/2"]
    rewritten("old.keras", path, "model.weights.h5", (tmp_path / "w.h5").read_bytes())
    line = refused("remap", path, "--vocabulary", "new.txt", "-o", tmp_path / "y.keras")
    assert "must load completely, including its optimizer" in line


# --- refusals ---


@pytest.mark.dealt
@pytest.mark.parametrize("command", ["inspect", "diff", "remap"])
@pytest.mark.parametrize("broken", ["empty", "cut", "no archive", "missing", "a folder"])
@pytest.mark.parametrize("name", ["x.keras", "x.weights.h5"])
def test_a_broken_file_is_refused_in_one_line(command, broken, name, refused, tmp_path):
    path = tmp_path / name
    whole = Path(name.replace("x", "old", 1)).read_bytes()
    content = {"empty": b"", "cut": whole[:-999], "no archive": b"no archive\n" * 99}
    if broken == "a folder":
        path.mkdir()
    elif broken != "missing":
        path.write_bytes(content[broken])
    more = {
        "inspect": [],
        "diff": ["old.txt"],
        "remap": ["--vocabulary", "new.txt", "-o", tmp_path / "y.keras"],
    }[command]
    line = refused(command, path, *more)
    assert str(path) in line
    assert not (tmp_path / "y.keras").exists()


@pytest.mark.dealt
@pytest.mark.parametrize(
    ("content", "match"), [(b"", "at least one token"), (b"\xff\xfe", "must be UTF-8")]
)
def test_a_broken_file_of_tokens_is_refused(content, match, refused, tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    assert match in refused("inspect", path)
    assert match in refused("diff", "old.keras", path)
    output = ("-o", tmp_path / "y.keras")
    assert match in refused("remap", "old.keras", "--vocabulary", path, *output)


@pytest.mark.dealt
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("old.weights.h5 --vocabulary new.txt -o x.keras", "must be a `.keras` archive"),
        ("old.keras --vocabulary new.txt -o x.h5", "`--output` must .*ends in `.keras`"),
        ("old.keras --vocabulary new.txt -o no/x.keras", "in a folder that exists"),
        ("old.keras --vocabulary no.txt -o x.keras", "must exist. Received: 'no.txt'"),
        (
            "old.keras --vocabulary new.txt --vocabulary new.txt -o x.keras",
            "must name each layer once",
        ),
        (
            "old.keras --vocabulary new.txt -o x.keras --base-vocabulary new.txt "
            "--base-vocabulary words=new.txt",
            "`--base-vocabulary` must name each layer once",
        ),
        (
            "old.keras --vocabulary new.txt -o x.keras --base-vocabulary words=new.txt",
            "for a layer whose base vocabulary the model does not",
        ),
        (
            "old.keras --vocabulary no=new.txt -o x.keras",
            "error: `--vocabulary` must name layers",
        ),
        ("old.keras --vocabulary old.keras -o x.keras", "'old.keras', a saved model.$"),
        ("old.keras --vocabulary new.txt -o x.keras --new-rows no", "'no'"),
        ("old.keras --vocabulary new.txt -o x.keras --min-kept 2", "min_kept=2.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, match, refused):
    assert re.search(match, refused("remap", *arguments.split()))
    assert not Path("x.keras").exists()


@pytest.mark.dealt
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("", "required: COMMAND"),
        ("remap old.keras", "required: --vocabulary, -o"),
        ("remap old.keras --vocabulary =x -o x.keras", "must be FILE or LAYER=FILE"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_usage(arguments, match, capsys):
    with pytest.raises(SystemExit) as info:
        main(arguments.split())
    assert info.value.code == 2
    assert match in capsys.readouterr().err


# --- the terminal ---


@pytest.mark.dealt
def test_progress_is_shown_on_a_terminal_and_taken_away(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["diff", "old.keras", "old.txt"]) == 0
    printed = capsys.readouterr()
    for stage in ("reading old.keras", "reading old.txt", "comparing"):
        assert re.search(rf"\r\x1b\[K\[ +0 s\] {stage} \.\.\.", printed.err)
    assert printed.err.endswith("\r\x1b[K")
    assert main(["inspect", "no.keras"]) == 2
    printed = capsys.readouterr()
    assert printed.err.rpartition("\r\x1b[K")[2].startswith("warmstart_keras: error: ")


@pytest.mark.dealt
@pytest.mark.parametrize("command", [[], ["inspect"], ["diff"], ["remap"]])
def test_help_has_a_description_and_examples(command, capsys):
    with pytest.raises(SystemExit) as info:
        main([*command, "--help"])
    assert info.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  python -m warmstart_keras " in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.processes
@pytest.mark.dealt
def test_a_process_answers_with_one_document_or_one_line():
    done = process("-m", "warmstart_keras", "inspect", "old.keras", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["layers"][0]["layer"] == "words"
    failed = process("-m", "warmstart_keras", "inspect", "missing.keras", "--json")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.splitlines()[-1] == (
        "warmstart_keras: error: A file must exist. Received: 'missing.keras'"
    )
    assert "Traceback" not in failed.stderr


@with_strings_in_model
@pytest.mark.docs
def test_the_page_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    """Its blocks of a shell, run in order after its Python; times may differ."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    blocks = re.findall(r"```(python|console)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks].count("console") >= 3
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, PAGE.name, "exec"), {})
            continue
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = shown.partition("\n")
            if not command.startswith("python -m warmstart_keras "):
                continue
            capsys.readouterr()
            main(command.split()[3:])
            printed = capsys.readouterr()
            assert without_times(printed.out + printed.err) == without_times(expected)


def without_times(text):
    return re.sub(r"\d+\.\d\d s|[0-9a-f]{16}", "...", text).strip()
