"""Looks at what is easily drawn wrongly: trees, searches side by side, waits, a run that was stopped."""

from common import a_tree, api, browser, ended, expect, page, picture, run, show

with browser() as shown, page(shown) as it:
    # A tree is drawn, with what was chosen, and walked through by keyboard.
    tree = a_tree()
    show(it, f"runs/{tree}?node=search")
    node = it.get_by_role("region", name="Node search")
    node.get_by_role("tab", name="Tree").click()
    drawn = node.get_by_role("tree")
    expect(drawn.get_by_role("treeitem")).to_have_count(5)
    expect(drawn.locator(".tree-node.chosen")).to_have_count(3)
    expect(drawn.locator(".edge.chosen")).to_have_count(2)
    drawn.get_by_role("treeitem", name="nothing, 64 visits").focus()
    for key in ("ArrowRight", "ArrowRight"):
        it.keyboard.press(key)
    expect(drawn.get_by_role("treeitem", name="winter.md")).to_be_focused()
    expect(node).to_contain_text("0.81")
    it.keyboard.press("ArrowLeft")
    it.keyboard.press("ArrowLeft")
    expect(drawn.get_by_role("treeitem")).to_have_count(3)
    node.get_by_text("As a table").click()
    expect(node.get_by_role("table")).to_contain_text("young.md")
    picture(it, "run-tree")

    # A chunk that one search does not find is not dropped by it; what does not fit is.
    aside = run("aside")
    ended(aside)
    show(it, f"runs/{aside}?tab=chunks")
    table = it.get_by_role("table")
    expect(table).to_be_visible()
    heads = table.locator("thead th").all_inner_texts()
    cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in table.locator("tbody tr").all()]
    for name in ("words", "other"):
        assert all(row[heads.index(name)] != "dropped" for row in cells), (heads, cells)
    assert any(row[heads.index("other")] == "·" and row[heads.index("both")] != "·" for row in cells), (heads, cells)
    assert any(row[heads.index("keep")] == "dropped" for row in cells), (heads, cells)
    picture(it, "run-aside")

    # A wait is as long as it was, and the axis has room for it.
    asking = run("asking")
    show(it, f"runs/{asking}?tab=waterfall")
    row = it.locator('[data-scope="approve"]')
    expect(row.locator(".bar.k-wait")).to_be_visible()
    it.locator(".note.wait").get_by_role("button", name="Yes").click()
    expect(it.locator(".run-head .status")).to_have_text("succeeded")
    it.reload()
    expect(row.locator(".bar.k-wait")).to_be_visible()
    timeline = api("GET", f"/v1/jobs/{asking}/timeline")
    (wait,) = [item for item in timeline["items"] if item["node"] == "approve"]
    waited = wait["ended_ms"] - wait["began_ms"] + sum(rest["rested_ms"] for rest in timeline["rests"])
    number, unit = row.locator(".fall-ms").inner_text().split(" ")
    told = float(number) * {"ms": 1, "s": 1_000}[unit]
    assert abs(told - waited) <= waited / 50 + 1, (told, waited, timeline)
    picture(it, "run-waited")

    # What is wrong with a flow's tests stands beside it.
    show(it, "flows/tree?tab=tests")
    tests = it.get_by_role("list").filter(has_text="has six of them")
    expect(tests.get_by_text("passed")).to_be_visible()
    expect(tests.get_by_text("failed")).to_be_visible()
    expect(tests).to_contain_text("output `n`")
    picture(it, "flow-tests")
