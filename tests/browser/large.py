"""A run of ten thousand node executions: all of it is there, few elements are, and it can be walked through."""

import json

from common import browser, ended, expect, page, picture, run, show

# Elements that a page may have, whatever it shows.
ELEMENTS_MAX = 4_000

# How long from a key or click to the next drawing, as the browser measures it; told, and not judged here.
MEASURE = """() => { window.slow = []; new PerformanceObserver((list) => { for (const e of list.getEntries()) if (e.interactionId)
window.slow.push([e.name, Math.round(e.duration)]); }).observe({ type: 'event', durationThreshold: 16, buffered: true }); }"""

with browser() as shown, page(shown) as it:
    wide = run("wide")
    assert ended(wide)["status"] == "succeeded"
    show(it, f"runs/{wide}?tab=waterfall")
    expect(it.get_by_text("10K executions").or_(it.get_by_text("15K executions"))).to_be_visible()
    it.evaluate(MEASURE)
    it.get_by_role("button", name="Unfold all").click()
    grid = it.get_by_role("treegrid")
    expect(grid).to_have_attribute("aria-rowcount", "15003")
    n = it.evaluate("document.querySelectorAll('*').length")
    assert n <= ELEMENTS_MAX, n
    picture(it, "run-large")

    # To the end, and back; folded, and looked for.
    grid.get_by_role("row").nth(1).focus()
    it.keyboard.press("End")
    expect(grid.get_by_text("item 4999")).to_be_visible()
    it.keyboard.press("Home")
    it.keyboard.press("ArrowDown")
    it.keyboard.press("ArrowLeft")
    expect(grid).to_have_attribute("aria-rowcount", "3")
    it.keyboard.press("ArrowRight")
    expect(grid).to_have_attribute("aria-rowcount", "15003")
    it.get_by_role("searchbox", name="Find a node or operator").fill("fan[4242]/two")
    expect(grid).to_have_attribute("aria-rowcount", "2")
    grid.get_by_role("row").nth(1).click()
    expect(it.get_by_role("region", name="Node fan[4242]/two")).to_contain_text("test.work")

    # The graph shows one item, and steps to others.
    it.get_by_role("tab", name="Graph").click()
    expect(it.get_by_text("item 4242 · 5000")).to_be_visible()
    it.get_by_role("button", name="Next item of fan").click()
    expect(it.get_by_text("item 4243 · 5000")).to_be_visible()
    assert it.evaluate("document.querySelectorAll('*').length") <= ELEMENTS_MAX
    slow = it.evaluate("window.slow.sort((a, b) => b[1] - a[1]).slice(0, 5)")
    print("slowest interactions, in ms:", json.dumps(slow))
