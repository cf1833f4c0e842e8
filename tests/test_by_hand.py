"""What a hand needs beside the sliders: groups, undo, predictions, next steps, saved settings."""

import json

import numpy as np
import pytest

from qa_lib import sensitivity
from qa_lib.errors import BitWidthError, DataError
from qa_lib.export.settings import as_code, load_settings, save_setting
from qa_lib.panel.groups import by_block, by_pattern, in_blocks, layer_of, shortened
from qa_lib.panel.history import History
from qa_lib.panel.next_steps import next_steps
from qa_lib.panel.predictor import ScorePredictor
from qa_lib.space import Space

NAMES = ("a", "b", "c")


def test_blocks_are_what_is_named_alike_up_to_the_first_number():
    names = ["input", "stem.0", "blocks.0.conv1", "blocks.0.conv2", "layer1.1.conv1", "layer1.1.down.0", "fc"]
    assert by_block(names) == {
        "blocks.0": ("blocks.0.conv1", "blocks.0.conv2"),
        "layer1.1": ("layer1.1.conv1", "layer1.1.down.0"),
    }


def test_where_no_part_is_a_number_blocks_are_parts_of_the_module_tree():
    dense = [
        f"features.denseblock{b}.denselayer{n}.conv{c}" for b in (1, 2) for n in range(1, 20) for c in (1, 2)
    ]
    names = ["input", "features.conv0", *dense, "head.norm", "head.fc", "fc"]
    blocks = by_block(names)
    assert {name: len(members) for name, members in blocks.items()} == {
        "features.denseblock1": 38, "features.denseblock2": 38, "head": 2,
    }  # fmt: skip
    assert [(block, len(members)) for block, members in in_blocks(names)] == [
        ("", 2), ("features.denseblock1", 38), ("features.denseblock2", 38), ("head", 2), ("", 1),
    ]  # fmt: skip
    short = shortened(blocks["features.denseblock1"], "features.denseblock1")
    assert len(set(short)) == 38 and max(map(len, short)) <= 14
    # Whatever there is stands in a block once.
    assert [name for _, members in in_blocks(names) for name in members] == names


def test_weights_belong_to_their_layers_block():
    names = ["b.0.x", "b.0.y", "c.0.x", "b.0.x.weight", "other.weight"]
    assert in_blocks(names, names[3:]) == [
        ("b.0", ("b.0.x", "b.0.y", "b.0.x.weight")),
        ("", ("c.0.x", "other.weight")),
    ]
    toolkit = ["b.0.x._input_quantizer", "b.0.y._input_quantizer", "b.0.x._weight_quantizer"]
    assert layer_of(toolkit[2], toolkit) == toolkit[0]
    assert in_blocks(toolkit, toolkit[2:]) == [("b.0", tuple(toolkit))]
    assert shortened(toolkit[:2], "b.0") == ("x", "y")


def test_patterns_make_groups():
    names = ["b.0.x", "b.0.y", "b.1.x"]
    assert by_pattern(names, "*.x") == {"*.x": ("b.0.x", "b.1.x")}
    assert by_pattern(names, {"all": ["*.x", "*.y"]}) == {"all": ("b.0.x", "b.0.y", "b.1.x")}
    with pytest.raises(BitWidthError, match=r"'z\*' matches no quantizer"):
        by_pattern(names, "z*")


def test_history():
    history = History(0, longest=4)
    assert history.undo() == history.redo() == 0
    for state in (1, 1, 2, 3):
        history.push(state)
    assert [history.undo() for _ in range(4)] == [2, 1, 0, 0]
    assert history.redo() == 1
    history.push(9)
    assert not history.can_redo and history.undo() == 1
    for state in range(10, 20):
        history.push(state)
    assert [history.undo() for _ in range(5)] == [18, 17, 16, 16, 16]


def additive(effects):
    return lambda settings: np.array(
        [sum(effects[n][w] for n, w in zip(NAMES, s, strict=True)) for s in settings]
    )


def test_the_next_steps_are_the_best_of_all_single_changes():
    effects = {
        "a": {2: 0.0, 3: 0.10, 4: 0.11},
        "b": {2: 0.0, 3: 0.02, 4: 0.20},
        "c": {2: 0.0, 3: 0.001, 4: 0.001},
    }
    steps = next_steps(NAMES, (2, 3, 4), Space.of(NAMES, (2, 4)), additive(effects))
    assert (steps.gain.layer, steps.gain.after, steps.gain.cost) == ("b", 4, 1)
    assert steps.gain.score == pytest.approx(0.18)
    assert (steps.save.layer, steps.save.after, steps.save.bit_widths) == ("c", 3, (2, 3, 3))  # loses nothing
    held = next_steps(NAMES, (2, 3, 4), Space.of(NAMES, (2, 4)), additive(effects), locked={"b", "c"})
    assert held.gain.layer == "a" and held.save is None


def test_without_a_prediction_there_are_no_steps():
    steps = next_steps(
        NAMES, (2, 3, 4), Space.of(NAMES, (2, 4)), lambda settings: np.full(len(settings), np.nan)
    )
    assert steps.gain is None and steps.save is None


def test_predictions_come_near_what_is_measured(qmodel, evaluator, images):
    predictor = ScorePredictor(sensitivity(qmodel, images[:32], progress=False), 1.0)
    settings = [(a, b, 4, c) for a in (3, 4, 6) for b in (3, 5) for c in (3, None)]
    assert np.isnan(predictor.predict(settings)).all()
    known = evaluator.evaluate_many(settings)
    predictor.learn(known, around=(4, 4, 4, 4))
    expected = predictor.predict(settings)
    assert np.abs(expected - [e.score for e in known]).mean() < 0.03
    assert np.isnan(predictor.predict([(9, 4, 4, 4)])).all()
    assert predictor.predict([(None,) * 4])[0] == pytest.approx(1.0, abs=0.05)


def test_settings_are_saved_by_name_and_loaded(tmp_path, qmodel, evaluator):
    path = tmp_path / "settings.json"
    for name, widths in (("one", [2, 3, None, 5]), ("two", [4] * 4), ("one", [3] * 4)):
        save_setting(path, name, qmodel.names, evaluator.evaluate(widths))
    assert load_settings(path, qmodel.names) == {"one": (3, 3, 3, 3), "two": (4, 4, 4, 4)}
    assert json.loads(path.read_text())["two"]["accuracy"] == evaluator.evaluate([4] * 4).score
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_none_of_ours_are_refused(tmp_path, qmodel, evaluator):
    path = tmp_path / "settings.json"
    with pytest.raises(DataError, match="save a setting first"):
        load_settings(path, qmodel.names)
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match="holds no saved settings"):
        save_setting(path, "one", qmodel.names, evaluator.evaluate([4] * 4))
    assert path.read_text() == "[1, 2]"
    path.write_text(json.dumps({"one": {"bit_widths": {"conv9": 4}}}))
    with pytest.raises(BitWidthError, match="another model"):
        load_settings(path, qmodel.names)
    with pytest.raises(DataError, match="needs a name"):
        save_setting(path, " ", qmodel.names, evaluator.evaluate([4] * 4))
    with pytest.raises(DataError, match="folder that exists"):
        save_setting(tmp_path / "no" / "s.json", "one", qmodel.names, evaluator.evaluate([4] * 4))


def test_code_gives_the_same_widths(qmodel):
    exec(as_code(qmodel.names, (2, None, 4, 5)), {"qmodel": qmodel})
    assert qmodel.bit_widths == (2, None, 4, 5)
