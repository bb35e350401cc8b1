"""One page with all figures, to look into: page.html, into which its scripts, Plotly and the records go.

It is a single file that asks the network for nothing: Plotly's code, 5 MB of it, stands inside.
"""

import base64
import hashlib
import json
import re
from pathlib import Path

from speed_test import replaced

TEMPLATE = Path(__file__).with_name("page.html")
NO_SCRIPTS = "script-src 'none'"
DATA = '<script id="data" type="application/json">[]</script>'
PLOTLY = '<script id="plotly"></script>'
SCRIPT = re.compile('<script src="([a-z]+[.]js)"></script>')
# Only these could end a script element, begin a comment in it, or end a line of JavaScript.
SPECIAL = re.compile("[<>&\u2028\u2029]")


def write(records: list[dict], path: Path) -> None:
    """Write the page of `records` (see speeds.records) to `path`. Raises OSError if that cannot be done."""
    from plotly.offline import get_plotlyjs

    replaced.write(path, embed(get_plotlyjs(), records).encode())


def embed(plotly: str, records: list[dict]) -> str:
    """page.html with Plotly's code, our scripts and the records inside. The browser runs these scripts only."""
    page = TEMPLATE.read_text(encoding="utf-8")
    scripts = {name: TEMPLATE.with_name(name).read_text(encoding="utf-8") for name in SCRIPT.findall(page)}
    hashes = " ".join(f"'sha256-{_sha256(code)}'" for code in (plotly, *scripts.values()))
    page = SCRIPT.sub(lambda found: f"<script>{scripts[found[1]]}</script>", page)
    page = page.replace(NO_SCRIPTS, f"script-src {hashes}", 1)
    page = page.replace(DATA, DATA.replace("[]", as_json(records)), 1)
    return page.replace(PLOTLY, PLOTLY.replace("><", f">{plotly}<"), 1)


def as_json(value: object) -> str:
    """`value` as JSON that may stand inside a script element: it has no character that means something to HTML."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _sha256(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
