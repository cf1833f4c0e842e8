"""The equalizer's view by itself, in a page that stands for the notebook."""

import os
import random

import pytest

from qa_lib.panel import BitWidthPanel
from qa_lib.panel.equalizer import Equalizer
from qa_lib.space import Space

NAMES = ("input", "conv1", "conv2", "fc")

pytestmark = pytest.mark.slow

# What a view asks of its model, and nothing else.
MODEL = """
window.model = {
  state: null, heard: {}, sent: [],
  get(name) { return this.state[name]; },
  set(name, value) { this.state[name] = value; this.sent.push([name, JSON.stringify(value)]); },
  save_changes() {}, send() {},
  // What the kernel says.
  told(name, value) { this.state[name] = value; this.heard[`change:${name}`]?.(); },
  on(event, listener) { this.heard[event] = listener; },
  off() {},
};
"""


@pytest.fixture
def shown(browser):
    """Shows an equalizer, and returns the page."""
    pages = []

    def show(equalizer):
        page = browser.new_page(viewport={"width": 640, "height": 480})
        pages.append(page)
        page.set_content(f"<style>{equalizer._css}</style><body></body>")
        page.add_script_tag(content=MODEL)
        page.evaluate("state => { window.model.state = state }", equalizer.get_state())
        assert "export default { initialize, render };" in equalizer._esm
        view = equalizer._esm.replace(
            "export default { initialize, render };", "window.view = { initialize, render };"
        )
        page.add_script_tag(content=view)
        page.evaluate("window.view.initialize({ model: window.model })")
        # In braces: what it returns would be called, and that takes the view away.
        page.evaluate("() => { window.view.render({ model: window.model, el: document.body }) }")
        return page

    yield show
    for page in pages:
        page.close()


def standing(page):
    """Where the hand has left the sliders."""
    return page.evaluate("window.model.state.bit_widths")


def press(page, index, *keys):
    page.locator(".qa-slider").nth(index).focus()
    for key in keys:
        page.keyboard.press(key)


def drag(page, index, num_bits):
    """What the browser says when a pointer drags a slider."""
    slider = page.locator(".qa-slider").nth(index)
    slider.dispatch_event("pointerdown")
    slider.evaluate(
        "(slider, to) => { slider.value = to; for (const type of ['input', 'change']) slider.dispatchEvent(new Event(type)) }",
        num_bits,
    )


def test_sliders_stop_at_the_widths_that_there_are(shown):
    space = Space.of(NAMES, (2, 8), widths={"conv1": [2, 4, 8], "input": [3, 6]})
    page = shown(Equalizer(NAMES, bit_widths=[6, 4, 8, 8], space=space))
    press(page, 1, "ArrowUp")
    assert standing(page) == [6, 8, 8, 8]
    press(page, 1, "ArrowUp")
    assert standing(page) == [6, 0, 8, 8]  # float
    press(page, 1, "ArrowDown", "ArrowDown")
    assert standing(page) == [6, 4, 8, 8]
    press(page, 0, "ArrowDown", "ArrowDown", "ArrowDown")
    assert standing(page) == [3, 4, 8, 8]  # there is nothing below
    for asked, found in ((5, 4), (6, 8), (7, 8), (3, 4), (2, 2), (9, 0)):
        drag(page, 1, asked)
        assert standing(page) == [3, found, 8, 8]
    drag(page, 3, 5)
    assert standing(page) == [3, 0, 8, 5]
    # Widths that there are not are crossed out.
    crossed = page.locator(".qa-column").nth(1).locator(".qa-mark").evaluate_all(
        "marks => marks.map(mark => mark.classList.contains('qa-closed'))"
    )  # fmt: skip
    assert crossed == [False, False, True, True, True, False, True, False]  # float, 8 down to 2


