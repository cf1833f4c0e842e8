"""The panel driven from Python, as a hand drives it."""

import dataclasses
import json
import threading

import pytest
import torch
from explorations import setting
from tiny import make_tiny_model

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore, sensitivity
from qa_lib.errors import BitWidthError, DataError, SearchError
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.export import load_setting
from qa_lib.panel import BitWidthPanel, Equalizer
from qa_lib.panel.controls import descendants
from qa_lib.plots.activation_histogram import activation_histogram
from qa_lib.search.pareto import standing

pytestmark = pytest.mark.slow


@pytest.fixture
def panel(qmodel, evaluator, tmp_path):
    made = BitWidthPanel(evaluator, folder=tmp_path)
    assert made.wait(60)
    yield made
    assert made.wait(60)


def readout(panel):
    """What is seen of it: behind it lies what keeps its height."""
    return panel.readout.widget.value.split("<div aria-hidden")[0]


@pytest.fixture
def measured(panel, monkeypatch):
    """The widths of every measurement from here on."""
    widths = []
    measure = LiveEvaluator.evaluate

    def spy(self, bit_widths, **options):
        widths.append(tuple(bit_widths))
        return measure(self, bit_widths, **options)

    monkeypatch.setattr(LiveEvaluator, "evaluate", spy)
    return widths


def test_it_begins_where_the_model_is(qmodel, evaluator):
    qmodel.bit_widths = [2, 3, None, 5]
    panel = BitWidthPanel(evaluator)
    assert panel.bit_widths == (2, 3, None, 5)
    assert panel.evaluation.score == evaluator.evaluate([2, 3, None, 5]).score
    assert panel.session.float_evaluation.score == 1.0
    assert panel.wait(60) and not panel.readout.message.value


def test_releasing_a_slider_sets_and_measures(panel, qmodel, evaluator, measured):
    panel.equalizer.release((8, 8, 2, 8))
    assert panel.wait(60)
    assert qmodel.bit_widths == (8, 8, 2, 8)
    assert measured == [(8, 8, 2, 8)]
    assert panel.evaluation == evaluator.evaluate([8, 8, 2, 8], remeasure=True)
    shown = readout(panel)
    assert f"{panel.evaluation.score:.2%}" in shown and "measured" in shown and "predicted" not in shown
    assert "100.00%" in shown  # the float accuracy, beside it
    assert ">26</b>" in shown


def test_what_is_seen_while_a_slider_moves_is_called_predicted(panel, measured):
    panel.equalizer.moving = [8, 8, 3, 8]
    shown = readout(panel)
    assert "predicted" in shown and "measured" not in shown and ">27</b>" in shown
    assert measured == []
    assert list(panel.front._trace("predicted").x) == [27]
    panel.equalizer.release((8, 8, 3, 8))
    assert panel.wait(60)
    assert not panel.front._trace("predicted").x


