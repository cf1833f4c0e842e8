"""The equalizer's view by itself, in a page that stands for the notebook."""

import os
import random

import pytest
from axe_playwright_python.sync_playwright import Axe

from qa_lib.panel import BitWidthPanel
from qa_lib.panel.equalizer import Equalizer
from qa_lib.panel.settings_table import SettingsTable
from qa_lib.space import Space

PAPER = {"light": "#fff", "dark": "#111"}
NAMES = ("input", "conv1", "conv2", "fc")

pytestmark = pytest.mark.slow

# What a view asks of its model, and nothing else.
MODEL = """
window.model = {
  state: null, heard: {}, sent: [],
  get(name) { return this.state[name]; },
  set(name, value) { this.sent.push([name, JSON.stringify(value)]); this.told(name, value); },
  save_changes() {},
  send(message) { this.sent.push(["send", JSON.stringify(message)]); },
  // What the kernel says.
  told(name, value) { this.state[name] = value; this.heard[`change:${name}`]?.(); },
  on(event, listener) { this.heard[event] = listener; },
  off() {},
};
"""


@pytest.fixture
def shown(browser):
    """Shows a widget, and returns the page."""
    pages = []

    def show(equalizer, *, width=640, height=480, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        pages.append(page)
        page.set_content(
            f"<html lang=en><title>a page</title><style>{equalizer._css}</style><body style='background:{PAPER[scheme]}'><main></main></body>"
        )
        page.add_script_tag(content=MODEL)
        page.evaluate("state => { window.model.state = state }", equalizer.get_state())
        page.add_script_tag(content=equalizer._esm.replace("export default", "window.view ="))
        page.evaluate("window.view.initialize?.({ model: window.model })")
        # In braces: what it returns would be called, and that takes the view away.
        page.evaluate(
            "() => { window.view.render({ model: window.model, el: document.querySelector('main') }) }"
        )
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
        "[...document.querySelectorAll('.qa-block-columns > .qa-column')].map(each =>"
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
        "[...document.querySelectorAll('.qa-block-columns > .qa-column > .qa-name')].map(e => e.getBoundingClientRect().y)"
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
    for widths in ([8, 8, 8, 7], [2, 2, 2, 2], [None, 2, 8, 8], [8, 8, 8, 8]):
        panel.equalizer.release(widths)
        assert panel.wait(60)
        below, text = height()
        assert "measured" in text and below == measured
    page.close()


MANY = (
    "input",
    *(
        f"encoder.layer.{i}.{name}"
        for i in range(33)
        for name in ("query", "key", "value", "output", "up", "down")
    ),
    "head",
)


def seen_names(page):
    """The layers that can be seen, in their box."""
    return page.evaluate("""() => {
      const {top, bottom} = document.querySelector(".qa-columns").getBoundingClientRect();
      return [...document.querySelectorAll(".qa-column")].filter(each => {
        const box = each.querySelector(".qa-slider").getBoundingClientRect();
        return box.height && box.bottom > top + 8 && box.top < bottom - 8;
      }).map(each => each.dataset.name);
    }""")


def test_two_hundred_layers_scroll_in_a_box_below_an_overview(shown):
    page = shown(Equalizer(MANY), width=1200, height=900)
    equalizer = page.locator(".qa-equalizer").bounding_box()
    assert equalizer["height"] < 430 and page.evaluate("document.body.scrollWidth <= innerWidth")
    page.wait_for_function("!document.querySelector('.qa-overview').hidden")
    bars = page.locator(".qa-bar")
    assert bars.count() == 200 and MANY[150] not in seen_names(page)
    in_view = "[...document.querySelectorAll('.qa-bar.qa-seen')].map(bar => bar.title)"
    assert page.evaluate(in_view) == seen_names(page)
    bars.nth(150).click()
    assert MANY[150] in seen_names(page)
    page.wait_for_function(
        f"[...document.querySelectorAll('.qa-bar.qa-seen')].some(bar => bar.title === '{MANY[150]}')"
    )
    assert page.evaluate(in_view) == seen_names(page)
    # The page has not moved, and names that are cut are whole for whoever hovers or listens.
    assert page.evaluate("scrollY") == 0
    assert page.get_by_label(f"num_bits of {MANY[150]}", exact=True).count() == 1
    assert page.locator(".qa-name").nth(150).inner_text().split()[0] in MANY[150]
    # All are there where there is room.
    few = shown(Equalizer(MANY[:9]), width=1200)
    few.wait_for_timeout(50)
    assert few.locator(".qa-overview").is_hidden()


def test_a_move_touches_its_own_layer_and_handle_alone(shown):
    page = shown(Equalizer(MANY), width=1200)
    page.evaluate("""() => {
      window.touched = new Set();
      new MutationObserver(all => all.forEach(({target}) => {
        const column = (target.nodeType === 3 ? target.parentElement : target).closest(".qa-column, .qa-bar, .qa-group");
        if (column) window.touched.add(column);
      })).observe(document.querySelector(".qa-equalizer"), { subtree: true, attributes: true, childList: true, characterData: true });
    }""")
    drag(page, 7, 4)
    page.wait_for_timeout(100)
    assert page.evaluate("window.touched.size") == 3  # the layer, its bar, its block's handle
    assert standing(page)[6:9] == [8, 4, 8]


def test_blocks_fold_and_layers_are_found_by_name(shown):
    page = shown(Equalizer(MANY), width=1200)
    fold = page.get_by_label("encoder.layer.0, 6 quantizers", exact=True)
    fold.click()
    assert fold.get_attribute("aria-expanded") == "false" and MANY[1] not in seen_names(page)
    page.get_by_label("num_bits of all in encoder.layer.0", exact=True).focus()
    page.keyboard.press("ArrowDown")
    assert standing(page)[:8] == [8, *[7] * 6, 8]
    page.click("text=fold all")
    assert page.locator(".qa-slider:visible").count() == 2  # input and head
    page.click("text=unfold all")
    page.fill(".qa-find", "layer.12*key")
    assert "0 of 200" in page.inner_text(".qa-count")  # a pattern is all of a name
    page.fill(".qa-find", "*layer.12*key")
    assert seen_names(page) == ["encoder.layer.12.key"] and "1 of 200" in page.inner_text(".qa-count")
    page.fill(".qa-find", ".KEY")
    assert "33 of 200" in page.inner_text(".qa-count")
    page.click("text=group these")
    assert page.input_value(".qa-find") == "" and page.locator(".qa-column:not([hidden])").count() == 200
    page.get_by_label("num_bits of all in .KEY", exact=True).focus()
    page.keyboard.press("ArrowUp")
    keys = [index for index, name in enumerate(MANY) if name.endswith(".key")]
    assert {standing(page)[index] for index in keys} == {0} and standing(page).count(0) == 33
    # What is to be seen is shown wherever it is hidden.
    page.fill(".qa-find", "query")
    page.click("text=fold all")
    page.evaluate("window.model.heard['msg:custom']({ reveal: 150 })")
    assert MANY[150] in seen_names(page) and page.locator(".qa-flash").get_attribute("data-name") == MANY[150]


def test_a_weight_that_is_found_keeps_its_layers_column(shown):
    names = ("input", "conv1", "fc", "conv1.weight", "fc.weight")
    page = shown(Equalizer(names, weights=names[3:]))
    page.fill(".qa-find", "conv1.weight")
    assert page.locator(".qa-column[data-name='conv1.weight']").is_visible()
    assert page.locator(".qa-column[data-name='fc']").is_hidden()


def focused(page):
    return page.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
    )


