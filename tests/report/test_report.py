"""What the page about a search holds, whatever the search was like."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from explorations import NASTY_NAMES, random_exploration, setting

import qa_lib.report.page
from qa_lib import Exploration, QAError, explore
from qa_lib.costs import WeightedBits
from qa_lib.errors import ReportError, SearchError
from qa_lib.report import plain, write_page
from qa_lib.report.figure import front_figure
from qa_lib.report.page import LARGEST_PAGE, page
from qa_lib.report.record import report
from qa_lib.report.view import view_of
from qa_lib.sensitivities import SensitivityTable

NAMES = ("input", "conv1", "conv2")


def held_data(text):
    """What the page's scripts read."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )


def contrast(one, other):
    """Of two colours, by WCAG 2."""
    light = []
    for colour in (one, other):
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        light.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(light) / min(light)


def own_part(text):
    """The page without plotly."""
    return text.replace(qa_lib.report.page._plotly(), "")


@pytest.fixture
def exploration():
    return random_exploration(NAMES, 80)


def test_the_record_says_what_the_exploration_says(exploration):
    data = report(exploration)
    front = exploration.front
    assert [p.score for p in data.front] == front["accuracy"].tolist()
    assert [p.total_bits for p in data.front] == front["total_bits"].tolist()
    assert [[int(digit) for digit in p.widths] for p in data.front] == front[list(NAMES)].to_numpy().tolist()
    assert data.baseline.widths == "000" and data.nearest is None
    assert len(data.front) + len(data.dominated) + len(data.infeasible) == 80
    assert all(p.score >= 0.6 for p in data.dominated)
    assert all(p.score < 0.6 for p in data.infeasible)


def test_wide_widths_are_one_digit_each():
    wide = Exploration(
        ("input", "conv"), (setting((16, 10), 900),), setting((None, None), 930), {}, 0, (2, 16)
    )
    assert report(wide).front[0].widths == "ga"
    assert len(report(wide).width_colours) == 15


def test_what_was_stopped_early_is_no_point():
    uniform = {2: setting((2,) * 3, 3, shown=100), 8: setting((8,) * 3, 900)}
    searched = Exploration(NAMES, tuple(uniform.values()), setting([None] * 3, 930), uniform, 0.5, (2, 8))
    data = report(searched)
    assert (data.uniform_stopped, [p.widths for p in data.uniform]) == ((2,), ["888"])
    assert data.uniform_num_bits == (8,)
    assert (data.dominated, data.infeasible) == ((), ())


def test_what_the_archive_knew_is_shown_too(exploration):
    cheap = setting((2, 2, 2), 929)
    data = report(random_exploration(NAMES, 20, archived=(cheap,)))
    assert "222" in [p.widths for p in (*data.front, *data.dominated, *data.infeasible)]


@pytest.mark.slow
def test_a_search_says_how_it_was_made(qmodel, evaluator):
    exploration = explore(evaluator, evaluations=30, population_size=8, progress=False, seed=3)
    made = exploration.made
    assert (made.model, made.search_images, made.settings["seed"]) == ("TinyNet", 96, 3)
    assert made.parameters == sum(p.numel() for p in qmodel.model.parameters())
    assert [(p.name, p.type) for p in made.quantizers[:2]] == [("input", "input"), ("shortcut", "Conv2d")]
    assert made.search_digest == evaluator.search_set.digest and made.calibration == qmodel.calibration
    assert set(made.versions) == {
        "python", "torch", "torchvision", "pytorch-quantization", "pymoo", "numpy", "qa_lib"
    }  # fmt: skip
    assert 0 < made.seconds < 600
    facts = dict(report(exploration).facts)
    assert facts["Model"].startswith("TinyNet, ")
    assert "on 96 images" in facts["Calibration"] and made.search_digest[:12] in facts["Search set"]
    assert "seed 3" in facts["Asked for"] and "evaluations 30" in facts["Asked for"]
    assert f"{len(exploration.measured)} measured" in facts["Candidates"]
    assert f"{exploration.full_passes:.1f} full passes" in facts["Cost of the search"]


def test_without_a_record_it_says_so(exploration):
    assert "nobody recorded" in dict(report(exploration).facts)["Record"]


