"""Reports in a browser, from disk: no error, no request, numbers, sorting, filters, at 1280 and 400 pixels.

The browser is Debian's chromium with its chromedriver; where they are not installed these tests are skipped.
"""

import base64
import json
import shutil

import pytest

pytest.importorskip("matplotlib")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("chromium and chromedriver (Debian's packages) are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for option in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser, pages):
    """The function `show(name, width=1280)`: opens a page from disk in a window of that width."""

    def open_page(name: str, width: int = 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(pages[name].as_uri())
        return browser

    return open_page


def rows_of(browser, name: str, shown: bool = True) -> list[list[list]]:
    """The rows that a table shows, in their order: (text, data-value) of each cell."""
    return browser.execute_script(
        """return [...document.getElementById(arguments[0]).querySelectorAll("tbody tr")]
        .filter((row) => !arguments[1] || row.getClientRects().length)
        .map((row) => [...row.cells].map((cell) => [cell.innerText, cell.dataset.value ?? null]))""",
        name,
        shown,
    )


def choose(browser, table: str, column: str, value: str) -> None:
    """Picks a value of a filter, as a user would."""
    from selenium.webdriver.support.select import Select

    path = f'//div[@id="{table}"]//label[starts-with(normalize-space(.), "{column}")]/select'
    Select(browser.find_element("xpath", path)).select_by_visible_text(value)


@pytest.mark.parametrize("name", ["run", "table", "search"])
def test_a_page_fits_its_window_asks_for_nothing_and_has_plots_to_read(show, pages, name):
    show(name).get_log("performance")
    for width in (400, 1280):
        browser = show(name, width)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.execute_script("return innerWidth") == width
        outside = browser.execute_script(
            """return [...document.querySelectorAll("svg, .scroll, p, li, select")]
            .filter((element) => element.getClientRects().length && !element.closest(".wide"))
            .filter((element) => element.getBoundingClientRect().right > innerWidth).length"""
        )
        scales = browser.execute_script(
            """return [...document.querySelectorAll("svg")]
            .map((svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"""
        )
        assert outside == 0 and min(scales) * 9.5 > 8, "the smallest text of a plot has 8 pixels"
    assert browser.get_log("browser") == []
    assert browser.title != "taken" and browser.find_elements("css selector", "main b") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} == {pages[name].as_uri()}
    for plot in browser.find_elements("css selector", "figure"):
        title = plot.find_element("tag name", "strong").text
        label = plot.find_element("tag name", "svg").get_attribute("aria-label")
        assert title and label.startswith(title)
        assert plot.find_elements("css selector", '[id*="matplotlib.axis_1"]')
    assert base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]).startswith(b"%PDF")


def test_a_heading_sorts_its_column_up_and_down_with_unknown_values_last(show, search):
    browser = show("search")
    known = sorted(trial["value"] for trial in search["trials"] if trial["value"] is not None)
    heading = browser.find_element("xpath", '//div[@id="trials"]//button[.="overall_2024"]')
    for expected, direction in ((known, "ascending"), (known[::-1], "descending")):
        heading.click()
        values = [row[2][1] for row in rows_of(browser, "trials")]
        assert [float(value) for value in values[: len(known)]] == expected
        assert values[len(known) :] == [None] * (len(values) - len(known))
        assert heading.find_element("xpath", "..").get_attribute("aria-sort") == direction
    browser.find_element("xpath", '//div[@id="trials"]//button[.="state"]').click()
    states = [row[1][0] for row in rows_of(browser, "trials")]
    assert states == sorted(states)
    assert heading.find_element("xpath", "..").get_attribute("aria-sort") == "none"


def test_trials_are_filtered_by_state(show, search):
    browser = show("search")
    expected = [trial["number"] for trial in search["trials"] if trial["state"] == "pruned"]
    for value, numbers in (("pruned", expected), ("all", list(range(24)))):
        choose(browser, "trials", "state", value)
        assert [int(row[0][1]) for row in rows_of(browser, "trials")] == numbers
        count = browser.find_element("css selector", "#trials output").text
        assert count == (f"{len(expected)} of 24 rows" if value == "pruned" else "24 rows")


def test_errors_have_a_tab_a_task_and_are_filtered(show):
    browser = show("run")
    assert not rows_of(browser, "errors-sts") and rows_of(browser, "errors-sst")
    every = rows_of(browser, "errors-sst")
    expected = every
    for column, place in (("gold", 1), ("predicted", 2)):
        value = every[0][place][0]
        choose(browser, "errors-sst", column, value)
        expected = [row for row in expected if row[place][0] == value]
        assert rows_of(browser, "errors-sst") == expected != every
    for column in ("gold", "predicted"):
        choose(browser, "errors-sst", column, "all")
    words = every[-1][0][0].split()[-2:]
    browser.find_element("css selector", "#errors-sst input").send_keys(" ".join(words).upper())
    found = rows_of(browser, "errors-sst")
    assert found == [row for row in every if all(word in " ".join(cell[0] for cell in row) for word in words)]
    assert 0 < len(found) < len(every)
    browser.find_element("xpath", '//button[@role="tab"][.="sts"]').click()
    assert not rows_of(browser, "errors-sst")
    choose(browser, "errors-sts", "gold", "1 to 2")  # scores, by the part of their range
    every = rows_of(browser, "errors-sts", shown=False)
    assert rows_of(browser, "errors-sts") == [row for row in every if 1 <= float(row[1][1]) < 2]


def test_an_error_is_read_without_scrolling_on_a_narrow_screen(show):
    browser = show("run", 400)
    outside = browser.execute_script(
        """return [...document.querySelectorAll("#errors-sst td, #errors-sst tbody th")]
        .filter((cell) => cell.getBoundingClientRect().right > innerWidth).length"""
    )
    assert outside == 0 and rows_of(browser, "errors-sst")


@pytest.mark.parametrize("name", ["run", "table", "search"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_contrast_in_light_and_dark(show, name, scheme):
    """4.5 between each text, also of plots, and what it stands on; test_chart_style.py has the marks."""
    browser = show(name)
    wanted = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
    page, weak, plots = browser.execute_script(
        """const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        const rgba = (color) => {
            probe.clearRect(0, 0, 1, 1); probe.fillStyle = color; probe.fillRect(0, 0, 1, 1);
            return [...probe.getImageData(0, 0, 1, 1).data];
        };
        const light = (color) => rgba(color).slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
        const below = (element) => {
            const color = getComputedStyle(element).backgroundColor;
            return rgba(color)[3] === 255 ? light(color) : below(element.parentElement);
        };
        const weak = [], plots = [...document.querySelectorAll("svg g[id*='-text_'] > g:not([id])")];
        const texts = [...document.querySelectorAll("body *:not(script, svg *)")].filter((element) =>
            [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
        for (const element of [...texts, ...plots]) {
            const style = getComputedStyle(element), under = below(element);
            const own = light(element.closest("svg") ? style.fill : style.color);
            if ((Math.max(own, under) + 0.05) / (Math.min(own, under) + 0.05) < 4.5)
                weak.push(element.outerHTML.slice(0, 120));
        }
        return [below(document.body), weak, plots.length];"""
    )
    assert (page < 0.1) == (scheme == "dark") and plots > 20
    assert weak == []
