"""The page about a search in a real browser, opened from disk."""

import dataclasses
import io

import pandas as pd
import pytest
import torch
from browser import SCREENSHOTS, find_chromium
from explorations import NASTY_NAMES, random_exploration, setting
from playwright.sync_api import expect
from tiny import make_tiny_model

from qa_lib import Evaluator, Exploration, QuantizedActivationsModel, calibrate, conv2d_predicate, explore
from qa_lib.costs import WeightedBits
from qa_lib.errors import SearchError
from qa_lib.report import write_page

pytestmark = pytest.mark.slow

# Where a point of the plot is, in pixels of the window.
PLACE = """([x, y]) => {
  const plot = document.getElementById("plot"), layout = plot._fullLayout, box = plot.getBoundingClientRect();
  return [box.x + layout.xaxis._offset + layout.xaxis.d2p(x), box.y + layout.yaxis._offset + layout.yaxis.d2p(y)];
}"""
SHOWN_ON_PLOT = "() => document.getElementById('plot').data.find((trace) => trace.name === 'front').x.length"


@pytest.fixture(scope="module")
def searched():
    images = torch.rand(96, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    model = make_tiny_model()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    qmodel = QuantizedActivationsModel(model, conv2d_predicate)
    calibrate(qmodel, images.split(40), method="max")
    evaluator = Evaluator(qmodel, images, labels, batch_size=40)
    found = explore(evaluator, min_accuracy=0.6, evaluations=60, population_size=12, progress=False)
    others = torch.rand(200, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return found, found.check(Evaluator(qmodel, others, model(others).argmax(dim=1)))


@pytest.fixture
def exploration(searched):
    return searched[0]


@pytest.fixture
def checked(searched):
    return searched[1]


@pytest.fixture
def opened(open_page, tmp_path):
    """Writes the page of an exploration and opens it."""

    def write_and_open(exploration, checked=None, **options):
        write_page(exploration, tmp_path / "page.html", checked)
        page = open_page(tmp_path / "page.html", **options)
        if options.get("scripts", True):
            page.wait_for_selector("html[data-ready]")
        return page

    return write_and_open


def place(page, point):
    return page.evaluate(PLACE, [int(point["total_bits"]), float(point["accuracy"])])


def strip(page):
    return page.eval_on_selector_all("#strip li", "items => items.map((item) => item.dataset.bits)")


def widths(exploration, point):
    return [str(point[name]) for name in exploration.names]


def ring(page):
    box = page.locator("#ring").bounding_box()
    return [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]


def away(page):
    page.mouse.move(2, 2)


def save_screenshot(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def test_it_opens_and_has_everything(opened, exploration):
    page = opened(exploration)
    assert page.title() == "TinyNet: accuracy against total bits"
    assert page.locator("#body tr").count() == len(exploration.front) == page.evaluate(SHOWN_ON_PLOT)
    assert page.locator("#plot svg").count()
    assert page.locator("#heatmap tbody tr").count() == len(exploration.names)
    assert "seed 1" in page.locator("#facts").inner_text()
    save_screenshot(page, "report_light")


# What is on the screen, the widths of each row among it, and ids that are there twice.
SEEN = """() => {
  const seen = (query) => [...document.querySelectorAll(query)].filter((each) => each.checkVisibility());
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  return {
    widths: [...document.querySelectorAll("#body tr")].map((row) => [...row.querySelectorAll(".widths b")]
      .filter((each) => each.checkVisibility()).map((each) => each.textContent).join(" ")).filter(Boolean),
    rows: seen("#body tr").length, figures: seen("figure > svg").length, plots: seen("#plot").length,
    tools: seen("form, #strip, #legend, #ring").length, cells: seen("#heatmap td").length, facts: seen("#facts dd").length,
    twice: ids.filter((id, index) => ids.indexOf(id) !== index),
  };
}"""
# The least contrast of a text in the tables with what is behind it, by WCAG 2.
CONTRAST = """() => {
  const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0.05);
  const behind = (each) => {
    const colour = getComputedStyle(each).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? behind(each.parentElement) : colour;
  };
  const texts = [...document.querySelectorAll("#heatmap th, #heatmap td, #body td, #body b, #head th, .note, .quiet, dt")];
  return Math.min(...texts.filter((each) => each.checkVisibility()).map((each) => {
    const pair = [light(getComputedStyle(each).color), light(behind(each))];
    return Math.max(...pair) / Math.min(...pair);
  }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_scripts_figure_widths_and_provenance_are_there(opened, exploration, checked, scheme):
    page = opened(exploration, checked, scripts=False, color_scheme=scheme, width=400)
    seen = page.evaluate(SEEN)
    every = [" ".join(widths(exploration, point)) for point in exploration.front.to_dict("records")]
    assert seen["widths"] == every and seen["rows"] == len(every)
    assert seen["figures"] == 1 and seen["facts"] > 8 and seen["cells"] == 7 * len(exploration.names)
    assert (seen["plots"], seen["tools"], seen["twice"]) == (0, 0, [])
    assert exploration.summary(checked) in page.locator("#in-words").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate(CONTRAST) >= 4.5
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('#heatmap td')).fontSize)") >= 11
    save_screenshot(page, f"report_without_scripts_{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scripts_take_over_and_print_has_every_row_with_its_widths(opened, exploration, scheme):
    page = opened(exploration, color_scheme=scheme)
    seen = page.evaluate(SEEN)
    assert (seen["figures"], seen["plots"], seen["widths"], seen["twice"]) == (0, 1, [], [])
    assert page.evaluate(CONTRAST) >= 4.5
    page.emulate_media(media="print", color_scheme=scheme)
    printed = page.evaluate(SEEN)
    every = [" ".join(widths(exploration, point)) for point in exploration.front.to_dict("records")]
    assert printed["widths"] == every and (printed["figures"], printed["plots"], printed["tools"]) == (
        1,
        0,
        0,
    )
    assert page.evaluate(CONTRAST) >= 4.5
    assert page.locator("#rows").evaluate("(box) => box.scrollHeight - box.clientHeight") <= 1


def test_a_script_that_fails_gives_the_page_back(open_page, exploration, tmp_path):
    write_page(exploration, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(
        text.replace('<div id="strip"', '<div id="stripped"'), encoding="utf-8"
    )
    page = open_page(tmp_path / "page.html", complain=False)
    seen = page.evaluate(SEEN)
    assert (seen["figures"], seen["plots"], len(seen["widths"])) == (1, 0, len(exploration.front))


def test_hovering_over_a_point_shows_its_widths(opened, exploration):
    page = opened(exploration)
    before = strip(page)
    assert len(exploration.front) >= 2
    seen = []
    for point in exploration.front.drop_duplicates(["accuracy", "total_bits"], keep="last").to_dict(
        "records"
    ):
        page.mouse.move(*place(page, point), steps=3)
        expect(page.locator("#body tr.hovered")).to_have_count(1)
        expect(page.locator("#shown-facts")).to_contain_text(f"total bits {point['total_bits']}")
        seen.append(strip(page))
        tied = exploration.front[exploration.front["total_bits"] == point["total_bits"]]
        assert seen[-1] in [widths(exploration, other) for other in tied.to_dict("records")]
        assert "accuracy" in page.locator("#plot .hoverlayer").text_content()
        assert ring(page) == pytest.approx(place(page, point), abs=1)
        away(page)
        expect(page.locator("#body tr.hovered")).to_have_count(0)
        assert strip(page) == before
    assert len({tuple(one) for one in seen}) == len(seen)


def test_a_uniform_width_on_the_front_is_one_point_with_it(opened):
    uniform = {3: setting((3, 3), 700), 4: setting((4, 4), 900)}
    exploration = Exploration(
        ("input", "conv"), tuple(uniform.values()), setting((None, None), 930), uniform, 0.5, (2, 8)
    )
    page = opened(exploration)
    page.mouse.move(*place(page, exploration.front.iloc[0]), steps=3)
    expect(page.locator("#body tr.hovered")).to_have_count(1)
    assert "Front, 1 of 2, 3 bits everywhere" in page.locator("#shown-facts").inner_text()


def test_clicking_a_point_keeps_it(opened, exploration):
    page = opened(exploration)
    point = exploration.front.iloc[0]
    page.mouse.click(*place(page, point))
    away(page)
    expect(page.locator("#body tr.hovered")).to_have_count(0)
    tied = exploration.front[exploration.front["total_bits"] == point["total_bits"]]
    assert strip(page) in [widths(exploration, other) for other in tied.to_dict("records")]
    chosen = page.locator("#body tr[aria-selected=true]")
    assert chosen.count() == 1 and f"{100 * point['accuracy']:.2f} %" in chosen.inner_text()


def test_clicking_a_row_marks_row_point_and_strip(opened, exploration):
    page = opened(exploration)
    for index, point in enumerate(exploration.front.to_dict("records")):
        page.locator("#body tr").nth(index).click()
        away(page)
        assert strip(page) == widths(exploration, point)
        assert page.locator("#body tr").nth(index).get_attribute("aria-selected") == "true"
        assert ring(page) == pytest.approx(place(page, point), abs=1)


def test_the_keyboard_is_enough(opened, exploration):
    page = opened(exploration)
    page.locator("#download").focus()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TR":
            break
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#body tr").nth(1).get_attribute("aria-selected") == "true"
    assert strip(page) == widths(exploration, exploration.front.to_dict("records")[1])


def test_the_filter_acts_on_rows_and_points(opened, exploration):
    page = opened(exploration)
    front = exploration.front
    middle = front.iloc[len(front) // 2]
    page.fill("#least-score", f"{100 * middle['accuracy']:.9f}")
    expected = int((front["accuracy"] >= middle["accuracy"]).sum())
    assert 0 < expected < len(front)
    assert page.locator("#body tr").count() == expected == page.evaluate(SHOWN_ON_PLOT)
    assert page.locator("#count").inner_text() == f"{expected} of {len(front)} shown"
    page.fill("#least-score", "")
    page.fill("#most-cost", str(middle["total_bits"]))
    expected = int((front["total_bits"] <= middle["total_bits"]).sum())
    assert page.locator("#body tr").count() == expected == page.evaluate(SHOWN_ON_PLOT)
    page.fill("#most-cost", "1")
    assert page.locator("#empty").is_visible() and page.evaluate(SHOWN_ON_PLOT) == 0
    page.get_by_text("Clear").click()
    expect(page.locator("#body tr")).to_have_count(len(front))
    assert page.evaluate(SHOWN_ON_PLOT) == len(front)


def test_what_the_front_is_worth_elsewhere_is_shown_with_its_bars(opened, exploration, checked):
    assert exploration.by == "divergence"
    page = opened(exploration, checked)
    heads = [text.replace("\n", " ") for text in page.locator("#head button").all_inner_texts()]
    assert heads == ["accuracy", "expected", "hold-out", "hold-out drop", "total bits"]
    rows = [row.split("\t") for row in page.locator("#body tr").all_inner_texts()]
    frame = checked.frame
    shown = [
        f"{100 * low:.2f} to {100 * high:.2f}".replace("-", "−")
        for low, high in zip(frame["low"], frame["high"], strict=True)
    ]
    assert [row[3].strip() for row in rows] == shown
    assert [row[2].strip() for row in rows] == [f"{100 * score:.2f} %" for score in frame["holdout_score"]]
    expected = exploration.front["expected_score"]
    assert [row[1].strip() for row in rows] == [f"{100 * score:.2f} %" for score in expected]
    bars = page.evaluate(
        "() => document.getElementById('plot').data.find((trace) => trace.name === 'hold-out').error_y.array"
    )
    assert bars == pytest.approx((frame["holdout_drop"] - frame["low"]).tolist())
    assert page.locator("#in-words").inner_text() == exploration.summary(checked)
    with pytest.raises(SearchError, match="checked is of another front"):
        opened(dataclasses.replace(exploration, min_score=0.9), checked)


@pytest.mark.parametrize("column", ["accuracy", "drop", "total bits", "mean bits"])
def test_columns_sort_both_ways(opened, exploration, column):
    page = opened(exploration)
    index = ["accuracy", "drop", "total bits", "mean bits"].index(column)
    head = page.locator("#head th").nth(index)

    def numbers():
        texts = page.locator(f"#body tr td:nth-child({index + 1})").all_inner_texts()
        return [float(text.replace(" %", "").replace("−", "-")) for text in texts]

    for _ in range(2):
        head.locator("button").click()
        descending = head.get_attribute("aria-sort") == "descending"
        assert numbers() == sorted(numbers(), reverse=descending)
    assert page.locator("#head th[aria-sort=ascending], #head th[aria-sort=descending]").count() == 1


@pytest.mark.parametrize("cost", [None, WeightedBits(tuple(range(1, 8)))], ids=["total_bits", "own_cost"])
def test_the_csv_is_the_front(opened, cost, tmp_path):
    exploration = random_exploration(NASTY_NAMES, 60, **({"cost": cost} if cost else {}))
    page = opened(exploration)
    page.fill("#most-cost", "1")  # filtered or not
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "front.csv"
    text = download.value.path().read_text(encoding="utf-8")
    exploration.to_csv(tmp_path / "front.csv")
    assert text == (tmp_path / "front.csv").read_text(encoding="utf-8")
    read = pd.read_csv(io.StringIO(text)).to_numpy(float)  # an old pandas rounds the last digit
    assert read == pytest.approx(exploration.front.to_numpy(float), rel=1e-14)


def test_points_beside_the_front_can_be_switched_off(opened):
    page = opened(random_exploration(("input", "conv1", "conv2"), 80))
    assert page.locator("#plot .scatterlayer .trace").count() == 5
    page.uncheck("#show-dominated")
    page.uncheck("#show-infeasible")
    assert page.locator("#plot .scatterlayer .trace").count() == 3


@pytest.mark.parametrize("quantizers", [17, 34, 53, 110])
@pytest.mark.parametrize("width", [800, 1280])
def test_the_page_never_scrolls_sideways_and_names_stay_readable(opened, quantizers, width):
    names = [f"features.{n}.a_block_with_a_long_name.conv" for n in range(quantizers)]
    page = opened(random_exploration(names, 60), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.eval_on_selector_all(
        "#strip li",
        "items => items.map((item) => [item.clientWidth, item.querySelector('.name').offsetHeight, item.title])",
    )
    assert len(boxes) == quantizers
    assert all(across >= 15 and length >= 100 for across, length, _ in boxes)
    assert [title.split(":")[0] for _, _, title in boxes] == names


def test_nasty_names_do_no_harm(opened):
    page = opened(random_exploration(NASTY_NAMES, 40))
    assert page.evaluate("window.harmed") is None
    titles = page.eval_on_selector_all("#strip li", "items => items.map((item) => item.title)")
    assert [title.rsplit(":", 1)[0] for title in titles] == list(NASTY_NAMES)
    assert page.locator("#heatmap tbody th").all_text_contents() == list(NASTY_NAMES)


def test_it_is_dark_where_the_reader_wants_that(opened, exploration):
    page = opened(exploration, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    text = "document.getElementById('plot')._fullLayout.font.color"
    float_line = "document.getElementById('plot')._fullLayout.shapes[0].line.color"
    assert page.evaluate(background) == "rgb(20, 23, 26)" and page.evaluate(float_line) == "#ffffff"
    dark = page.evaluate(text)
    save_screenshot(page, "report_dark")
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"(dark) => {text} !== dark", arg=dark)
    assert page.evaluate(background) == "rgb(255, 255, 255)" and page.evaluate(float_line) == "#000000"


def test_with_nothing_feasible_it_says_so(opened):
    exploration = random_exploration(("input", "conv1", "conv2"), 40, min_accuracy=0.99, sensitivities=False)
    page = opened(exploration)
    assert "reaches the minimum accuracy of 99.00 %" in page.locator("#notice").inner_text()
    assert strip(page) == [str(num_bits) for num_bits in exploration.nearest.bit_widths]
    assert page.locator("#empty").is_visible() and page.locator("#download").is_disabled()
    assert page.locator("#sensitivities").is_hidden()


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_a_browser_tests_are_skipped_but_not_in_ci(monkeypatch, ci, outcome):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(outcome, match="set CHROMIUM"):
        find_chromium()