def test_what_shares_a_width_moves_and_is_locked_together(shown):
    space = Space.of(NAMES, (2, 8), tied=[["conv1", "fc"]])
    page = shown(Equalizer(NAMES, space=space))
    drag(page, 3, 5)
    assert standing(page) == [8, 5, 8, 5]
    press(page, 1, "ArrowDown")
    assert standing(page) == [8, 4, 8, 4]
    page.locator(".qa-column").nth(1).get_by_label("lock conv1").click()
    assert page.evaluate("window.model.state.locked") == [False, True, False, True]
    assert "moves together with fc" in page.locator(".qa-name").nth(1).get_attribute("title")


def test_a_group_moves_each_to_a_width_that_it_has(shown):
    space = Space.of(NAMES, (2, 8), widths={"conv1": [2, 4, 8]})
    page = shown(Equalizer(NAMES, space=space, groups={"convs": ["conv1", "conv2"]}))
    page.locator(".qa-handle").evaluate(
        "(slider) => { slider.value = 5; for (const type of ['input', 'change']) slider.dispatchEvent(new Event(type)) }"
    )
    assert standing(page) == [8, 4, 5, 8]


def test_without_rules_all_widths_are_there(shown):
    page = shown(Equalizer(NAMES))
    for num_bits in range(2, 9):
        drag(page, 2, num_bits)
        assert standing(page) == [8, 8, num_bits, 8]
    assert page.locator(".qa-closed").count() == 0


def test_the_slider_of_a_weight_stands_below_its_layers(shown):
    names = ("input", "conv1", "fc", "conv1.weight", "fc.weight", "other.weight")
    page = shown(Equalizer(names, bit_widths=[8, 8, 8, 6, 5, 4], weights=names[3:]))
    below = page.evaluate(
        "[...document.querySelectorAll('.qa-columns > .qa-column')].map(each =>"
        " [each.dataset.name, ...[...each.querySelectorAll('.qa-column')].map(inner => inner.dataset.name)])"
    )
    assert below == [["input"], ["conv1", "conv1.weight"], ["fc", "fc.weight"], ["other.weight"]]
    slider = page.get_by_label("num_bits of conv1.weight")
    box, layer = slider.bounding_box(), page.get_by_label("num_bits of conv1", exact=True).bounding_box()
    assert box["y"] > layer["y"] + layer["height"] and box["height"] < layer["height"]
    slider.focus()
    page.keyboard.press("ArrowDown")
    assert standing(page) == [8, 8, 8, 5, 5, 4]
    tops = page.evaluate(
        "[...document.querySelectorAll('.qa-columns > .qa-column > .qa-name')].map(e => e.getBoundingClientRect().y)"
    )
    assert len({round(top) for top in tops[:3]}) == 1  # names in one line
    page.get_by_label("num_bits of all in all weights").focus()
    page.keyboard.press("ArrowUp")
    assert len(set(standing(page)[3:])) == 1 and standing(page)[:3] == [8, 8, 8]


def released(page):
    """How often a hand was seen to let go, and whether one is still at it."""
    return page.evaluate("[window.model.state.releases, window.model.state.moving.length > 0]")


def at(page, index, num_bits):
    """Where the thumb of a slider is at a width, in pixels of the window; 9 is float."""
    box = page.locator(".qa-slider").nth(index).bounding_box()
    inside = box["height"] - 16  # half a thumb at either end
    return box["x"] + box["width"] / 2, box["y"] + 8 + inside * (9 - num_bits) / 7


def test_a_hand_that_returns_to_where_it_began_lets_go(shown):
    page = shown(Equalizer(NAMES, bit_widths=[6, 4, 8, 8]))
    page.mouse.move(*at(page, 1, 4))
    page.mouse.down()
    for num_bits in (5, 6, 5, 4):
        page.mouse.move(*at(page, 1, num_bits), steps=3)
    page.wait_for_function("window.model.state.moving.length > 0")
    page.mouse.up()
    assert released(page) == [1, False] and standing(page) == [6, 4, 8, 8]