def test_the_file_loads_nothing(exploration, tmp_path):
    write_page(exploration, tmp_path / "page.html")
    text = own_part((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert re.findall(r"https?://[^\s\"']+", text) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert not re.search(r"<(link|iframe|img|object|embed)\b|\bsrc=|@import|url\(|\bimport\(|fetch\(", text)
    assert "default-src 'none'" in text


def test_nothing_else_is_left_in_the_folder(exploration, tmp_path):
    target = tmp_path / "page.html"
    target.write_text("older")
    write_page(exploration, str(target))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_write_that_fails_leaves_the_old_page(exploration, tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("older")

    def fail(*paths):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ReportError, match="the page cannot be written"):
        write_page(exploration, target)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "older")]


def test_nasty_names_stay_names():
    text = page(random_exploration(NASTY_NAMES, 40))
    assert held_data(text)["names"] == list(NASTY_NAMES)
    assert own_part(text).count("</script>") == 3 and "<img" not in text and "window.harmed" in text
    assert text.count(qa_lib.report.page._plotly()) == 1


def test_the_title_is_escaped(qmodel, evaluator):
    type(qmodel.model).__name__ = "Net<T>&"
    try:
        exploration = explore(evaluator, evaluations=10, population_size=4, progress=False)
        assert "<title>Net&lt;T&gt;&amp;: accuracy against total bits</title>" in page(exploration)
    finally:
        type(qmodel.model).__name__ = "TinyNet"


@pytest.mark.slow
@pytest.mark.parametrize("quantizers", [17, 53, 110])
def test_many_points_are_thinned_and_the_front_is_not(quantizers, monkeypatch):
    exploration = random_exploration([f"layer.{n}" for n in range(quantizers)], 6500, min_accuracy=0.7)
    data = held_data(page(exploration))
    assert len(data["front"]) == len(exploration.front)
    shown = len(data["dominated"]) + len(data["infeasible"])
    assert 0 < shown <= 5000 and shown + sum(data["not_shown"]) + len(data["front"]) == 6500
    assert len(page(exploration).encode()) <= LARGEST_PAGE
    # Little room: still all of the front, then the nearest.
    with monkeypatch.context() as alone:
        alone.setattr(qa_lib.report.page, "MOST_OTHERS", 0)
        bare = len(page(exploration).encode())
    monkeypatch.setattr(qa_lib.report.page, "LARGEST_PAGE", bare + 200 * (quantizers + 20))
    text = page(exploration)
    tight = held_data(text)
    assert len(text.encode()) <= bare + 200 * (quantizers + 20)
    assert tight["front"] == data["front"]
    assert 0 < len(tight["dominated"]) + len(tight["infeasible"]) < 200


def test_the_nearest_to_the_front_are_kept():
    front = [setting((2, 2), 700), setting((4, 4), 900)]
    others = [setting((4, 5), 890), setting((2, 3), 650), setting((8, 8), 300), setting((3, 3), 699)]
    exploration = Exploration(
        ("input", "conv"), (*front, *others), setting((None, None), 930), {}, 0.5, (2, 8)
    )
    assert [p.widths for p in report(exploration, most_others=2).dominated] == ["33", "45"]
    assert report(exploration, most_others=2).not_shown == (1, 1)


def test_the_figure_has_each_point_of_the_front_in_its_place(exploration):
    data = report(exploration)
    drawn = front_figure(data)
    places = np.array(re.findall(r'<circle class="front" cx="([\d.]+)" cy="([\d.]+)"', drawn), float)
    front = exploration.front
    assert len(places) == len(front) and len(drawn) < 60_000
    for column, name, sign in ((0, "total_bits", 1), (1, "accuracy", -1)):
        slope, start = np.polyfit(front[name], places[:, column], 1)
        assert sign * slope > 0 and places[:, column] == pytest.approx(slope * front[name] + start, abs=0.1)
    told = [html.unescape(title) for title in re.findall("<title>(.*?)</title>", drawn)]
    first = front.iloc[0]
    assert told[
        0
    ] == f"1 of {len(front)}: {first['accuracy']:.2%}, {first['total_bits']:.0f} total bits".replace(
        "%", " %"
    )
    assert f"{data.view.below} more below" in drawn


