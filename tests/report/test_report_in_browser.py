"""The report in a browser: drawn without an error, sorted and filtered by keyboard, legible on a phone."""

import json
import time

import pytest

from autotune import Categorical, Estimate, Int, Space, Study
from autotune.core.cells import cell_len
from autotune.core.trial import Reason, Suggestion
from autotune.report.html import write_report
from tests_browser import browser, needs_browser, resize
from tests_views import make_view, trial

pytestmark = [pytest.mark.browser, needs_browser]
PATIENCE_S = 120


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of 40 trials, open in a browser."""
    folder = tmp_path_factory.mktemp("page")
    trials = [
        trial(i, (2 ** (i % 6), 8, 0, 1 + i % 2, 1), speed=50.0 + (37 * i) % 400, tpot=0.02 + 0.001 * i)
        for i in range(39)
    ]
    trials.append(trial(39, (32, 16, 0, 2, 2), cause="out_of_memory"))
    path = write_report(make_view(trials, state="completed", running=()), folder / "report.html")
    with browser(folder / "profile") as driver:
        resize(driver, 1366)
        driver.get(path.as_uri())
        until(driver, "return [...document.querySelectorAll('.plot')].every((box) => box.dataset.drawn)")
        yield driver


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    """A browser that opens one report after the other."""
    with browser(tmp_path_factory.mktemp("visitor")) as driver:
        yield driver


def until(driver, script):
    deadline = time.monotonic() + PATIENCE_S
    while not driver.execute_script(script):
        assert time.monotonic() < deadline, script
        time.sleep(0.05)


def numbers(driver, column):
    script = """return [...document.querySelectorAll('#trials-table tbody tr')]
        .filter((row) => !row.hidden).map((row) => row.cells[arguments[0]].textContent.trim())"""
    return driver.execute_script(script, column)


def press(driver, selector, *keys):
    """Focus an element as the keyboard does and press keys."""
    from selenium.webdriver.common.action_chains import ActionChains

    driver.execute_script("document.querySelector(arguments[0]).focus()", selector)
    assert driver.execute_script("return document.activeElement.matches(arguments[0])", selector)
    ActionChains(driver).send_keys(*keys).perform()


def test_every_figure_is_drawn_and_the_console_is_silent(page):
    drawn = page.execute_script(
        "return [...document.querySelectorAll('.plot')].filter((box) => box.querySelector('svg')).length"
    )
    assert drawn == len(page.find_elements("css selector", ".plot")) >= 10
    assert [entry["message"] for entry in page.get_log("browser")] == []


def test_no_request_leaves_the_page(page):
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"}
    assert urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:", "chrome:"))] == []


def test_the_table_sorts_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    button = "#trials-table th:nth-child(3) button"  # the goal
    press(page, button, Keys.ENTER)
    head = page.find_element("css selector", "#trials-table th:nth-child(3)")
    assert head.get_attribute("aria-sort") == "ascending"
    shown = [float(text.split()[0]) for text in numbers(page, 2) if text]
    assert shown == sorted(shown)
    assert numbers(page, 0)[-1] == "39"  # what failed has no value and comes last
    press(page, button, Keys.SPACE)
    assert head.get_attribute("aria-sort") == "descending"
    shown = [float(text.split()[0]) for text in numbers(page, 2) if text]
    assert shown == sorted(shown, reverse=True)
    assert numbers(page, 0)[-1] == "39"
    press(page, "#trials-table th:nth-child(1) button", Keys.ENTER)
    assert numbers(page, 0) == [str(i) for i in range(40)]
    assert len(page.find_elements("css selector", "#trials-table th[aria-sort]")) == 1


def test_the_table_filters_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    press(page, "#trials-filter", "out of memory")
    assert numbers(page, 0) == ["39"]
    assert page.find_element("id", "trials-shown").text == "1 of 40 trials shown"
    press(page, "#trials-filter", Keys.END, *[Keys.BACKSPACE] * len("out of memory"))
    assert len(numbers(page, 0)) == 40
    press(page, "#trials-state", "failed")
    assert numbers(page, 0) == ["39"]
    press(page, "#trials-state", Keys.HOME)
    assert len(numbers(page, 0)) == 40


FOCUSED = """const e = document.activeElement.closest('td, th');
    return e
        ? [e.closest('thead') ? 'head' : e.parentElement.cells[0].textContent.trim(), e.cellIndex]
        : null"""


def test_the_table_is_one_stop_of_the_tab_key_and_arrows_move_in_it(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def go(*keys):
        ActionChains(page).send_keys(*keys).perform()
        return page.execute_script(FOCUSED)

    def chord(*keys):
        chain = ActionChains(page).key_down(keys[0]).send_keys(keys[1]).key_up(keys[0])
        chain.perform()
        return page.execute_script(FOCUSED)

    stops = """const focusable = '#trials button, #trials summary, #trials a, #trials [tabindex]';
        return [...document.querySelectorAll(focusable)]
        .filter((e) => e.tabIndex >= 0).map((e) => e.closest('table') ? 'table' : e.id)"""
    assert page.execute_script(stops) == ["table"]
    last = page.execute_script(
        "return document.querySelector('#trials-table').tHead.rows[0].cells.length - 1"
    )
    press(page, "#trials-table th button", Keys.ARROW_DOWN)
    press(page, "#trials-state", Keys.TAB)
    assert page.execute_script(FOCUSED) == ["0", 0]
    assert go(Keys.TAB) is None, "beyond the table"
    assert chord(Keys.SHIFT, Keys.TAB) == ["0", 0], "back where it was left"
    assert go(Keys.ARROW_DOWN, Keys.ARROW_RIGHT) == ["1", 1]
    assert go(Keys.ARROW_LEFT, Keys.ARROW_LEFT) == ["1", 0], "the first column is the end"
    assert go(Keys.END) == ["1", last]
    assert go(Keys.PAGE_DOWN) == ["11", last]
    assert go(Keys.HOME) == ["11", 0]
    assert go(Keys.PAGE_UP, Keys.PAGE_UP) == ["0", 0]
    assert chord(Keys.CONTROL, Keys.END) == ["39", last]
    assert go(Keys.ARROW_DOWN) == ["39", last], "the last row is the end"
    seen = """const {top, bottom} = document.activeElement.getBoundingClientRect();
        const head = document.querySelector('#trials-table thead').getBoundingClientRect();
        return head.bottom <= top + 1 && bottom <= innerHeight"""
    until(page, seen)  # the page scrolls smoothly
    assert chord(Keys.CONTROL, Keys.HOME) == ["0", 0]
    until(page, seen)  # the page scrolls smoothly
    assert go(Keys.ARROW_UP) == ["head", 0]
    assert page.execute_script("return document.activeElement.tagName") == "BUTTON"
    assert page.execute_script(stops) == ["table"]
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in tree if not node.get("ignored")]
    assert roles.count("grid") == 1
    assert "gridcell" in roles
    assert "columnheader" in roles


def test_a_trial_opens_from_every_cell_and_sorted_and_filtered_rows_are_walked_as_shown(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def go(*keys):
        ActionChains(page).send_keys(*keys).perform()
        return page.execute_script(FOCUSED)

    opened = """return [...document.querySelectorAll('#trials-table details[open] summary')]
        .map((e) => e.textContent)"""
    press(page, "#trials-table th button", Keys.ARROW_DOWN, Keys.ENTER)
    assert page.execute_script(opened) == ["trial 0"]
    go(Keys.END, Keys.SPACE)
    assert page.execute_script(opened) == [], "the expander closes what a cell has opened"
    go(Keys.ENTER, Keys.ARROW_DOWN, Keys.ENTER)
    assert page.execute_script(opened) == ["trial 0", "trial 1"]
    press(page, "#trials-table th button", Keys.ARROW_DOWN, Keys.SPACE, Keys.ARROW_DOWN, Keys.SPACE)
    assert page.execute_script(opened) == []

    press(page, "#trials-table th:nth-child(1) button", Keys.ENTER, Keys.ENTER)  # down, whichever it was
    order = numbers(page, 0)
    assert [go(Keys.ARROW_DOWN)[0], go(Keys.ARROW_DOWN)[0]] == order[:2]
    press(page, "#trials-filter", "out of memory")
    assert (
        page.execute_script("return document.querySelectorAll('#trials-table [tabindex=\"0\"]').length") == 1
    )
    press(page, "#trials-state", Keys.TAB)
    assert page.execute_script(FOCUSED)[0] == "39", "the row that was left is hidden"
    assert go(Keys.ARROW_DOWN)[0] == "39"
    assert go(Keys.ARROW_UP)[0] == "head"
    press(page, "#trials-filter", "nothing has this")
    press(page, "#trials-state", Keys.TAB)
    assert page.execute_script(FOCUSED)[0] == "head"
    press(page, "#trials-filter", Keys.HOME, *[Keys.DELETE] * 40)
    press(page, "#trials-table th:nth-child(1) button", Keys.ENTER)
    if numbers(page, 0)[0] != "0":
        press(page, "#trials-table th:nth-child(1) button", Keys.ENTER)
    assert numbers(page, 0) == [str(i) for i in range(40)]


def test_a_phone_scrolls_no_page_sideways(page):
    resize(page, 390)
    until(page, "return document.documentElement.scrollWidth <= 390")
    resize(page, 1366)


@pytest.mark.parametrize("width", [390, 1366])
def test_what_a_row_hides_is_in_reach_however_wide_the_table_is(page, width):
    script = """const box = document.getElementById('trials-box').getBoundingClientRect();
        const table = document.getElementById('trials-table').getBoundingClientRect();
        const found = document.querySelector('#trials-table tbody summary').getBoundingClientRect();
        return [table.width > box.width, box.left <= found.left && found.right <= box.right]"""
    resize(page, width)
    assert page.execute_script(script) == [True, True]
    resize(page, 1366)


def test_on_a_phone_no_title_of_an_axis_is_cut_off_and_only_panels_side_by_side_scroll(tmp_path, visitor):
    """A page that was never wider: figures are fitted to the width that they are first drawn at."""
    trials = [
        trial(
            i, (2 ** (i % 6), (4, 8, 16)[i % 3], 0, 1 + i % 2, 1), speed=50.0 + 90 * i, tpot=0.02 + 0.001 * i
        )
        for i in range(8)
    ]
    path = write_report(make_view(trials, state="completed", running=()), tmp_path / "report.html")
    resize(visitor, 390)
    visitor.get(path.as_uri())
    until(visitor, "return [...document.querySelectorAll('.plot')].every((box) => box.dataset.drawn)")
    script = """return [...document.querySelectorAll('figure:not(.wide) .plot')].flatMap((box) => {
        const {left, right} = box.getBoundingClientRect();
        return [...box.querySelectorAll('.g-xtitle text')].filter((title) => {
            const at = title.getBoundingClientRect();
            return at.left < left - 1 || at.right > right + 1 }).map((title) => title.textContent) })"""
    assert visitor.execute_script(script) == []
    assert visitor.execute_script("return document.querySelectorAll('figure:not(.wide) .g-xtitle').length")
    wide = "return [...document.querySelectorAll('figure.wide .plot')].map((box) => box.id)"
    names = {name.split("-")[-1] for name in visitor.execute_script(wide)}
    assert "effects" in names
    script = """return [...document.querySelectorAll('.plot.stacked')].map((box) => {
        return [box.id, box.scrollWidth <= box.parentElement.clientWidth,
            box.querySelector('svg').getBoundingClientRect().right <= innerWidth] })"""
    stacked = visitor.execute_script(script)
    assert "effects" in {name.split("-")[-1] for name, *_ in stacked}
    assert all(fits and seen for _, fits, seen in stacked), "panels stand below each other"
    height = "return document.querySelector('.plot.stacked').offsetHeight"
    before = visitor.execute_script(height)
    visitor.execute_script("dispatchEvent(new Event('beforeprint'))")
    boxes = "return [...document.querySelectorAll('.plot')].map((box) => box.offsetHeight)"
    assert max(visitor.execute_script(boxes)) <= 860
    assert visitor.execute_script(height) < before, "side by side on paper"
    visitor.execute_script("dispatchEvent(new Event('afterprint'))")
    assert visitor.execute_script(height) == before
    assert [entry["message"] for entry in visitor.get_log("browser")] == []
    assert not names & {"comparison", "progress", "importance", "prediction"}


def test_a_print_keeps_to_the_paper(page):
    """What is wider than the paper makes a browser print the whole page smaller."""
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    resize(page, 688)  # A4 between its margins
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 688
        boxes = "return [...document.querySelectorAll('.plot')].map((box) => box.offsetHeight)"
        assert max(page.execute_script(boxes)) <= 860
    finally:
        page.execute_script("dispatchEvent(new Event('afterprint'))")
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        resize(page, 1366)


def test_text_stands_out_from_what_is_behind_it(page):
    """The contrast of all text is at least 4.5 to 1."""
    script = """
    const light = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    const parse = (c) => c.match(/[\\d.]+/g).map(Number);
    const bright = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
    const behind = (e) => { for (; e; e = e.parentElement) {
        const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
        return [255, 255, 255] };
    return [...document.querySelectorAll('body *')].filter((e) => !e.closest('svg') && !e.closest('script')
        && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())).map((e) => {
        const [a, b] = [bright(parse(getComputedStyle(e).color)), bright(behind(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.tagName, e.textContent.slice(0, 40)] }).filter(([r]) => r < 4.5)
    """
    assert page.execute_script(script) == []


def test_a_print_has_every_figure(page):
    found = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    assert len(found["data"]) > 50_000
    assert [entry["message"] for entry in page.get_log("browser")] == []


JSON = (
    '{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2, '
    '"disable_by_batch_size": 32, "draft_tensor_parallel_size": 1, "model": "a-model-that-drafts-quickly", '
    '"quantization": "none"}'
)


LONG = "speculative_decoding_acceptance_threshold_of_the_draft_model_" * 4


def write_study(folder, names, mode, goal, heat):
    """Write the report of a study with names of three parameters, a value, a goal and what is limited."""
    x, y, kind = names
    space = Space(
        [
            Int(x, 0, 63, default=0),
            Int(y, 1, 4, default=1),
            Categorical(kind, ["none", mode, mode[:-1] + "9"], default="none"),
        ]
    )
    objective = {"maximize": goal, "limits": [f"{heat} <= 60"]}
    with Study(space, objective, engine="random", seed=1, name="odd", path=folder / "store") as study:
        study.suggest(Suggestion(space.default_config, Reason.DEFAULT))
        for i in range(12):
            asked = study.ask()
            config = asked.config
            if i in (3, 4):
                study.tell(asked, failure="out_of_memory")
            else:
                speed = Estimate(10.0 + config[x] * config[y] + 3 * (config[kind] == "none"), 0.2)
                study.tell(asked, {goal: speed, heat: 5.0 + config[x] % 7})
        study.ledger.set_study_state("odd", "COMPLETED")
        return write_report(study.view, folder / "report.html")


@pytest.mark.parametrize(
    ("names", "mode", "goal", "heat"),
    [
        pytest.param(("x", "y", "mode"), JSON[:70], "speed", "heat", marks=pytest.mark.slow),
        (("x", "y", "mode"), JSON, "speed", "heat"),
        ((f"a_{LONG[:58]}", f"b_{LONG[:62]}", "c" * 64), "fast", f"s_{LONG[:198]}", f"h_{LONG[:118]}"),
        (("x", "y", "mode"), "\u9ad8\u901f" * 40, "\u901f\u5ea6" * 50, "\u6e29\u5ea6" * 30),
    ],
    ids=["values of 70", "values of 200", "names", "wide characters"],
)
def test_names_and_values_of_any_length_leave_room_for_what_is_drawn(
    tmp_path, visitor, names, mode, goal, heat
):
    path = write_study(tmp_path, names, mode, goal, heat)
    drawn = """return [...document.querySelectorAll('.plot')].map((box) => [box.id,
        [...box.querySelectorAll('rect.nsewdrag')].map((area) => area.getBoundingClientRect())
            .map((at) => Math.min(at.width, at.height))])"""
    labels = """return [...document.querySelectorAll('.plot .xtick text, .plot .annotation-text')]
        .map((label) => label.textContent)"""
    outside = """return [...document.querySelectorAll('.plot')].flatMap((box) => {
        const at = box.getBoundingClientRect();
        const right = at.left + Math.max(box.clientWidth, box.scrollWidth);
        return [...box.querySelectorAll('svg text')].filter((text) => {
            const own = text.getBoundingClientRect();
            return own.width && (own.left < at.left - 1 || own.right > right + 1
                || own.top < at.top - 1 || own.bottom > at.bottom + 1) })
            .map((text) => [box.id, text.textContent]) })"""
    for width in (1280, 390):
        resize(visitor, width)
        visitor.get(path.as_uri())
        until(visitor, "return [...document.querySelectorAll('.plot')].every((box) => box.dataset.drawn)")
        assert [entry["message"] for entry in visitor.get_log("browser")] == []
        found = {name.split("-")[-1]: sizes for name, sizes in visitor.execute_script(drawn)}
        wanted = {"comparison", "importance", "effects", "parallel_coordinates", "failures", "prediction"}
        assert wanted <= set(found)
        assert {name: sizes for name, sizes in found.items() if min(sizes, default=0) < 100} == {}
        assert max(map(cell_len, visitor.execute_script(labels))) <= 38  # a name and its unit
        assert visitor.execute_script(outside) == []
