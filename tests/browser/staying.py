"""Leaves pages and comes back: what was written, said or looked at is there, and nothing stands over the wrong thing."""

import json
import re

from common import browser, ended, expect, go_on, page, picture, run, show

with browser() as shown, page(shown) as it:
    # The text of a flow that is not saved, over other pages, Back, and a run of it.
    show(it, "flows/hops")
    editor = it.locator(".cm-content")
    editor.click()
    it.keyboard.press("Control+End")
    it.keyboard.type("# not saved yet")
    expect(it.get_by_text("not saved", exact=True)).to_be_visible()
    it.get_by_role("link", name="Runs").first.click()
    expect(it.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    it.go_back()
    expect(editor).to_contain_text("# not saved yet")
    it.get_by_role("button", name="Run", exact=True).first.click()
    it.get_by_role("form", name="Run the flow").get_by_role("button", name="Run").click()
    expect(it.locator(".run-head .status")).to_have_text("succeeded")
    # Of a text that has no version nothing can be submitted by name.
    expect(it.locator(".crumbs").get_by_role("link", name="hops")).to_have_count(0)
    it.get_by_role("button", name="Copy").click()
    it.get_by_role("button", name="curl").click()
    expect(it.get_by_text("Copied the command")).to_be_visible()
    assert '/retry' in it.evaluate("navigator.clipboard.readText()")
    show(it, "flows/hops")
    expect(editor).to_contain_text("# not saved yet")
    it.get_by_role("button", name="Discard").click()
    expect(it.get_by_text("not saved", exact=True)).to_have_count(0)
    expect(editor).not_to_contain_text("# not saved yet")

    # Before the editor is there, and where it cannot be had, the text is in a plain field.
    it.route("**/vendor/editor.js", lambda route: route.abort())
    it.reload()
    field = it.get_by_role("textbox", name="Source of the flow")
    expect(field).to_have_value(re.compile("^# Loops and eaches"))
    field.press("Control+End")
    field.press_sequentially("nonsense: 1")
    expect(it.get_by_role("status", name="Problems")).to_contain_text("nonsense")
    it.get_by_role("button", name="Discard").click()
    expect(it.get_by_role("status", name="Problems")).not_to_contain_text("nonsense")
    it.unroute("**/vendor/editor.js")

    # A dialog goes with the node that it is about.
    hops = run("hops", turns=1)
    ended(hops)
    show(it, f"runs/{hops}?node=last")
    expect(it.get_by_role("region", name="Node last")).to_be_visible()
    show(it, f"runs/{hops}?node=hop[1]/fan[0]/one")
    it.get_by_role("region", name="Node hop[1]/fan[0]/one").get_by_role("button", name="Edit output").click()
    expect(it.get_by_role("dialog")).to_be_visible()
    it.go_back()
    expect(it.get_by_role("region", name="Node last")).to_be_visible()
    expect(it.get_by_role("dialog")).to_have_count(0)
    # A tab that there is not is the first.
    show(it, f"runs/{hops}?tab=nonsense")
    expect(it.get_by_role("tab", name="Graph")).to_have_attribute("aria-selected", "true")
    assert "succeeded" in it.title() and it.title().endswith("Anabranch"), it.title()

    # A conversation is still there after a look into its run.
    show(it, "playground?flow=answer")
    it.get_by_label("What you want to know").fill("In which trees do herons nest?")
    it.keyboard.press("Enter")
    expect(it.locator(".told .live")).to_contain_text("Herons")
    it.get_by_role("link", name="Look into it").click()
    expect(it.locator(".run-head")).to_be_visible()
    go_on()
    expect(it.locator(".run-head .status")).to_have_text("succeeded")
    it.go_back()
    expect(it.locator(".said")).to_contain_text("In which trees")
    expect(it.locator(".told .answer strong")).to_have_text("tall trees")
    expect(it.locator(".caret")).to_have_count(0)

    # Half a label filters nothing, and says so.
    show(it, "runs?label=nonsense")
    label = it.get_by_role("textbox", name="Label, as name=value")
    expect(label).to_have_attribute("aria-invalid", "true")
    expect(it.get_by_text("not used yet")).to_be_visible()

    # A service that is away is said to be away, and back when it is.
    it.context.set_offline(True)
    away = it.get_by_role("alert").filter(has_text="cannot be reached")
    expect(away.first).to_be_visible()
    expect(it.locator("[data-row]").first).to_be_visible()
    it.get_by_role("link", name="Operators").click()
    expect(it.get_by_text("another version")).to_have_count(0)
    expect(it.locator(".page").get_by_role("alert")).to_contain_text("cannot be reached")
    picture(it, "away")
    it.context.set_offline(False)
    expect(it.get_by_role("heading", name="Operators", exact=True)).to_be_visible()
    expect(away).to_have_count(0)

    # Several evaluations side by side, none in place of another, and no file that breaks the page.
    show(it, "eval")
    figure = lambda mean: {"mean": mean, "n": 9, "interval": {"low": mean - 0.1, "high": mean + 0.1}}
    usage = {"model_calls": 0, "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "cost": 0}
    summary = lambda mean: {"flow": "answer", "data": "set", "questions": 9, "comparisons": [], "left_out": [], "variants": [
        {"name": "answer", "asked": 9, "failed": 0, "figures": {"recall@5": figure(mean), "mrr": figure(0.5)}, "usage": usage, "latency_ms": {"p50": 1, "p99": 2}, "failed_questions": []}]}
    def opened(*values):
        files = [{"name": "summary.json", "mimeType": "application/json", "buffer": json.dumps(value).encode()} for value in values]
        it.locator("input[type=file]").set_input_files(files)

    opened(summary(0.5), summary(0.7))
    together = it.get_by_role("region", name="Side by side")
    expect(together.locator(".figure").first.locator("tr")).to_have_count(2)
    # Of two that are equal neither is better.
    expect(together.locator(".figure").first.locator(".ok-text")).to_have_text("0.700")
    expect(together.locator(".figure").nth(1).locator(".ok-text")).to_have_count(0)
    opened({"variants": [{}], "flow": "x"})
    expect(it.get_by_text("cannot be opened")).to_be_visible()
    expect(it.get_by_role("region", name="Evaluation of answer")).to_have_count(2)
    picture(it, "eval-two")
