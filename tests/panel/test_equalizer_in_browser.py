"""The equalizer's view by itself, in a page that stands for the notebook."""

import pytest

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
        view = equalizer._esm.replace("export default { initialize, render };", "window.view = { render };")
        page.add_script_tag(content=view)
        page.evaluate("window.view.render({ model: window.model, el: document.body })")
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
