"""The page: grades and their reasons, what spoiled a comparison, and the curves of runs."""

from tests.made_csvs import HOME, runs, write
from tests.test_page import browse, needs_browser, written

STRANGE = "<img src=x onerror=alert(1)>\"'</td>"

SEEN = """
def cell(table, row, place):
    found = page.locator(f"#pytorch_cifar100-{table} tbody tr").filter(has_text=row).locator("td").nth(place)
    return [found.text_content(), found.get_attribute("title")]

seen["figures"] = [cell("times", "RTX 4090", place) for place in range(3)]
seen["speeds"] = [cell("speeds", "Apple M5", place) for place in range(2)]
seen["energy"] = cell("energy", "Apple M5", 0)[0]
seen["warnings"] = page.locator("#warnings li").all_text_contents()
seen["bars"] = page.evaluate('''document.getElementById("pytorch_cifar100-chart").data
    .flatMap(series => series.text).filter(text => / [ABCD]$/.test(text))''')
seen["captions"] = page.locator(".curves figcaption").all_text_contents()
seen["lines"] = page.locator(".curves polyline").count()
seen["curves of others"] = page.locator("section[aria-labelledby='pytorch_imdb-title'] .curves").count()
seen["markup"] = page.locator("main img").count()
seen["sorted"] = []
page.locator("#pytorch_cifar100-times thead th").nth(1).click()
seen["sorted"] = page.locator("#pytorch_cifar100-times tbody td:nth-child(2)").all_text_contents()
for width in (1300, 400):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(100)
    seen[str(width)] = page.evaluate("document.documentElement.scrollWidth")
    seen[f"{width} cut"] = page.evaluate('''() => [...document.querySelectorAll(".curves svg")].filter(picture => {
        const frame = picture.getBoundingClientRect();
        return frame.right > document.documentElement.clientWidth || frame.height < 50
            || [...picture.querySelectorAll("text, polyline")].map(one => one.getBoundingClientRect())
                .some(one => one.left < frame.left || one.right > frame.right + 1 || one.top < frame.top);
    }).length''')
"""


@needs_browser
def test_how_sure_figures_are(tmp_path):
    rows = runs([1000, 1001, 999], batch_size=16)
    rows += runs([1000], batch_size=32, other_load_percent=800, busiest_other_process=STRANGE)
    rows += runs([1000], batch_size=64, blocks=120 // 2, half_width=0, drift=-0.1, epochs=1, measured_seconds=240.0)
    write(tmp_path / "results" / f"{HOME}_results.csv", rows)
    other = {"machine": "Apple_M5", "chip": "Apple M5", "energy_joules": 2500.0}
    rows = runs([1012, 1020, 1006], batch_size=16, half_width=0.008, **other)
    rows += runs([1002] * 3, batch_size=32, power="battery", **other)
    write(tmp_path / "results" / "other.csv", rows)
    seen = browse(written(tmp_path, "--baseline=rtx 4090"), SEEN)

    (a, reason), (c, why), _ = seen["figures"]
    assert (a.split("\n")[0], reason, c.split("\n")[0]) == ("50.0 A", "", "50.0 C")
    assert a.split("\n")[1].startswith("±")
    assert STRANGE.split(">")[0] in why
    assert seen["markup"] == 0
    (untold, how_many), (_, same) = seen["speeds"]
    assert untold.split("\n")[0] == "1.01 ?"
    assert how_many.startswith("can't be told; ")
    assert same in ("the same", "")
    assert seen["energy"] == "20.0"
    assert seen["warnings"] == ["Apple M5, 24 GB was on battery (ResNet50 on CIFAR100, PyTorch)"]
    assert {"50.0 A", "50.0 C"} <= set(seen["bars"])
    assert seen["lines"] == 3 + 1 + 1 + 3 + 3
    assert any(one.endswith("batch size 64 first minute 1,000, sustained 900") for one in seen["captions"])
    assert seen["curves of others"] == 0
    numbers = [float(text.split()[0]) for text in seen["sorted"] if text]
    assert numbers == sorted(numbers)
    for width in (1300, 400):
        assert (seen[str(width)], seen[f"{width} cut"]) == (width, 0)
