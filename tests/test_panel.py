"""The panel driven from Python, as the sliders drive it."""

import pytest

from qa_lib import explore
from qa_lib.errors import BitWidthError, SearchError
from qa_lib.panel import BitWidthPanel


@pytest.fixture
def panel(qmodel, evaluator):
    return BitWidthPanel(qmodel, evaluator)


@pytest.fixture
def measured(evaluator, monkeypatch):
    """The widths of every measurement from here on."""
    widths = []
    measure = type(evaluator).evaluate

    def spy(self, bit_widths):
        evaluation = measure(self, bit_widths)
        widths.append(evaluation.bit_widths)
        return evaluation

    monkeypatch.setattr(type(evaluator), "evaluate", spy)
    return widths


def test_it_begins_where_the_model_is(qmodel, evaluator):
    qmodel.bit_widths = [2, 3, None, 5]
    panel = BitWidthPanel(qmodel, evaluator)
    assert panel.bit_widths == (2, 3, None, 5)
    assert panel.evaluation.correct == evaluator.evaluate([2, 3, None, 5]).correct
    assert panel.float_evaluation.accuracy == 1.0


def test_there_is_a_vertical_slider_for_each_quantizer_in_order(panel, qmodel):
    assert tuple(panel.sliders) == qmodel.names
    assert {slider.orientation for slider in panel.sliders.values()} == {"vertical"}
    assert not any(slider.continuous_update for slider in panel.sliders.values())


def test_releasing_a_slider_sets_and_measures(panel, qmodel, evaluator, measured):
    panel.sliders["conv1"].value = 2
    assert qmodel.bit_widths == (8, 8, 2, 8)
    assert measured == [(8, 8, 2, 8)]
    assert panel.evaluation.correct == evaluator.evaluate([8, 8, 2, 8]).correct
    assert f"{panel.evaluation.accuracy:.2%}" in panel._readout.value
    assert "100.00%" in panel._readout.value  # the float accuracy, beside it
    assert "<b>26</b>" in panel._readout.value


def test_the_top_of_a_slider_is_float(panel, qmodel):
    panel.sliders["conv1"].value = 0
    assert qmodel.bit_widths == (8, 8, None, 8)


def test_the_buttons_move_all_sliders_and_measure_once(panel, measured):
    panel.all_buttons[3].click()
    assert panel.bit_widths == (3, 3, 3, 3)
    panel.all_buttons[None].click()
    assert panel.bit_widths == (None, None, None, None)
    assert measured == [(3, 3, 3, 3), (None, None, None, None)]


def test_setting_widths_from_python_measures_once(panel, qmodel, measured):
    panel.set_bit_widths({"input": 4, "conv2": None})
    panel.set_bit_widths([2, 3, 4, 5])
    panel.set_all(6)
    assert measured == [(4, 8, 8, None), (2, 3, 4, 5), (6, 6, 6, 6)]
    assert panel.bit_widths == qmodel.bit_widths == (6, 6, 6, 6)


def test_a_row_of_the_front_loads(panel, qmodel, evaluator):
    front = explore(qmodel, evaluator, evaluations=20, population_size=10, progress=False).front
    row = front.iloc[0]
    assert panel.set_bit_widths(row[list(qmodel.names)].to_dict()).accuracy == row["accuracy"]


@pytest.mark.parametrize("bad", [[4] * 3, {"conv9": 4}, [4, 4, 4, 9], [4, 4, 4, 1]], ids=repr)
def test_bad_widths_leave_the_panel_as_it_was(panel, qmodel, measured, bad):
    with pytest.raises(BitWidthError):
        panel.set_bit_widths(bad)
    assert panel.bit_widths == qmodel.bit_widths == (8, 8, 8, 8)
    assert measured == []


def test_an_error_behind_a_slider_is_shown_and_not_lost(panel, qmodel):
    qmodel.remove()
    panel.sliders["conv1"].value = 3
    assert "RemovedError" in panel._message.value


def test_limits_are_checked(qmodel, evaluator):
    with pytest.raises(SearchError, match="swap them"):
        BitWidthPanel(qmodel, evaluator, 8, 2)
    with pytest.raises(BitWidthError, match="'input' is 8, and the sliders go from 2 to 6"):
        BitWidthPanel(qmodel, evaluator, 2, 6)


def test_a_page_without_a_kernel_shows_the_numbers(panel):
    data, _ = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    accuracy = f"{panel.evaluation.accuracy:.4f}"
    assert data["text/plain"] == (
        f"BitWidthPanel(accuracy={accuracy}, total_bits=32, bit_widths=(8, 8, 8, 8))"
    )