def test_the_newest_request_wins(panel, qmodel, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    measure = LiveEvaluator.evaluate

    def slow(self, widths, **options):
        begun.set()
        go_on.wait(30)
        return measure(self, widths, **options)

    monkeypatch.setattr(LiveEvaluator, "evaluate", slow)
    panel.equalizer.release((8, 8, 8, 2))
    assert begun.wait(30)
    for width in (3, 4, 5):
        panel.equalizer.release((8, 8, 8, width))
    go_on.set()
    assert panel.wait(60)
    assert panel.evaluation.bit_widths == qmodel.bit_widths == panel.bit_widths == (8, 8, 8, 5)
    assert (8, 8, 8, 4) not in {e.bit_widths for e in panel.session.points.evaluations}  # it was dropped


def test_a_point_of_the_front_loads_with_one_evaluation(panel, measured):
    point = panel.session.points.front[0]
    panel.front._clicked("front", [0])
    assert panel.wait(60)
    assert panel.bit_widths == point.bit_widths and measured == [point.bit_widths]
    assert panel.evaluation.score == point.score
    assert panel.session.points.standing(panel.evaluation).on_front


def test_undo_and_redo(panel, qmodel):
    panel.set_all(4)
    panel.set_bit_widths({"conv1": 6})
    panel.session.undo()
    assert panel.wait(60) and qmodel.bit_widths == (4, 4, 4, 4)
    panel.session.undo()
    assert panel.wait(60) and qmodel.bit_widths == (8, 8, 8, 8)
    panel.session.redo()
    assert panel.wait(60) and qmodel.bit_widths == (4, 4, 4, 4)
    panel.session.reset()
    assert panel.wait(60) and qmodel.bit_widths == (8, 8, 8, 8)


def test_locked_layers_stay(panel, measured):
    panel.equalizer.lock("conv1")
    panel.toolbar.all[3].click()
    assert panel.wait(60)
    assert panel.bit_widths == (3, 3, 8, 3) and measured == [(3, 3, 8, 3)]
    for step in (panel.suggestions.steps.gain, panel.suggestions.steps.save):
        assert step is None or step.layer != "conv1"


def test_setting_widths_from_python_measures_once(panel, qmodel, measured):
    panel.set_bit_widths({"input": 4, "conv2": None})
    panel.set_bit_widths([2, 3, 4, 5])
    panel.set_all(6)
    assert measured == [(4, 8, 8, None), (2, 3, 4, 5), (6, 6, 6, 6)]
    assert panel.bit_widths == qmodel.bit_widths == (6, 6, 6, 6)


def test_a_search_feeds_the_panel_while_it_stays_usable(panel, qmodel, evaluator, images, labels):
    moves = []

    def take(evaluation):
        panel.take(evaluation)
        moves.append(4 + len(moves) % 4)
        panel.equalizer.release((8, 8, 8, moves[-1]))

    exploration = explore(evaluator, evaluations=30, population_size=10, progress=False, on_evaluation=take)
    assert panel.wait(60) and not panel.readout.message.value
    assert {e.bit_widths for e in exploration.measured} <= {
        e.bit_widths for e in panel.session.points.evaluations
    }
    fresh = Evaluator(qmodel, images, labels, batch_size=40)
    assert panel.evaluation.bit_widths == (8, 8, 8, moves[-1])
    assert panel.evaluation.score == fresh.evaluate([8, 8, 8, moves[-1]]).score


def test_a_row_of_the_front_loads(panel, qmodel, evaluator):
    front = explore(evaluator, evaluations=20, population_size=10, progress=False).front
    row = front.iloc[0]
    assert panel.set_bit_widths(row[list(qmodel.names)].to_dict()).score == row["accuracy"]


def test_it_begins_with_what_a_search_found(qmodel, evaluator):
    exploration = explore(evaluator, evaluations=20, population_size=10, min_accuracy=0.5, progress=False)
    panel = BitWidthPanel(evaluator, exploration=exploration)
    assert panel.session.points.min_score == 0.5
    assert panel.wait(60)
    assert [e.score for e in panel.session.points.front] == [e.score for e in exploration.front_evaluations]


@pytest.mark.parametrize("bad", [[4] * 3, {"conv9": 4}, [4, 4, 4, 9], [4, 4, 4, 1]], ids=repr)
def test_bad_widths_leave_the_panel_as_it_was(panel, qmodel, measured, bad):
    with pytest.raises(BitWidthError):
        panel.set_bit_widths(bad)
    assert panel.bit_widths == qmodel.bit_widths == (8, 8, 8, 8)
    assert measured == []


def test_an_error_behind_a_slider_is_shown_and_not_lost(panel, qmodel):
    qmodel.remove()
    panel.equalizer.release((8, 8, 3, 8))
    assert panel.wait(60)
    assert "RemovedError" in panel.readout.message.value


def test_an_error_behind_a_button_is_shown_and_not_lost(panel):
    panel.saving.pasted.value = "wide"
    panel.saving.paste.click()
    assert "wide&#x27; holds no widths" in panel.readout.message.value


def test_what_is_not_measured_yet_is_not_saved_under_a_name(panel, tmp_path, monkeypatch):
    go_on = threading.Event()
    measure = LiveEvaluator.evaluate
    monkeypatch.setattr(
        LiveEvaluator, "evaluate", lambda self, *a, **o: go_on.wait(30) and measure(self, *a, **o)
    )
    panel.session.load((3, 4, 5, 6))
    panel.saving.name.value = "mine"
    panel.saving.save.click()
    assert "not measured yet" in panel.readout.message.value and not list(tmp_path.iterdir())
    go_on.set()
    assert panel.wait(60)
    panel.saving.save.click()
    assert "mine" in (tmp_path / "bit_widths.json").read_text()


@pytest.mark.parametrize(
    "file", ["", "a.csv", "/dev/null/x.json", "x" * 300 + ".json", "no/such/folder/a.json"]
)
def test_impossible_files_are_refused_in_words(panel, file):
    long = "x" * 300
    panel.saving.file.value, panel.saving.name.value = file, long if long in file else "mine"
    for button in (panel.saving.save, panel.saving.png, panel.saving.csv):
        panel.readout.show_message("")
        button.click()
        kind = "DataError" if button is panel.saving.save or "json" not in file else "ReportError"
        assert kind in panel.readout.message.value, button.description


def test_after_calibration_nothing_old_is_left_in_the_front(panel, qmodel, evaluator, images):
    panel.set_bit_widths([3] * 4)
    old = {e.bit_widths: e.score for e in panel.session.points.evaluations}
    calibrate(qmodel, (images * 0.02).split(40))
    panel.set_bit_widths([3] * 4)
    assert panel.wait(60)
    shown = {e.bit_widths: e.score for e in panel.session.points.evaluations}
    assert shown != old
    for widths, correct in shown.items():
        assert correct == evaluator.evaluate(widths, remeasure=True).score


@pytest.mark.parametrize("button", ["save", "png", "csv", "json", "hold"])
def test_what_is_taken_from_the_panel_is_of_the_model_as_it_is(
    panel, qmodel, evaluator, images, tmp_path, button
):
    panel.set_bit_widths([3] * 4)
    panel.hold("A")
    assert panel.wait(60) and panel.comparison.held
    panel.saving.name.value = "mine"
    before = panel.evaluation
    calibrate(qmodel, (images * 0.02).split(40))
    buttons = {"hold": panel.hold_buttons["B"]} | panel.saving.exports
    clicked = buttons.get(button) or getattr(panel.saving, button)
    clicked.click()
    assert not list(tmp_path.iterdir())
    assert panel.wait(60) and "the model has changed" in panel.readout.message.value
    now = evaluator.evaluate([3] * 4, remeasure=True)
    assert now.score != before.score and panel.evaluation == now and now.text in readout(panel)
    assert panel.session.float_evaluation == evaluator.evaluate_uniform(None)
    if button == "hold":
        assert panel.comparison.held.keys() == {"B"} and panel.comparison.held["B"].evaluation == now
        return
    assert panel.comparison.held == {}
    clicked.click()
    (written,) = tmp_path.iterdir()
    if button in ("save", "json"):
        assert str(now.score) in written.read_text() and str(before.score) not in written.read_text()
    if button == "csv":
        assert len(written.read_text().splitlines()) == len(panel.session.points.evaluations) + 1
        assert {e.fingerprint for e in panel.session.points.evaluations} == {evaluator.fingerprint()}


def test_a_cell_that_is_run_again_after_a_calibration_measures_anew(panel, qmodel, evaluator, images):
    panel.set_bit_widths([3] * 4)
    before = panel.evaluation
    calibrate(qmodel, (images * 0.02).split(40))
    again = BitWidthPanel(evaluator)
    assert again.wait(60) and again.session is panel.session
    now = evaluator.evaluate([3] * 4, remeasure=True)
    assert again.evaluation == panel.evaluation == now != before and now.text in readout(again)
    assert {e.fingerprint for e in again.session.points.evaluations} == {now.fingerprint}


def test_a_panel_says_what_its_sliders_cannot_show(panel, qmodel, evaluator, images):
    narrow = BitWidthPanel(evaluator, 4, 8)
    assert narrow.wait(60) and not narrow.readout.message.value
    panel.set_bit_widths([3, 8, 8, 8])
    assert narrow.wait(60) and narrow.bit_widths == (8, 8, 8, 8)
    said = "the model has widths now that these sliders, from 4 to 8, cannot show (input 3)"
    assert said in narrow.readout.message.value and "not on the model now" in readout(narrow)
    narrow.take(evaluator.evaluate([7, 7, 7, 6]))
    narrow.hold("A")
    assert narrow.wait(60) and said in narrow.readout.message.value
    assert "not on the model now" in readout(narrow) and "not on the model" not in readout(panel)
    panel.set_all(2)
    assert "(input 2, shortcut 2, conv1 2 and 1 more)" in narrow.readout.message.value
    assert min(min(e.bit_widths) for e in narrow.session.points.evaluations) == 4
    # What it measures anew is not given to the model.
    calibrate(qmodel, (images * 0.5).split(40))
    narrow.hold("A")
    assert narrow.wait(60) and narrow.evaluation == evaluator.evaluate([8] * 4)
    assert qmodel.bit_widths == panel.bit_widths == (2, 2, 2, 2)
    narrow.equalizer.release((8, 8, 4, 8))
    assert narrow.wait(60) and panel.wait(60) and qmodel.bit_widths == panel.bit_widths == (8, 8, 4, 8)
    assert "sliders" not in narrow.readout.message.value and "not on the model" not in readout(narrow)
    panel.set_all(3)
    panel.session.undo()
    assert panel.wait(60) and narrow.wait(60)
    assert "sliders" not in narrow.readout.message.value and "not on the model" not in readout(narrow)
    narrow.close()


def test_a_search_does_not_take_the_readout_from_a_hand(panel, evaluator):
    panel.equalizer.moving = [2, 2, 2, 2]
    panel.take(evaluator.evaluate([7, 7, 7, 6]))
    assert panel.wait(60)
    assert "predicted" in readout(panel) and ">8</b>" in readout(panel)
    assert (7, 7, 7, 6) in {e.bit_widths for e in panel.session.points.evaluations}


def test_an_interrupted_measurement_says_that_there_is_none(panel, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(LiveEvaluator, "evaluate", interrupted)
        panel.set_bit_widths([3, 4, 5, 6])
    assert "not measured" in readout(panel) and ">18</b>" in readout(panel)


def test_explorations_and_sensitivities_of_others_are_refused(qmodel, evaluator, images, labels):
    exploration = explore(evaluator, evaluations=10, population_size=5, progress=False)
    other = Evaluator(qmodel, images, (labels + 1) % 5, batch_size=40)
    with pytest.raises(DataError, match="explore again"):
        BitWidthPanel(other, exploration=exploration)
    with pytest.raises(DataError, match="another model"):
        BitWidthPanel(evaluator, exploration=dataclasses.replace(exploration, names=("a", "b")))
    with pytest.raises(DataError, match="another model"):
        table = dataclasses.replace(exploration.sensitivities, names=("a", "b", "c", "d"))
        BitWidthPanel(evaluator, sensitivities=table)
    for least in (85, -1, float("nan"), "a"):
        with pytest.raises(SearchError, match="min_accuracy"):
            BitWidthPanel(evaluator, min_accuracy=least)


def test_picks_stay_within_the_limits_and_take_what_is_shown(qmodel, evaluator):
    exploration = explore(evaluator, min_accuracy=0.3, full_passes=40, progress=False)
    panel = BitWidthPanel(evaluator, 3, 16, exploration=exploration)
    panel.toolbar.least.value = 30
    panel.toolbar.cheapest.click()
    assert panel.wait(60) and min(panel.bit_widths) >= 3 and not panel.readout.message.value
    assert min(min(point.bit_widths) for point in exploration.front_evaluations) == 2
    for point in panel.session.points.front:
        assert min(point.bit_widths) >= 3
        shown = round(point.score, 4)
        found = panel.session.points.cheapest(shown)
        assert round(found.score, 4) >= shown and found.total_bits <= point.total_bits


def test_of_a_checked_front_a_button_picks_what_surely_loses_no_more(qmodel, evaluator):
    generator = torch.Generator().manual_seed(7)
    more = torch.randn(600, 1, 6, 6, generator=generator)
    begun, qmodel.bit_widths = qmodel.bit_widths, [None] * 4
    with torch.no_grad():
        answers = qmodel(more).argmax(1)
    qmodel.bit_widths = begun
    exploration = explore(evaluator, min_accuracy=0.3, evaluations=40, progress=False)
    checked = exploration.check(Evaluator(qmodel, more, answers))
    panel = BitWidthPanel(evaluator, exploration=exploration, checked=checked)
    assert panel.toolbar.surest in panel.toolbar.widget.children
    middle = sorted(checked.high)[len(checked.high) // 2]
    panel.toolbar.drop.value = 100 * middle + 0.001
    panel.toolbar.surest.click()
    assert panel.wait(60) and not panel.readout.message.value
    surest = checked.cheapest(middle)
    assert panel.bit_widths == surest.bit_widths
    assert f"on the hold-out set {surest.text}, drop " in readout(panel)
    panel.toolbar.drop.value = 0.01
    panel.toolbar.surest.click()
    assert "no setting of the front loses at most" in panel.readout.message.value
    assert panel.bit_widths == surest.bit_widths
    panel.set_all(2)
    assert "hold-out" not in readout(panel) or (2, 2, 2, 2) in checked.texts()
    panel.close()
    plain = BitWidthPanel(evaluator, exploration=exploration)
    assert plain.toolbar.surest not in plain.toolbar.widget.children
    plain.close()
    with pytest.raises(SearchError, match="checked is of another front"):
        BitWidthPanel(evaluator, checked=checked)


def test_a_limit_above_the_float_model_leaves_the_axis_the_right_way_up(qmodel, evaluator, images, labels):
    wrong = Evaluator(qmodel, images, (labels + 1) % 5, batch_size=40)
    panel = BitWidthPanel(wrong, min_accuracy=0.9)
    low, high = panel.front.widget.layout.yaxis.range
    assert low < high and panel.wait(60)


def test_a_setting_that_the_figure_does_not_reach_is_an_arrow_at_its_edge(qmodel, evaluator):
    panel = BitWidthPanel(evaluator, min_accuracy=0.9)
    assert panel.wait(60)
    low, high = panel.front.widget.layout.yaxis.range
    evaluation = panel.set_bit_widths([2] * 4)
    assert evaluation.score < low
    now = panel.front._trace("now")
    assert now.marker.symbol == "triangle-down" and low < now.y[0] < high and not now.error_y.array
    assert evaluation.text in now.text[0]
    panel.equalizer.moving = [2, 2, 2, 3]
    assert panel.wait(60)
    predicted = panel.front._trace("predicted")
    assert predicted.marker.symbol == "triangle-down-open" and low < predicted.y[0] < high
    panel.equalizer.release([2, 2, 2, 2])
    # As a double click does.
    panel.front.widget.layout.yaxis.autorange = True
    assert panel.wait(60)
    assert now.marker.symbol == "diamond" and now.y[0] == evaluation.score
    panel.front.widget.layout.update(yaxis={"autorange": False, "range": [low, high]})
    assert now.marker.symbol == "triangle-down"
    panel.set_bit_widths([8] * 4)
    assert now.marker.symbol == "diamond" and now.y[0] == panel.evaluation.score
    assert panel.wait(60)


def test_a_page_that_connects_later_is_told_what_the_figure_shows_now(panel):
    for widths in ([3] * 4, [4] * 4):
        panel.set_bit_widths(widths)
    assert panel.wait(60)
    state = panel.front.widget.get_state()
    shown = {trace["meta"]: trace for trace in state["_widget_data"]}
    for trace in panel.front.widget.data:
        assert list(shown[trace.meta]["x"]) == list(trace.x)
    assert sum(len(trace["x"]) for trace in shown.values()) > 4
    panel.front.widget.layout.xaxis.range = [10, 20]
    assert panel.front.widget.get_state()["_widget_layout"]["xaxis"]["range"] == [10, 20]


def test_a_hand_that_lets_go_where_it_was_sees_the_measurement(panel, measured):
    panel.equalizer.moving = [8, 8, 3, 8]
    assert "predicted" in readout(panel)
    with panel.equalizer.hold_trait_notifications():  # as the page says it
        panel.equalizer.moving = []
        panel.equalizer.bit_widths = [8] * 4
        panel.equalizer.releases += 1
    assert panel.wait(60) and not panel.session.measuring.moving
    assert "measured" in readout(panel) and "predicted" not in readout(panel) and ">32</b>" in readout(panel)


def test_two_settings_are_compared(panel):
    panel.hold("A")
    assert panel.wait(60)
    panel.set_bit_widths({"conv1": 3})
    panel.hold("B")
    assert panel.wait(60)
    assert panel.comparison.differing == ("conv1",)
    assert "saves 5 bits" in panel.comparison.summary()
    held = panel.comparison.held["B"]
    assert held.classes.sum(dim=1).tolist() == [round(96 * held.evaluation.score), 96]


def test_beside_a_and_b_stands_the_present_setting_while_somebody_looks(panel, evaluator):
    panel.set_bit_widths({"conv1": 3})
    assert panel.wait(60) and "now" not in panel.comparison.held
    panel._pages.selected_index = panel._pages.titles.index("A and B")
    assert panel.wait(60)
    assert panel.comparison.held["now"].evaluation == panel.evaluation
    panel.hold("A")
    for widths in ((8, 8, 3, 4), (8, 8, 8, 8)):  # not known, and known from before
        panel.session.load(widths)
        assert panel.wait(60)
        now = panel.comparison.held["now"]
        assert now.evaluation.bit_widths == widths == panel.bit_widths
        assert now.classes.sum(dim=1).tolist() == [round(96 * evaluator.evaluate(widths).score), 96]
    assert ">now</th>" in panel.comparison.widget.value and "B − A" not in panel.comparison.widget.value
    assert panel.comparison.differing == ()
    assert panel.comparison.summary() == "Hold a setting as B to compare."
    panel.equalizer.moving = [8, 8, 8, 3]
    assert set(panel.comparison.held) == {"A"}  # what is predicted has no classes
    panel._pages.selected_index = 0
    panel.equalizer.release((8, 8, 8, 3))
    assert panel.wait(60) and "now" not in panel.comparison.held


def test_class_names_are_refused_at_once_unless_there_is_one_for_each_class(evaluator):
    classes = evaluator.metric.by_class(
        evaluator.qmodel(evaluator.sample_images(1)), torch.tensor([0])
    ).shape[1]
    with pytest.raises(DataError, match=f"there are 1 class_names, and the model has {classes} classes"):
        BitWidthPanel(evaluator, class_names=["all"])
    with pytest.raises(DataError, match="class_names is 'abc'; give a list of names"):
        BitWidthPanel(evaluator, class_names="abc")


def test_a_model_that_is_never_right_has_a_panel(qmodel, images, labels):
    panel = BitWidthPanel(Evaluator(qmodel, images, 1 - labels.clamp(max=1), batch_size=40))
    assert panel.wait(60) and "Error" not in panel.readout.message.value
    panel.close()


def test_a_look_inside_a_layer(panel):
    panel.set_bit_widths({"conv1": 3})
    panel.equalizer.selected = "conv1"
    assert panel.wait(60)
    shown = panel.layer.shown
    assert (shown.name, shown.num_bits, len(shown.levels)) == ("conv1", 3, 8)
    panel._pages.selected_index = 1
    panel.equalizer.release((8, 8, 4, 8))
    assert panel.wait(60)
    # It follows, and stays in the background.
    assert panel.layer.shown.num_bits == 4 and panel._pages.selected_index == 1


def test_the_theme_and_width_of_the_page_reach_the_figures(panel):
    light = panel.front.widget.layout.font.color
    panel.equalizer.dark = True
    assert panel.front.widget.layout.font.color != light
    panel.equalizer.page_width = 1000
    assert panel.front.widget.layout.width == 494
    panel.equalizer.page_width = 600
    assert panel.front.widget.layout.width == 594


def test_settings_are_saved_and_loaded(panel, tmp_path, qmodel):
    panel.set_bit_widths([2, 3, None, 5])
    panel.saving.name.value = "mine"
    panel.saving.save.click()
    saved = json.loads((tmp_path / "bit_widths.json").read_text())
    assert saved["mine"]["bit_widths"] == dict(zip(qmodel.names, [2, 3, None, 5], strict=True))
    panel.set_all(8)
    panel.saving.load.click()
    assert panel.wait(60) and panel.bit_widths == (2, 3, None, 5)
    panel.saving.copy.click()
    names = {"qmodel": type("Model", (), {})()}
    exec(panel.saving.code.value, names)
    assert names["qmodel"].bit_widths == saved["mine"]["bit_widths"]
    panel.saving.png.click()
    panel.saving.csv.click()
    assert (tmp_path / "mine.png").stat().st_size > 1000
    assert (
        len((tmp_path / "bit_widths.csv").read_text().splitlines())
        == len(panel.session.points.to_frame(panel.session.qmodel.names)) + 1
    )


def test_what_is_there_is_replaced_or_deleted_by_who_says_so_twice(panel, tmp_path):
    saving, file = panel.saving, tmp_path / "bit_widths.json"

    def said():
        return panel.readout.message.value

    saving.name.value = "mine"
    saving.save.click()
    first = file.read_text()
    panel.set_bit_widths([4] * 4)
    saving.save.click()
    assert "is there: press save once more to replace it" in said() and file.read_text() == first
    saving.copy.click()
    assert "on the clipboard" in said()
    saving.name.value = "other"
    saving.save.click()
    assert list(json.loads(file.read_text())) == ["mine", "other"]
    saving.name.value = "mine"
    saving.save.click()  # what was asked before is of another name
    assert json.loads(file.read_text())["mine"] == json.loads(first)["mine"]
    saving.save.click()
    assert json.loads(file.read_text())["mine"]["total_bits"] == 16 and "saved as" in said()
    for button, path in ((saving.png, tmp_path / "mine.png"), (saving.csv, tmp_path / "bit_widths.csv")):
        button.click()
        assert "written" in said()
        path.write_text("of somebody else")
        button.click()
        assert f"press {button.description} once more to replace it" in said()
        assert path.read_text() == "of somebody else"
        button.click()
        assert "written" in said() and path.read_bytes() != b"of somebody else"
    saving.saved.value = "mine"
    saving.delete.click()
    assert "press delete once more to remove it" in said() and "mine" in file.read_text()
    saving.delete.click()
    assert list(json.loads(file.read_text())) == ["other"] and saving.saved.options == ("other",)
    for _ in range(2):
        saving.delete.click()
    assert json.loads(file.read_text()) == {} and saving.saved.value is None
    saving.delete.click()
    assert "choose a saved setting first" in said()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_setting_is_handed_over_from_the_panel(panel, tmp_path):
    panel.set_bit_widths([4, 3, None, 5])
    panel.saving.name.value = "my best/one"
    for format in ("json", "onnx"):
        panel.saving.exports[format].click()
        assert f"written: {tmp_path / f'my_best_one_{format}.{format}'}" in panel.readout.message.value
    assert "left in float: conv1; run again from there, " in panel.readout.message.value
    assert "have another answer, no output is off" in panel.readout.message.value
    for file in ("my_best_one_json.json", "my_best_one_onnx.onnx.json"):
        assert load_setting(tmp_path / file).bit_widths == (4, 3, None, 5)


def test_groups_are_blocks_or_what_matches():
    equalizer = Equalizer(["input", "b.0.x", "b.0.y", "b.1.x"])
    assert [(g["name"], g["members"]) for g in equalizer.groups] == [("b.0", [1, 2])]
    with pytest.raises(BitWidthError, match="names"):
        equalizer.set_groups({"g": ["nobody"]})


def test_sensitivities_tint_the_sliders(qmodel, images):
    equalizer = Equalizer(qmodel.names, num_bits_lower_limit=3, num_bits_upper_limit=5)
    table = sensitivity(qmodel, images[:16], progress=False)
    equalizer.show_sensitivities(table)
    assert equalizer.divergence == table.divergence[:, 1:4].tolist()


def test_limits_are_checked(qmodel, evaluator):
    with pytest.raises(SearchError, match="swap them"):
        BitWidthPanel(evaluator, 8, 2)
    with pytest.raises(BitWidthError, match="'input' is 8, and the sliders go from 2 to 6"):
        BitWidthPanel(evaluator, 2, 6)


def test_a_page_without_a_kernel_shows_numbers_and_a_picture(panel, monkeypatch):
    shown = []
    monkeypatch.setattr("qa_lib.panel.picture.display", lambda data, **options: shown.append(data))
    panel._ipython_display_()
    live, still = shown
    assert "application/vnd.jupyter.widget-view+json" in live and not live["text/plain"]
    data = still
    assert len(data["image/png"]) > 1000 and data["image/png"].strip() in data["text/html"]
    accuracy = f"{panel.evaluation.score:.4f}"
    assert data["text/plain"] == (
        f"BitWidthPanel(accuracy={accuracy}, total_bits=32, bit_widths=(8, 8, 8, 8))"
    )


def test_a_setting_says_where_it_stands():
    def scored(widths, correct):
        return setting(widths, correct, 100)

    front = [scored((2, 2), 60), scored((3, 3), 70), scored((4, 4), 80)]
    assert str(standing(front[1], front)) == "on the front"
    assert standing(scored((4, 4), 65), front).dominated_by == (2, 3)
    assert str(standing(scored((2, 3), 65), front)) == "beyond the front"
    assert str(standing(scored((2, 2), 30), front[1:], 0.5)) == "below the least score"
    assert str(standing(scored((5, 5), 10), [*front, scored((4, 5), 90)])) == "dominated by #1 and 3 more"


def test_reset_leaves_locked_layers(panel, qmodel):
    panel.set_all(4)
    panel.equalizer.lock("conv1")
    panel.session.reset()
    assert panel.wait(60) and panel.bit_widths == qmodel.bit_widths == (8, 8, 4, 8)


def test_a_closed_panel_leaves_no_widget_behind(evaluator, tmp_path):
    made = BitWidthPanel(evaluator, folder=tmp_path)
    assert made.wait(60)
    parts = list(descendants(made.widget))
    assert len(parts) > 50 and all(part.comm is not None for part in parts)
    made.close()
    assert not [part for part in parts if part.comm is not None]


def test_other_costs_are_said_wherever_the_bits_are(qmodel, evaluator, tmp_path):
    qmodel.cost_template(tmp_path / "energy.csv", widths=(2, 4, 8))
    rows = (tmp_path / "energy.csv").read_text().splitlines()
    (tmp_path / "energy.csv").write_text(
        "\n".join([rows[0], *(f"{row}{n}" for n, row in enumerate(rows[1:]))])
    )
    exploration = explore(
        evaluator, widths=[2, 4, 8], cost="peak_activation_memory", evaluations=20, progress=False
    )
    with pytest.raises(SearchError, match="does not say what 'input' costs at 3 bits"):
        BitWidthPanel(evaluator, other_costs=[tmp_path / "energy.csv"])
    panel = BitWidthPanel(evaluator, other_costs=[tmp_path / "energy.csv"], exploration=exploration)
    assert panel.wait(60)
    assert panel.session.points.cost.name == "peak activation memory"
    panel.set_bit_widths([8, 4, 2, 8])
    shown = readout(panel)
    kilobytes = panel.session.points.cost((8, 4, 2, 8))
    assert f"{kilobytes:.6g} kB" in shown and "energy <b>23 energy" in shown
    assert "peak activation memory (kB)" in panel.front.widget.layout.xaxis.title.text
    assert any(f"{kilobytes:.6g} kB" in text for text in panel.front._trace("now").text)
    panel.hold("A")
    panel.set_bit_widths([8, 4, 3, 8])  # which the table does not know
    assert "energy <b>? energy" in readout(panel)
    panel.set_bit_widths([4, 4, 2, 4])
    panel.hold("B")
    assert panel.wait(60) and "kB and" in panel.comparison.summary()
    assert not panel.readout.message.value
    panel.close()
    panel = BitWidthPanel(evaluator, cost="activation_traffic")
    assert panel.wait(60) and "activation traffic <b>" in readout(panel)
    panel.close()
    for options, message in (
        ({"cost": "latency"}, "give one of total_bits"),
        ({"other_costs": 3}, "give a list of costs"),
    ):
        with pytest.raises(SearchError, match=message):
            BitWidthPanel(evaluator, **options)


def test_weights_have_sliders_and_a_look_inside(tiny_model, images, labels):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate, weights=True)
    calibrate(qmodel, images)
    panel = BitWidthPanel(Evaluator(qmodel, images, labels), other_costs=["weight_memory"])
    assert panel.wait(60) and panel.equalizer.below == [-1] * 4 + [1, 2, 3]
    evaluation = panel.set_bit_widths({"conv2.weight": 3})
    assert evaluation.bit_widths == (8, 8, 8, 8, 8, 8, 3) and "weight memory" in readout(panel)
    panel.layer.show("conv2.weight", 3)
    assert panel.layer.shown.unit == "weight, as a share of its channel's amax"
    assert panel.layer.shown.counts.sum() == 4 * 4 * 9 and abs(panel.layer.shown.levels).max() <= 4 / 3
    assert "images" not in panel.layer._text.value
    panel.close()


def test_a_cell_that_is_run_again_makes_a_view(panel, evaluator, tmp_path):
    panel.equalizer.release((8, 8, 3, 8))
    assert panel.wait(60)
    again = BitWidthPanel(evaluator, folder=tmp_path)
    assert again.session is panel.session and again.equalizer is not panel.equalizer
    assert "measured" in readout(again) and again.bit_widths == (8, 8, 3, 8)
    again.toolbar.undo.click()
    assert again.wait(60) and panel.equalizer.widths == again.equalizer.widths == (8, 8, 8, 8)
    panel.equalizer.release((8, 3, 8, 8))
    assert again.wait(60) and again.equalizer.widths == (8, 3, 8, 8)
    again.close()
    panel.equalizer.release((8, 3, 3, 8))
    assert panel.wait(60) and "measured" in readout(panel)


def test_a_panel_that_no_page_shows_is_let_go_of_until_one_does(panel):
    says = panel.equalizer._handle_custom_msg
    says({"views": 1}, [])
    says({"views": 1}, [])
    says({"views": -1}, [])
    assert panel in panel.session.attached
    says({"views": -1}, [])
    assert panel.session.attached == ()
    panel.session.set_bit_widths({"conv1": 3})
    assert panel.equalizer.widths == (8, 8, 8, 8)
    says({"views": 1}, [])
    assert panel.wait(60) and panel.equalizer.widths == (8, 8, 3, 8) and "measured" in readout(panel)


def test_a_search_is_begun_and_stopped_from_the_panel(panel):
    note = panel.front.widget.layout.annotations[1]
    searching = panel.searching
    assert searching.stop.disabled and panel.exploration is None
    searching.passes.value = 30
    searching.begin.click()
    assert searching.begin.disabled and not searching.stop.disabled
    assert panel.session.search.wait(60) and panel.wait(60)
    assert searching.text.value.startswith("done after") and not searching.begin.disabled
    assert panel.exploration.front_evaluations and not note.visible
    searching.passes.value = 1e5
    searching.begin.click()
    searching.stop.click()
    assert panel.session.search.wait(60) and panel.exploration.interrupted


def test_the_field_of_passes_takes_what_a_search_does(panel):
    searching, least = panel.searching, panel.session.search.least_passes
    assert least > 1 and f"{least} or more" in searching.passes.tooltip
    assert "the first one alone may take some 20" in searching.passes.tooltip
    searching.passes.value = 1
    assert searching.passes.value == least
    searching.passes.value = float("nan")
    assert searching.passes.value == least
    searching.begin.click()
    assert not panel.readout.message.value
    assert panel.session.search.wait(60) and panel.exploration.full_passes >= least
    with pytest.raises(SearchError, match=f"give {least} or more"):
        panel.session.search.begin(least - 1)


def test_the_next_search_begins_once_the_one_that_was_stopped_has_ended(panel, monkeypatch):
    searching, search = panel.searching, panel.session.search
    measuring, go_on, take = threading.Event(), threading.Event(), panel.session.take
    monkeypatch.setattr(panel.session, "take", lambda e: (measuring.set(), go_on.wait(60), take(e)))
    searching.passes.value = 1e5
    searching.begin.click()
    assert measuring.wait(60)
    searching.stop.click()
    assert searching.text.value == "stopping …" and searching.begin.disabled
    searching.passes.value = search.least_passes
    searching.begin.click()
    assert searching.text.value == "stopping …, then the next search begins"
    assert not panel.readout.message.value
    go_on.set()
    assert search.wait(60) and panel.wait(60)
    assert searching.text.value.startswith("done after") and not panel.exploration.interrupted
    assert not searching.begin.disabled and searching.stop.disabled
    searching.stop.click()  # nothing runs
    assert searching.text.value.startswith("done after")


def test_an_empty_front_says_what_to_do(evaluator):
    panel = BitWidthPanel(evaluator, min_accuracy=1.0)
    assert panel.wait(60)
    nothing = not panel.session.points.front
    assert panel.front.widget.layout.annotations[1].visible == nothing
    panel.session.points.clear()
    panel.front.show_points()
    note = panel.front.widget.layout.annotations[1]
    assert note.visible and "search" in note.text


def test_the_table_holds_what_was_measured(panel):
    table = panel.table
    assert table.rows == []  # nobody looks
    table.looking = True
    assert panel.wait(60)
    points = panel.session.points
    named = [row["cells"][0][1] for row in table.rows]
    front = [f"#{n}" for n in range(1, len(points.front) + 1)]
    assert [name.split(",")[0] for name in named[: len(front)]] == front
    assert sorted(name[-12:] for name in named if "everywhere" in name) == [
        f"{n} everywhere" for n in range(2, 9)
    ]
    for row, evaluation in zip(table.rows, points.front, strict=False):
        cells = dict(zip(table.columns, row["cells"], strict=True))
        assert cells["accuracy"] == [100 * evaluation.score, evaluation.text]
        assert cells["total bits"] == [evaluation.total_bits, str(evaluation.total_bits)]
        assert row["widths"] == " ".join(map(str, evaluation.bit_widths))
    table.everything = True
    assert {row["widths"] for row in table.rows} == {
        " ".join(map(str, e.bit_widths)) for e in points.evaluations
    }
    table._handle_custom_msg({"load": "4 f 4 4"}, [])
    assert panel.wait(60) and panel.bit_widths == (4, None, 4, 4) and table.present == "4 f 4 4"
    json.dumps(table.rows, allow_nan=False)


def test_the_widths_of_the_front_are_drawn_once_somebody_looks(panel):
    assert panel.widths.figure is None
    panel._pages.selected_index = panel._pages.titles.index("widths")
    front = panel.session.points.front
    (lines,) = panel.widths.figure.data
    drawn = {dimension.label: list(dimension["values"]) for dimension in lines.dimensions}
    assert drawn["conv1"] == [e.bit_widths[1] for e in front]
    assert drawn["total bits"] == [e.total_bits for e in front]
    assert list(drawn)[-1].startswith("accuracy") and len(drawn) == 6
    panel.equalizer.dark = True
    assert panel.widths.figure.layout.font.color == panel.front.widget.layout.font.color


def test_widths_are_pasted_and_notes_are_kept(panel):
    panel.saving.pasted.value = "[4, 3, None, 5]"
    panel.saving.paste.click()
    assert panel.wait(60) and panel.bit_widths == (4, 3, None, 5)
    panel.saving.name.value, panel.saving.note.value = "mine", "for the <small> board"
    panel.saving.save.click()
    panel.saving.pasted.value = "{'conv1': 6, \"conv2\": null}"
    panel.saving.paste.click()
    assert panel.wait(60) and panel.bit_widths == (4, 3, 6, None)
    panel.saving.load.click()
    assert "for the &lt;small&gt; board" in panel.readout.message.value
    assert panel.wait(60) and panel.bit_widths == (4, 3, None, 5)
    panel.saving.pasted.value = "8 8"
    panel.saving.paste.click()
    assert "BitWidthError" in panel.readout.message.value and panel.bit_widths == (4, 3, None, 5)


def test_the_present_setting_is_measured_on_a_hold_out_set(qmodel, evaluator, images, labels):
    torch.manual_seed(5)
    others = images + 0.3 * torch.randn_like(images)
    holdout = Evaluator(qmodel, others, labels, batch_size=40)
    panel = BitWidthPanel(evaluator, holdout=holdout)
    assert panel.holdout.button in panel.toolbar.widget.children
    panel.set_bit_widths([4, 3, 3, 3])
    panel.holdout.button.click()
    assert panel.wait(60)
    found = holdout.evaluate([4, 3, 3, 3])
    assert f"on the hold-out set {found.text}, drop " in readout(panel) and "(95%)" in readout(panel)
    panel.set_bit_widths([4, 3, 3, 4])
    assert panel.wait(60) and "hold-out" not in readout(panel)
    with pytest.raises(DataError, match="are in the search set, too"):
        BitWidthPanel(evaluator, holdout=evaluator)
    plain = BitWidthPanel(evaluator)
    assert plain.holdout.button not in plain.toolbar.widget.children


def test_a_hold_out_set_of_what_is_another_model_by_now_says_nothing(
    panel, qmodel, evaluator, images, labels
):
    other = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
    calibrate(other, images.split(40), method="max")
    panel = BitWidthPanel(evaluator, holdout=Evaluator(other, images / 2, labels, batch_size=40))
    panel.holdout.button.click()
    assert panel.wait(60) and "on the hold-out set" in readout(panel)
    calibrate(qmodel, (images * 0.5).split(40))
    panel.set_bit_widths([8] * 4)
    assert "hold-out" not in readout(panel)
    panel.holdout.button.click()
    assert panel.wait(60) and "is of another model, or it was calibrated" in panel.readout.message.value
    assert "hold-out" not in readout(panel)


def test_who_points_at_a_name_sees_what_the_layer_sees(panel, monkeypatch):
    told = []
    monkeypatch.setattr(panel.equalizer, "send", told.append)
    panel.set_bit_widths({"conv1": 3})
    panel.equalizer._handle_custom_msg({"hover": "conv1"}, [])
    assert panel.wait(60)
    (found,) = [message["histogram"] for message in told if "histogram" in message]
    shown = activation_histogram(panel.session.qmodel, panel.layer.images, "conv1", 3)
    assert found["counts"] == shown.counts.tolist() and found["levels"] == shown.levels.tolist()
    assert (found["name"], found["num_bits"], found["clipped"]) == ("conv1", 3, shown.clipped)
    assert panel.bit_widths[2] == 3


def test_fronts_of_other_searches_are_drawn_beside(evaluator):
    first, second = (explore(evaluator, evaluations=12, seed=seed, progress=False) for seed in (1, 2))
    panel = BitWidthPanel(evaluator, exploration=first, beside={"another <seed>": second})
    assert panel.wait(60)
    (drawn,) = [trace for trace in panel.front.widget.data if trace.meta == "beside another <seed>"]
    front = second.front_evaluations
    assert list(drawn.x) == [e.total_bits for e in front] and list(drawn.y) == [e.score for e in front]
    assert drawn.text[0].startswith("<b>another &lt;seed&gt;, #1</b>")
    other = explore(evaluator, evaluations=12, cost=lambda widths: widths[0], progress=False)
    with pytest.raises(DataError, match="they share no axes"):
        BitWidthPanel(evaluator, exploration=first, beside={"other": other})
    with pytest.raises(DataError, match="what explore"):
        BitWidthPanel(evaluator, beside={"other": 3})
