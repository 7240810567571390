"""The profiler's pictures: labels and widths by their XML; zoom, search and way back in a real browser.

usage: check.py DRAW BROWSER
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

SVG = "{http://www.w3.org/2000/svg}"
WIDTH, LEFT = 1180.0, 10.0
LONG = "write_with_a_rather_long_name_that_does_not_fit"
TEMPLATE = 'std::vector<int>::operator<"&">'


class Frame:
    def __init__(self, group):
        rect = group.find(SVG + "rect")
        self.name = group.get("data-name")
        self.title = group.find(SVG + "title").text
        self.start, self.weight, self.depth = (int(group.get("data-" + key)) for key in ("from", "weight", "depth"))
        self.x, self.width, self.y = (float(rect.get(key)) for key in ("x", "width", "y"))
        label = group.find(SVG + "text")
        self.label = "" if label is None else label.text


def frames_of(name):
    root = ElementTree.parse(FOLDER / name).getroot()
    return root, [Frame(group) for group in root.iter(SVG + "g") if group.get("class") == "frame"]


class FlameGraph(unittest.TestCase):
    def check_geometry(self, frames, total):
        """Each as wide as its weight; those that one called lie on it, side by side."""
        self.assertEqual((frames[0].name, frames[0].weight, frames[0].depth), ("all", total, 0))
        for one in frames:
            self.assertAlmostEqual(one.width, one.weight / total * WIDTH, delta=0.01)
            self.assertAlmostEqual(one.x, LEFT + one.start / total * WIDTH, delta=0.01)
        for one in frames[1:]:
            below = [f for f in frames if f.depth == one.depth - 1 and f.start <= one.start
                     and one.start + one.weight <= f.start + f.weight]
            self.assertEqual(len(below), 1, one.name)
            self.assertAlmostEqual(below[0].y - one.y, 17)
        for depth in range(max(f.depth for f in frames) + 1):
            row = sorted((f for f in frames if f.depth == depth), key=lambda f: f.start)
            for one, following in zip(row, row[1:]):
                self.assertLessEqual(one.start + one.weight, following.start)

    def test_made_up(self):
        root, frames = frames_of("made_up.svg")
        self.assertEqual(root.find(SVG + "title").text, "Made <up>")
        self.check_geometry(frames, 100)
        rows = [(f.depth, f.name, f.weight) for f in frames]
        self.assertCountEqual(rows, [(0, "all", 100), (1, "main", 80), (2, "parse", 50), (3, TEMPLATE, 20), (2, LONG, 20),
                                     (1, "thread", 20), (2, "parse", 5)])
        self.assertEqual(sum(f.weight for f in frames if f.depth == 1), 100)
        by_name = {f.name: f for f in frames}
        self.assertEqual(by_name["main"].title, "main: 80 calls (80.0 %)")
        self.assertEqual(by_name["main"].label, "main")
        self.assertTrue(by_name[LONG].label.endswith(".."))
        self.assertTrue(LONG.startswith(by_name[LONG].label[:-2]))
        self.assertLess(len(by_name[LONG].label) * 6.7, by_name[LONG].width)

    def test_sqlite(self):
        root, frames = frames_of("sqlite.svg")
        total = int(root.get("data-total"))
        self.check_geometry(frames, total)
        outermost = sum(f.weight for f in frames if f.depth == 1)
        self.assertLessEqual(outermost, total)
        self.assertGreater(outermost, 0.999 * total)  # but for boxes that nobody would see
        self.assertIn("sqlite3_step", {f.label for f in frames})

    def test_needs_nothing_from_elsewhere(self):
        for name in ("made_up.svg", "sqlite.svg", "latencies.svg"):
            text = (FOLDER / name).read_text()
            self.assertEqual(set(re.findall(r"https?://[^\"']+", text)), {"http://www.w3.org/2000/svg"})
            self.assertNotRegex(text, r"href|url\(|@import")


class InABrowser(unittest.TestCase):
    """The picture itself is opened, with a script more in it that clicks and types as a user does."""

    def see(self, *actions):
        """What is shown after each action: {name: [x, width, label]} of the frames, and the texts above them."""
        script = """
        const seen = [];
        function look() {
          const shown = {};
          for (const g of document.querySelectorAll("g.frame")) {
            const box = g.querySelector("rect").getBBox();
            if (getComputedStyle(g).display === "none") continue;
            shown[g.dataset.name + "@" + g.dataset.from] = {x: box.x, width: box.width,
              label: g.querySelector("text")?.textContent ?? "", found: g.classList.contains("found"),
              fill: getComputedStyle(g.querySelector("rect")).fill};
          }
          seen.push({shown, status: document.querySelector(".status").textContent,
                     back: getComputedStyle(document.querySelector(".reset")).display !== "none"});
        }
        const at = (name, from) => document.querySelector(`g.frame[data-name="${name}"][data-from="${from}"] rect`);
        const click = e => e.dispatchEvent(new MouseEvent("click", {bubbles: true}));
        const type = keys => { for (const key of keys)
          document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true})); };
        look();
        """ + "".join(f"{action}; look();\n" for action in actions) + """
        document.documentElement.dataset.seen = JSON.stringify(seen);
        """
        text = (FOLDER / "made_up.svg").read_text()
        probed = FOLDER / "probed.svg"
        probed.write_text(text.replace("</svg>", f"<script><![CDATA[{script}]]></script></svg>"))
        dom = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={FOLDER}/browser", "--dump-dom",
             probed.as_uri()], check=True, capture_output=True, text=True, timeout=100).stdout
        return json.loads(ElementTree.fromstring(dom).get("data-seen"))

    def test_zoom(self):
        before, zoomed, deeper, back = self.see('click(at("main", 0))', 'click(at("parse", 0))',
                                                'click(document.querySelector(".reset"))')
        self.assertFalse(before["back"])
        self.assertEqual(len(before["shown"]), 7)
        self.assertAlmostEqual(before["shown"]["main@0"]["width"], 0.8 * WIDTH, delta=0.1)

        self.assertTrue(zoomed["back"])
        names = {key.split("@")[0] for key in zoomed["shown"]}
        self.assertEqual(names, {"all", "main", "parse", TEMPLATE, LONG})  # not the other thread
        self.assertNotIn("parse@80", zoomed["shown"])
        self.assertAlmostEqual(zoomed["shown"]["all@0"]["width"], WIDTH)
        self.assertAlmostEqual(zoomed["shown"]["main@0"]["width"], WIDTH)
        self.assertAlmostEqual(zoomed["shown"]["parse@0"]["width"], WIDTH * 50 / 80)
        self.assertAlmostEqual(zoomed["shown"][LONG + "@50"]["x"], LEFT + WIDTH * 50 / 80)

        self.assertAlmostEqual(deeper["shown"]["parse@0"]["width"], WIDTH)
        self.assertAlmostEqual(deeper["shown"][TEMPLATE + "@0"]["width"], WIDTH * 20 / 50)
        self.assertEqual(deeper["shown"][TEMPLATE + "@0"]["label"], TEMPLATE)
        self.assertNotIn(LONG + "@50", deeper["shown"])

        self.assertEqual(back, before)

    def test_search(self):
        before, found, cleared = self.see('type("parse")', 'type(["Escape"])')
        self.assertEqual(found["status"], '"parse": 55.0 %')  # what it called counts with it, once
        self.assertEqual({key for key, one in found["shown"].items() if one["found"]}, {"parse@0", "parse@80"})
        self.assertNotEqual(found["shown"]["parse@0"]["fill"], before["shown"]["parse@0"]["fill"])
        self.assertEqual(cleared, before)

    def test_search_can_be_corrected(self):
        *_, seen = self.see('type("maix")', 'type(["Backspace"])', 'type("N")')
        self.assertEqual(seen["status"], '"maiN": 80.0 %')


class Latencies(unittest.TestCase):
    def test_bars_and_quantiles(self):
        root = ElementTree.parse(FOLDER / "latencies.svg").getroot()
        bars = [r for r in root.iter(SVG + "rect") if r.get("class") == "bar"]
        texts = ["".join(t.itertext()) for t in root.iter(SVG + "text")]
        calls = int(re.match(r"(\d+) calls timed", texts[1]).group(1))
        self.assertEqual(texts[0], "sqlite3_step")
        self.assertEqual(sum(int(bar.get("data-count")) for bar in bars), calls)
        highest = max(int(bar.get("data-count")) for bar in bars)
        for bar in bars:
            height = max(2, 250 * int(bar.get("data-count")) / highest)  # few are to be seen, too
            self.assertAlmostEqual(float(bar.get("height")), height, delta=0.01)
            self.assertGreaterEqual(float(bar.get("x")), 60)
            self.assertLessEqual(float(bar.get("x")) + float(bar.get("width")), 60 + 820.1)
        quantiles = [t for t in root.iter(SVG + "text") if t.get("class") == "quantile"]
        self.assertEqual([t.text.split(":")[0] for t in quantiles], ["50 %", "90 %", "99 %", "99.9 %"])
        places = [float(line.get("x1")) for line in root.iter(SVG + "line") if line.get("class") == "quantile"]
        self.assertEqual(places, sorted(places))


if __name__ == "__main__":
    BROWSER = sys.argv.pop()
    DRAW = sys.argv.pop()
    with tempfile.TemporaryDirectory() as folder:
        FOLDER = pathlib.Path(folder)
        subprocess.run([DRAW, folder], check=True, timeout=100)
        unittest.main(verbosity=2)