def test_sensitivities_that_arrive_leave_a_slider_in_the_hand(shown):
    page = shown(Equalizer(NAMES, bit_widths=[8, 8, 8, 8]))
    page.mouse.move(*at(page, 1, 8))
    page.mouse.down()
    page.mouse.move(*at(page, 1, 6), steps=3)
    page.evaluate("window.before = document.querySelectorAll('.qa-slider')[1]")
    page.evaluate("window.model.told('divergence', Array(4).fill([1, .1, .01, .01, .001, .0001, .00001]))")
    assert page.evaluate("window.before.isConnected && !document.querySelector('.qa-legend').hidden")
    tints = page.locator(".qa-column").nth(1).locator(".qa-mark[data-bits]").evaluate_all(
        "marks => marks.map(mark => Number(mark.style.getPropertyValue('--qa-tint')))"
    )  # fmt: skip
    assert tints == sorted(tints) and tints[-1] == 1 and tints[0] == 0
    page.mouse.move(*at(page, 1, 4), steps=3)
    page.mouse.up()
    assert released(page) == [1, False] and standing(page) == [8, 4, 8, 8]


def test_a_page_that_went_from_under_a_hand_has_let_go(shown):
    equalizer = Equalizer(NAMES)
    equalizer.moving = [8, 8, 8, 3]
    page = shown(equalizer)
    assert released(page) == [1, False] and standing(page) == [8, 8, 8, 8]


def test_five_hundred_gestures_end_where_they_were_left(shown):
    """Whatever a hand does, and whatever arrives meanwhile: when it has let go, the model has what the sliders show, and knows it."""
    page, draw = shown(Equalizer(NAMES)), random.Random(0)
    count = 0
    gestures = 100 if os.environ.get("BRIEF") else 500
    for _ in range(gestures):
        index, num_bits = draw.randrange(4), draw.randint(2, 9)
        kind = draw.choice(["drag", "click", "key", "button"])
        now = page.evaluate("(index) => window.model.state.bit_widths[index] || 9", index)
        if kind == "drag":
            page.mouse.move(*at(page, index, now))
            page.mouse.down()
            for each in (num_bits, draw.choice([now, num_bits])):
                page.mouse.move(*at(page, index, each))
                if draw.random() < 0.2:
                    page.evaluate(
                        "window.model.told('divergence', Array(4).fill(Array(7).fill(Math.random())))"
                    )
                if draw.random() < 0.2:  # of an earlier release, say
                    page.evaluate("window.model.told('bit_widths', [...window.model.state.bit_widths])")
            page.mouse.up()
        elif kind == "click":
            page.mouse.click(*at(page, index, num_bits))
        elif kind == "key":
            press(page, index, draw.choice(["ArrowUp", "ArrowDown", "Home", "End"]))
        else:
            page.locator(".qa-column").nth(index).locator(".qa-buttons button").nth(1).click()
        sliders = page.locator(".qa-slider").evaluate_all(
            "all => all.map(slider => Number(slider.value) % 9)"
        )
        seen, holding = released(page)
        assert not holding and standing(page) == sliders and seen >= count, kind
        count = seen
    assert count > 0.8 * gestures


@pytest.mark.parametrize("width", [640, 1000, 1280, 1920])
def test_nothing_below_the_readout_moves_under_a_hand(browser, evaluator, width):
    panel = BitWidthPanel(evaluator, min_accuracy=0.5)
    assert panel.wait(60)
    page = browser.new_page(viewport={"width": width, "height": 480})

    def height():
        page.set_content(
            f"<body style='margin:0;font:13px sans-serif'>{panel.readout.widget.value}<hr></body>"
        )
        return page.locator("hr").bounding_box()["y"], page.inner_text(".qa-readout")

    measured, text = height()
    assert "measured" in text
    panel.equalizer.moving = [8, 8, 8, 7]
    moving, text = height()
    assert "predicted" in text and "measured" not in text
    assert moving == measured
    page.close()
    panel.equalizer.release([8, 8, 8, 7])
    assert panel.wait(60)
