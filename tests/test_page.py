"""The page: what it shows in a browser, that it computes as Python does, and that it runs nothing of strangers."""

import contextlib
import json
import re
import shutil
import subprocess
import sys

import pytest

from speed_test.compare import page, read, speeds, table, text
from speed_test.results import GENERATION_COLUMNS
from tests.made_csvs import compare, generation_row, ours, runs, training_row, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")

# Opens the page, keeps what the console says and what is requested, runs the test's own lines, prints `seen`.
BROWSER = """
import json, sys
from playwright.sync_api import sync_playwright

seen = {"console": [], "requests": []}
with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: seen["console"].append(message.text))
    page.on("pageerror", lambda error: seen["console"].append(str(error)))
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.goto(sys.argv[2])
    exec(sys.argv[3])
    browser.close()
print(json.dumps(seen))
"""


def browse(path, script):
    """What `script`, Python lines that fill the dict `seen` from `page`, sees on the page at `path`."""
    pytest.importorskip("playwright")
    done = subprocess.run(
        [sys.executable, "-c", BROWSER, CHROMIUM, path.as_uri(), script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["console"] == []
    assert [url for url in seen["requests"] if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    return seen


def written(folder, *arguments):
    """The page of all CSVs in `folder`."""
    path = folder / "page.html"
    done = compare(f"--html={path}", "--format=json", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return path


BASELINE_SCALE_AND_SORTING = """
def speeds():
    cells = page.locator("#pytorch_cifar100-speeds tbody tr").all()
    return {row.locator("th").text_content(): row.locator("td").first.text_content() for row in cells}

def axis():
    return page.evaluate("document.getElementById('pytorch_cifar100-chart')._fullLayout.yaxis.type")

def first_column():
    return page.locator("#pytorch_cifar100-times tbody td:nth-child(2)").all_text_contents()

seen["before"] = speeds()
page.select_option("#baseline", "published Apple M3")
seen["after"] = speeds()
seen["hover"] = page.evaluate("document.getElementById('pytorch_cifar100-chart').data[0].customdata[0][0]")
seen["fitting"] = axis()
page.select_option("#scale", "linear")
seen["linear"] = axis()
page.select_option("#scale", "log")
seen["log"] = axis()
page.locator("#pytorch_cifar100-times thead th").nth(1).click()
seen["up"] = first_column()
page.locator("#pytorch_cifar100-times thead th").nth(1).click()
seen["down"] = first_column()
"""


@needs_browser
def test_the_page_in_a_browser(tmp_path):
    path = written(tmp_path, "--baseline=M1 Pro")
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="http', path.read_text(encoding="utf-8"))
    seen = browse(path, BASELINE_SCALE_AND_SORTING)
    m1, m3 = ("Apple M1 Pro, 16 GPU cores, 32 GB (published)", "Apple M3, 10 GPU cores, 8 GB (published)")
    assert (seen["before"][m1], seen["before"][m3]) == ("1.00", f"{437.6 / 303.0:.2f}")
    assert (seen["after"][m1], seen["after"][m3]) == (f"{303.0 / 437.6:.2f}", "1.00")
    assert seen["hover"] == seen["after"][m1]
    assert (seen["fitting"], seen["linear"], seen["log"]) == ("log", "linear", "log")
    assert seen["up"] == seen["down"][::-1]
    assert float(seen["up"][0]) == min(map(float, seen["up"]))


def all_kinds(folder):
    """CSVs with grades, failures, several kinds of figures, several models, and tests that nobody knows."""
    ours(folder)
    ours(folder, machine="A", chip="Chip A", seconds=(90.0, 60.5, 92.0))
    ours(folder, machine="A", chip="Chip A", seconds=(30.0, 31.0), data="synthetic")
    failed = {"epoch_seconds": "", "estimated": "", "error": "CUDA out of memory", "status": "out_of_memory"}
    rows = [
        training_row(machine="B", chip="Chip B", **cells)
        for cells in (
            {"epoch_seconds": 480.0},
            {"batch_size": 64, "epoch_seconds": 0.02},
            {"batch_size": 512, **failed},
            {"model": "MLP", "epoch_seconds": 3.0},
            {"model": "MLP", "batch_size": 64, "epoch_seconds": 2.4},
            {
                "model": "forest",
                "batch_size": "",
                "figure": "samples_per_second",
                "unit": "rows per second",
                "better": "higher",
            },
        )
    ]
    rows += [training_row(machine="C", chip="Chip C", model="MLP", epoch_seconds=8 * 3.0)]
    rows += [training_row(machine="C", chip="Chip C", model="MLP", batch_size=16, epoch_seconds=1.0)]
    rows += [training_row(machine="C", chip="Chip C", epoch_seconds=0.02)]
    write(folder / "results" / "more.csv", rows)
    rows = []
    # 1,000 and 1,001 samples per second are the same, 1,030 is faster, and 1,013 can't be told from 1,000.
    for name, rate, width in (("P", 1000, 0.002), ("Q", 1001, 0.002), ("R", 1030, 0.002), ("S", 1013, 0.01)):
        rows += runs([rate, rate * 1.001, rate * 0.999], machine=name, chip=f"Chip {name}", half_width=width)
    rows += runs([500], machine="T", chip="Chip T", blocks=1, energy_joules=2500.0, power="battery")
    write(folder / "results" / "graded.csv", rows)
    rows = [generation_row(machine="A", chip="Chip A", tokens_per_second=rate) for rate in (47.0, 48.0)]
    rows += [
        generation_row(machine=name, chip=f"Chip {name}", model="tiny", parameters=1, tokens_per_second=rate)
        for name, rate in (("A", 900.0), ("B", 1.25), ("C", 1250.0))
    ]
    write(folder / "results" / "answers.csv", rows, GENERATION_COLUMNS)


ALL_TABLES = """
def tables():
    return page.evaluate('''() => Object.fromEntries([...document.querySelectorAll("table")].map(table =>
        [table.id, [...table.rows].map(row => [...row.cells].map(cell => cell.textContent))]))''')

seen["start"] = tables()
seen["machines"] = {}
options = page.evaluate("[...document.getElementById('baseline').options].map(option => option.value)")
for key in [] if START_ONLY else options:
    page.select_option("#baseline", key)
    seen["machines"][key] = tables()
"""


def tables_of_python(compared):
    compared = compared.assign(line=compared["label"])
    found = {"overview-table": text.overview_table(compared)}
    for test, cells in compared.groupby("test"):
        for name, lines in (("times", text.figures_table(cells)), ("speeds", text.speeds_table(cells))):
            found[f"{test}-{name}"] = [["machine", *lines[0][1:]], *lines[1:]]
        if lines := text.per_joule_table(cells):
            found[f"{test}-energy"] = [["machine", *lines[0][1:]], *lines[1:]]
    return found


@needs_browser
@pytest.mark.parametrize("wanted", [None, "Chip A"])
def test_page_and_python_show_the_same_for_every_baseline(tmp_path, wanted):
    all_kinds(tmp_path)
    path = written(tmp_path, *([f"--baseline={wanted}"] if wanted else []))
    seen = browse(path, f"START_ONLY = {bool(wanted)}\n{ALL_TABLES}")
    with contextlib.chdir(tmp_path):
        measurements = list(read.published())
        for csv in read.find([tmp_path / "results"]):
            measurements += read.read(csv)[0]
    cells = table.cells(read.frame(measurements))
    assert seen["start"] == tables_of_python(speeds.compare(cells, wanted, []))
    if wanted:
        return
    assert len(seen["machines"]) - 1 == cells["machine"].nunique() == 15  # beside each test's slowest
    texts = set()
    for key, tables in seen["machines"].items():
        if key:
            assert tables == tables_of_python(speeds.compare(cells, key, []))
            texts |= {cell for lines in tables.values() for line in lines for cell in line}
    assert {"memory", "failed", "0.13", "24,000.0"} <= texts
    assert {text.split("\n")[0] for text in texts} >= {"same", "1.01 ?", "0.99 ?", "1.03", "50.0 A", "100 D"}


STRANGE = "<b>x</b>&amp;<img src=x onerror=alert(1)></script><script>alert(2)</script><!-- $a$ \u2028"


@needs_browser
def test_text_from_a_csv_is_never_markup(tmp_path):
    for number in range(2):  # two machines of one name
        ours(tmp_path, machine=f"m{number}", chip=STRANGE, model=STRANGE, dataset=STRANGE, memory_gb="", unit=STRANGE)
    rows = [generation_row(machine="m0", chip=STRANGE, model=STRANGE, parameters=1, memory_gb="", gpu_cores="")]
    write(tmp_path / "results" / "answers.csv", rows, GENERATION_COLUMNS)
    seen = browse(
        written(tmp_path),
        """
chart = page.locator("#llama2-chart")
chart.scroll_into_view_if_needed()
chart.locator(".bars .point").first.hover(force=True)
page.wait_for_selector("#llama2-chart .hoverlayer .hovertext")
seen["hover"] = chart.locator(".hoverlayer").text_content()
seen["ticks"] = chart.locator(".xtick").all_text_contents()
seen["markup"] = page.locator("main b b, main img, .chart a, main script").count()
seen["body"] = page.locator("main").inner_text()
""",
    )
    assert seen["markup"] == 0
    assert "<img src=x onerror=alert(1)></script>" in seen["body"]
    for label in (seen["hover"], "".join(seen["ticks"])):
        assert "<b>x</b>&amp;<img" in label
        assert "</script><!--" in label


def test_the_page_allows_its_own_scripts_only(tmp_path):
    policy = re.search('Content-Security-Policy" content="([^"]*)"', page.embed("let x", []))
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert len(rules["script-src"].split()) == 5  # of Plotly, charts.js, curves.js, speeds.js, page.js
    assert all(source.startswith("'sha256-") for source in rules["script-src"].split())
    assert "http" not in policy[1]


def test_json_in_the_page_has_nothing_that_means_something_to_html():
    made = page.as_json({"a": STRANGE + "\u2029"})
    assert not set(made) & set("<>&\u2028\u2029")
    assert json.loads(made) == {"a": STRANGE + "\u2029"}


WIDTHS = """
def width():
    return page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")

def cut_off():
    return page.evaluate('''() => [...document.querySelectorAll(".chart")].flatMap(chart => {
        const frame = chart.getBoundingClientRect();
        return [...chart.querySelectorAll(".bartext, .xtick, .ytick")].map(text => text.getBoundingClientRect())
            .filter(text => text.top < frame.top || text.bottom > frame.bottom
                            || text.left < frame.left || text.right > frame.right).length;
    })''')

for wanted in (1300, 400):
    page.set_viewport_size({"width": wanted, "height": 900})
    page.wait_for_timeout(300)
    seen[str(wanted)] = [width(), sum(cut_off()), page.locator(".bartext").count()]
    page.select_option("#scale", "linear")
    seen[f"{wanted} linear"] = [width(), sum(cut_off()), page.locator(".bartext").count()]
    page.select_option("#scale", "auto")
"""


@needs_browser
def test_charts_fit_the_window_and_no_figure_is_cut_off(tmp_path):
    all_kinds(tmp_path)
    for number in range(30):
        ours(tmp_path, machine=f"Chip_{number}", chip=f"Chip {number}", seconds=[100 + number])
    seen = browse(written(tmp_path), WIDTHS)
    for width in (1300, 400):
        for name in (f"{width}", f"{width} linear"):
            assert seen[name][0] == [width, width]
            assert seen[name][1] == 0
            assert seen[name][2] > 150
