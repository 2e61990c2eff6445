"""Every page, in dark and light, on a screen and on a phone: nothing that shuts somebody out, nothing that overflows."""

import os
import pathlib

import axe_playwright_python
from common import a_tree, api, browser, ended, expect, go_on, page, picture, run, show

AXE = (pathlib.Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
# The rules of WCAG 2.1 AA, and what is good practice besides.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PHONE = 320
THEMES = os.environ.get("THEMES", "light dark").split()
# Tallest that a status may be drawn: a line of text, whatever turns in it.
STATUS_PX = 32

answer = run("answer", question="In which trees do herons nest?")
go_on()
broken = run("broken")
hops = run("hops")
asking = run("asking")
live = run("slow")
stopped = run("slow")
tree = a_tree()
for job in (answer, broken, hops):
    ended(job)
api("POST", f"/v1/jobs/{stopped}/cancel", {"mode": "now"})
ended(stopped)

PAGES = {
    "runs": "runs",
    "run": f"runs/{answer}",
    "run-node": f"runs/{hops}?node=hop[2]/fan[0]/one",
    "run-fall": f"runs/{hops}?tab=waterfall",
    "run-funnel": f"runs/{answer}?tab=chunks",
    "run-bad": f"runs/{broken}?node=two",
    "run-wait": f"runs/{asking}",
    "run-live": f"runs/{live}",
    "run-live-fall": f"runs/{live}?tab=waterfall&node=two",
    "run-stopped": f"runs/{stopped}",
    "run-tree": f"runs/{tree}?node=search",
    "compare": f"diff?a={answer}&b={hops}",
    "flows": "flows",
    "flow": "flows/hops",
    "flow-form": "flows/answer?tab=run",
    "flow-tests": "flows/tree?tab=tests",
    "flow-ports": "flows/answer?tab=ports",
    "flow-versions": "flows/answer?tab=versions",
    "playground": "playground?flow=answer",
    "operators": "operators",
    "operator": "operators/read.answer",
    "indexes": "indexes",
    "models": "models",
    "eval": "eval",
    "nowhere": "nothing",
}

wrong = []


def settled(it):
    """Nothing is loading any more."""
    expect(it.locator("h1").first).to_be_visible()
    expect(it.locator("[role=status].empty")).to_have_count(0)
    it.evaluate("document.fonts.ready.then(() => null)")


with browser() as shown:
    for theme in THEMES:
        for width in (1360, PHONE):
            with page(shown, theme, width, 860 if width > PHONE else 700) as it:
                # Not as a script of the page, which its policy would refuse.
                session = it.context.new_cdp_session(it)
                for name, where in PAGES.items():
                    show(it, where)
                    settled(it)
                    if name == "run-tree":
                        it.get_by_role("tab", name="Tree").click()
                        expect(it.get_by_role("tree")).to_be_visible()
                    picture(it, f"look-{name}-{theme}-{width}")
                    if it.evaluate("document.documentElement.scrollWidth > innerWidth"):
                        wrong.append(f"{name} overflows at {width}")
                    tallest = it.evaluate("Math.max(0, ...[...document.querySelectorAll('.status, .dot')].map((one) => one.getBoundingClientRect().height))")
                    if tallest > STATUS_PX:
                        wrong.append(f"{name} at {width}: a status is {tallest} px tall")
                    if not it.title().endswith(" · Anabranch"):
                        wrong.append(f"{name} is called {it.title()!r}")
                    session.send("Runtime.evaluate", {"expression": AXE})
                    # Colours that are on their way are no colours to be judged.
                    it.evaluate("document.getAnimations().forEach((one) => one.effect?.getComputedTiming().iterations === Infinity ? one.cancel() : one.finish())")
                    found = it.evaluate("(tags) => axe.run({ runOnly: tags })", TAGS)
                    for one in found["violations"]:
                        nodes = "\n    ".join(node["html"][:200] + " " + node["failureSummary"].replace("\n", " ") for node in one["nodes"][:3])
                        wrong.append(f"{name}, {theme}, {width}: {one['impact']} {one['id']}: {one['help']}\n    {nodes}")

assert not wrong, "\n".join(wrong)
print("nothing found on", len(PAGES), "pages")