@pytest.mark.parametrize("lower", [2, 5])
def test_what_would_squeeze_the_front_is_counted_not_shown(lower):
    points = {(10.0, 0.2), (11.0, 0.7), (20.0, 0.9)}
    view = view_of(points, [0.93], lowest=0.5 if lower == 5 else 0.0, margin=1.0)
    assert view.below == (1 if lower == 5 else 0) and view.x == ((10.0, 21.0) if lower == 5 else (9.0, 21.0))
    assert view.y[0] < (0.7 if lower == 5 else 0.2) and view.y[1] > 0.93


def test_black_and_white_text_is_legible_on_every_colour():
    for red, green, blue in np.random.default_rng(0).integers(0, 256, (200, 3)):
        background = f"#{red:02x}{green:02x}{blue:02x}"
        assert plain.readable(background).startswith(f"background: {background}; color: #")
        contrasts = [contrast(background, text) for text in ("#000000", "#ffffff")]
        chosen = "#000000" if plain.readable(background).endswith("#000") else "#ffffff"
        assert contrast(background, chosen) == max(contrasts) >= 4.5


def test_a_front_that_no_page_holds_is_refused_not_cut(exploration, monkeypatch):
    monkeypatch.setattr(qa_lib.report.page, "LARGEST_PAGE", 1_000_000)
    with pytest.raises(ReportError, match=r"not shown in part: exploration\.to_csv"):
        page(exploration)


def test_with_nothing_feasible_the_nearest_is_shown():
    exploration = random_exploration(NAMES, 50, min_accuracy=0.99)
    data = report(exploration)
    assert data.front == () and data.dominated == () and len(data.infeasible) == 50
    assert data.nearest.score == exploration.nearest.score
    assert held_data(page(exploration))["nearest"] == [*data.nearest[:-1], []]


def test_without_sensitivities():
    assert held_data(page(random_exploration(NAMES, 20, sensitivities=False)))["sensitivities"] is None


def test_sensitivities_go_with_it():
    divergence = np.array([[1.0, 1e6], [0.0, 1 / 3]])
    exploration = Exploration(
        ("input", "conv"), (setting((2, 3), 900),), setting((None, None), 930), {}, 0, (2, 3),
        sensitivities=SensitivityTable(("input", "conv"), (2, 3), divergence, 64),
    )  # fmt: skip
    expected = {"widths": [2, 3], "divergence": [[1.0, 1e6], [0.0, 0.3333]], "images": 64}
    assert held_data(page(exploration))["sensitivities"] == expected


def test_a_cost_of_the_users_own():
    exploration = random_exploration(NAMES, 40, cost=WeightedBits((1.0, 2.5, 10.0)))
    data = report(exploration)
    assert data.cost == "weighted bits" and data.title == "accuracy against weighted bits"
    assert [p.cost for p in data.front] == exploration.front["weighted_bits"].tolist()


@pytest.mark.parametrize("candidates", [(), (setting((2, 2, 2), 3, shown=100),)], ids=["nothing", "stopped"])
def test_nothing_measured_is_an_error(candidates, tmp_path):
    bare = Exploration(NAMES, candidates, setting([None] * 3, 930), {}, 0.5, (2, 8), interrupted=True)
    with pytest.raises(SearchError, match="anything was measured to the end"):
        write_page(bare, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_impossible_paths_are_errors(exploration, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (
        tmp_path,
        tmp_path / "none" / "page.html",
        tmp_path / "file" / "page.html",
        "nul\0l.html",
        3,
        "",
    ):
        with pytest.raises(ReportError, match=r"give .*for the page") as raised:
            write_page(exploration, path)
        assert isinstance(raised.value, (QAError, OSError))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_template_is_shipped():
    setup = (Path(__file__).parents[2] / "setup.py").read_text()
    assert (
        '"qa_lib.report": ["*.html", "*.css", "*.js"]' in setup
        and '"qa_lib.panel": ["*.js", "*.css"]' in setup
    )
    assert "notebooks/qa_lib.json" in setup