def test_the_keyboard_reaches_everything_in_a_few_steps(shown):
    page = shown(Equalizer(MANY), width=1200)
    page.locator(".qa-find").focus()
    steps = []
    while not steps or steps[-1] != "BODY":
        page.keyboard.press("Tab")
        at_end = page.evaluate("document.activeElement === document.body")
        steps.append("BODY" if at_end else focused(page))
    assert steps == [
        "fold all", "? keys", "num_bits of input", "lock input", "input in float", "look inside input, ", "BODY",
    ]  # fmt: skip
    page.get_by_label("num_bits of input", exact=True).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "l"):
        page.keyboard.press(key)
    assert page.evaluate("window.model.state.locked.indexOf(true)") == 2 and standing(page)[2] == 7
    page.keyboard.press("ArrowDown")  # locked
    assert standing(page)[2] == 7
    assert released(page) == [1, False]  # and nothing is measured
    page.keyboard.press("ArrowRight")
    page.keyboard.press("f")
    assert standing(page)[3] == 0 and focused(page) == f"num_bits of {MANY[3]}"
    page.keyboard.press("Enter")
    assert page.evaluate("window.model.state.selected") == MANY[3]
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "num_bits of all in encoder.layer.0"
    page.keyboard.press("?")
    assert page.locator(".qa-keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".qa-keys").is_hidden()
    page.keyboard.press("/")
    assert focused(page).startswith("find layers")


class Shown:
    """A table with rows of its own."""

    _esm, _css = SettingsTable._esm, SettingsTable._css

    def get_state(self):
        rows = [
            {
                "cells": [
                    [n, f"#{n}"],
                    [80.0 + n, f"{80 + n}.00%"],
                    [60 + 3 * (n % 5), str(60 + 3 * (n % 5))],
                ],
                "widths": f"8 {n} f",
            }
            for n in range(1, 9)
        ]
        columns = ["setting", "accuracy", "total bits"]
        return {"columns": columns, "rows": rows, "present": "8 3 f", "everything": False, "looking": False}


def first_cells(page):
    return page.locator("tbody th").all_inner_texts()


def test_settings_are_sorted_found_and_loaded(shown):
    page = shown(Shown())
    assert first_cells(page) == [f"#{n}" for n in range(1, 9)]
    assert page.locator("tr[aria-current] th").inner_text() == "#3"
    page.click("th >> text=total bits")
    assert first_cells(page) == ["#5", "#1", "#6", "#2", "#7", "#3", "#8", "#4"]
    page.keyboard.press("Enter")  # which is still on the heading
    assert first_cells(page)[0] == "#4" and page.locator("th[aria-sort=descending]").inner_text().startswith(
        "total bits"
    )
    for typed, found in {
        "bits<=63 acc>85": ["#6"], "#7": ["#7"], "8 4": ["#4"], "acc=83": ["#3"], "nothing<3": [],
    }.items():  # fmt: skip
        page.fill(".qa-find", typed)
        assert first_cells(page) == found, typed
    page.fill(".qa-find", "")
    page.get_by_label("put #6 on the sliders").focus()
    page.keyboard.press("Enter")
    assert ["send", '{"load":"8 6 f"}'] in page.evaluate("window.model.sent")
    assert ["looking", "true"] in page.evaluate("window.model.sent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("what", ["few", "many", "weights", "settings"])
def test_everybody_can_use_it(shown, what, scheme):
    """What axe finds of WCAG 2.2 AA: names, roles, contrast, focus."""
    few = Equalizer(NAMES, types=["Conv2d"] * 4)
    few.lock("conv1")
    few.divergence = [[1.0] * 7] * 4
    weighted = Equalizer((*NAMES[:2], "conv1.weight"), weights=["conv1.weight"], bit_widths=[8, None, 4])
    widgets = {"few": few, "many": Equalizer(MANY), "weights": weighted, "settings": Shown()}
    page = shown(widgets[what], width=1200, scheme=scheme)
    if what == "few":
        page.keyboard.press("Tab")
        page.click("text=? keys")
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    problems = [
        (each["id"], node["target"], node["failureSummary"])
        for each in found.response["violations"]
        for node in each["nodes"]
        if each["id"] not in ("page-has-heading-one", "region")  # of the page around it
    ]
    assert problems == []


def test_who_points_at_a_name_and_rests_is_shown_what_the_layer_sees(shown):
    page = shown(Equalizer(NAMES))
    page.locator(".qa-name").nth(1).hover()
    page.wait_for_function(
        "window.model.sent.some(([kind, what]) => kind === 'send' && what === '{\"hover\":\"conv1\"}')"
    )
    data = {
        "name": "conv1",
        "ends": [0.0, 2.0],
        "counts": [0, 5, 100, 3],
        "levels": [0.0, 1.0, 2.0, 3.0],
        "num_bits": 2,
        "clipped": 0.25,
    }
    page.evaluate("data => window.model.heard['msg:custom']({ histogram: data })", data)
    peek = page.locator(".qa-peek")
    assert (
        "25.00 % clipped" in peek.inner_text()
        and peek.locator(".qa-peek-levels").get_attribute("d").count("M") == 3
    )
    box = peek.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 640
    page.locator(".qa-find").hover()
    assert peek.is_hidden()
    page.evaluate("data => window.model.heard['msg:custom']({ histogram: data })", data)  # too late
    assert peek.is_hidden()
