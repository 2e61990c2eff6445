"""Submits a run from its flow's form, watches it live, and looks into it: nodes, prompt, chunks, sources, waterfall."""

from common import browser, expect, go_on, page, picture, show

with browser() as shown, page(shown) as it:
    # Nothing yet: the page says what to do.
    show(it, "runs")
    expect(it.get_by_role("heading", name="No runs yet")).to_be_visible()
    picture(it, "runs-empty")

    # The form is made of what the flow takes, and says what is wrong.
    show(it, "flows")
    it.get_by_role("link", name="Run answer").click()
    form = it.get_by_role("form", name="Run the flow")
    expect(form.get_by_label("question")).to_be_visible()
    expect(form.get_by_label("top_k")).to_have_value("4")
    form.get_by_label("question").fill("In which trees do herons nest?")
    form.get_by_label("top_k").fill("99")
    picture(it, "flow-run")
    form.get_by_label("top_k").fill("4")
    form.get_by_role("button", name="Run").click()

    # Watched while it writes, then ended, without a reload.
    expect(it.get_by_role("heading", name="In which trees do herons nest?")).to_be_visible()
    side = it.get_by_role("complementary", name="Run")
    expect(side.get_by_text("is writing")).to_be_visible()
    expect(side.locator(".live")).to_contain_text("Herons")
    picture(it, "run-live")
    go_on()
    head = it.locator(".run-head")
    expect(head.get_by_text("succeeded")).to_be_visible()
    expect(head).to_contain_text("800 read (60% cached), 60 written")

    # What the model wrote is Markdown, and never HTML.
    answer = side.locator(".answer")
    expect(answer.locator("strong")).to_have_text("tall trees")
    expect(answer.locator("li")).to_have_count(2)
    expect(answer).to_contain_text("<img src=x onerror=alert(1)>")
    expect(it.locator(".answer img")).to_have_count(0)

    # A citation leads to its passage, in its document.
    answer.get_by_role("button", name="Source 1").click()
    source = it.get_by_role("dialog")
    expect(source.locator(".passage.here")).to_contain_text("Herons nest in the tops of tall trees")
    expect(source).to_contain_text("index birds")
    picture(it, "run-source")
    it.keyboard.press("Escape")
    expect(source).to_have_count(0)

    # Down into a node: by mouse, then by keyboard.
    graph = it.get_by_role("group", name="Graph of the flow")
    graph.get_by_role("button", name="search, retrieve.bm25").click()
    node = it.get_by_role("region", name="Node search")
    expect(node.locator(".chunk").first).to_contain_text("Herons")
    node.get_by_role("tab", name="Inputs").click()
    expect(node.get_by_text("In which trees do herons nest?")).to_be_visible()
    node.get_by_role("tab", name="Settings").click()
    expect(node).to_contain_text("${ inputs.top_k }")
    graph.get_by_role("button", name="write, read.answer").focus()
    it.keyboard.press("Enter")
    node = it.get_by_role("region", name="Node write")
    node.get_by_role("tab", name="Prompt").click()
    expect(node.locator(".message")).not_to_have_count(0)
    expect(node.locator(".message.user")).to_contain_text("In which trees do herons nest?")
    picture(it, "run-prompt")
    node.get_by_role("tab", name="Attempts").click()
    expect(node.get_by_role("table")).to_contain_text("well")

    # When everything happened.
    it.get_by_role("tab", name="Waterfall").click()
    rows = it.get_by_role("treegrid").get_by_role("row")
    expect(rows).to_have_count(4)
    rows.nth(1).focus()
    it.keyboard.press("ArrowDown")
    it.keyboard.press("Enter")
    expect(it.get_by_role("region", name="Node keep")).to_be_visible()
    it.get_by_role("searchbox", name="Find a node or operator").fill("read")
    expect(rows).to_have_count(2)
    picture(it, "run-waterfall")

    # What became of every chunk.
    it.get_by_role("tab", name="Chunks").click()
    stages = it.get_by_role("list", name="Chunks by stage")
    expect(stages.get_by_role("listitem")).to_have_count(3)
    # What the budget left out went no further.
    expect(stages.get_by_role("listitem").nth(1)).to_contain_text("2")
    expect(stages).to_contain_text("cited")
    expect(it.get_by_role("table")).to_contain_text("dropped")
    picture(it, "run-chunks")

    # Turn by turn, item by item.
    show(it, "flows/hops?tab=run")
    it.get_by_role("form").get_by_role("button", name="Run").click()
    expect(it.locator(".run-head").get_by_text("succeeded")).to_be_visible()
    expect(it.get_by_text("turn 3 of 3")).to_be_visible()
    it.get_by_role("button", name="Previous turn of hop").click()
    expect(it.get_by_text("turn 2 of 3")).to_be_visible()
    it.get_by_role("button", name="Next item of fan").click()
    it.get_by_role("button", name="one, test.work").click()
    expect(it.get_by_role("region", name="Node hop[2]/fan[1]/one")).to_be_visible()
    picture(it, "run-loop")

    # The list has both, and takes one where it says. `g r` leaves the run, and does not retry it, as `r` alone would.
    it.keyboard.press("g")
    it.keyboard.press("r")
    expect(it.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    expect(it.locator("[data-row]")).to_have_count(2)
    it.keyboard.press("/")
    it.keyboard.type("hops")
    expect(it.locator("[data-row]")).to_have_count(1)
    it.get_by_role("searchbox").fill("")
    expect(it.locator("[data-row]")).to_have_count(2)
    it.get_by_label("Flow", exact=True).select_option("answer")
    expect(it.locator("[data-row]")).to_have_count(1)
    it.locator("h1").click()
    it.keyboard.press("j")
    it.keyboard.press("Enter")
    expect(it.get_by_role("heading", name="In which trees do herons nest?")).to_be_visible()
