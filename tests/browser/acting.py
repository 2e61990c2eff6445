"""Cancels, retries from a node, puts another result in place of a node's, answers a wait, compares two runs."""

from common import api, browser, ended, expect, page, picture, run, show

with browser() as shown, page(shown) as it:
    # Cancel one that is watched.
    slow = run("slow")
    show(it, f"runs/{slow}")
    expect(it.get_by_role("button", name="two, test.work, running")).to_be_visible()
    it.get_by_role("button", name="Cancel").click()
    it.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(it.locator(".run-head .status")).to_have_text("cancelled")
    assert ended(slow)["status"] == "cancelled"

    # Cancel many, from the list, with the keyboard.
    several = [run("slow") for _ in range(3)]
    show(it, "runs?flow=slow&status=running")
    expect(it.locator("[data-row]")).to_have_count(3)
    it.locator("h1").click()
    for key in ("x", "j", "x", "j", "x"):
        it.keyboard.press(key)
    expect(it.get_by_text("3 runs selected")).to_be_visible()
    picture(it, "runs-selected")
    it.keyboard.press("c")
    it.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(it.get_by_text("Cancelled 3 runs")).to_be_visible()
    for job in several:
        assert ended(job)["status"] == "cancelled"

    # A failure says where, and is retried from there.
    broken = run("broken", n=3)
    ended(broken)
    show(it, f"runs/{broken}")
    expect(it.get_by_role("alert")).to_contain_text("rejected")
    it.get_by_role("button", name="Show two").click()
    node = it.get_by_role("region", name="Node two")
    expect(node).to_contain_text("rejected")
    picture(it, "run-failed")
    node.get_by_role("button", name="Retry from here").click()
    expect(it.get_by_text("Began a new run from two")).to_be_visible()
    expect(it.locator(".run-head .status")).to_have_text("failed")
    again = it.url.split("/runs/")[1].split("?")[0]
    assert again != broken and api("GET", f"/v1/jobs/{again}")["retry_of"] == broken
    expect(it.locator(".run-head")).to_contain_text("repeats")
    it.get_by_role("button", name="one, test.work").click()
    expect(it.get_by_role("region", name="Node one").get_by_text("kept", exact=True)).to_be_visible()

    # Another result in place of a node's: what depends on it is done again, and nothing else.
    hops = run("hops", turns=1)
    ended(hops)
    show(it, f"runs/{hops}?node=hop[1]/fan[0]/one")
    node = it.get_by_role("region", name="Node hop[1]/fan[0]/one")
    node.get_by_role("button", name="Edit output").click()
    dialog = it.get_by_role("dialog")
    dialog.get_by_label("value").fill("nonsense")
    dialog.get_by_role("button", name="Run what depends on it").click()
    expect(dialog).to_contain_text("no JSON")
    dialog.get_by_label("value").fill("123456")
    picture(it, "run-edit")
    dialog.get_by_role("button", name="Run what depends on it").click()
    expect(it.get_by_text("Began a new run with another result of hop[1]/fan[0]/one")).to_be_visible()
    expect(it.locator(".run-head .status")).to_have_text("succeeded")
    edited = it.url.split("/runs/")[1].split("?")[0]
    timeline = {item["node"]: item for item in api("GET", f"/v1/jobs/{edited}/timeline")["items"]}
    assert timeline["hop[1]/fan[1]/one"].get("kept") and not timeline["hop[1]/fan[0]/two"].get("kept"), timeline
    assert api("GET", f"/v1/jobs/{edited}/nodes/hop[1]/fan[0]/two")["inputs"]["a"] == 123456

    # Compared with the run that it repeats.
    it.get_by_role("button", name="More").click()
    it.get_by_role("button", name="Compare with the run it repeats").click()
    expect(it.get_by_role("heading", name="Compare two runs")).to_be_visible()
    expect(it.locator(".diff")).to_contain_text("hop[1]/fan[0]/two")
    expect(it.locator(".diff")).to_contain_text("123456")
    picture(it, "diff")

    # A wait is answered where it is shown.
    asking = run("asking")
    show(it, f"runs/{asking}")
    wait = it.locator(".note.wait")
    expect(wait).to_contain_text("May it go on?")
    expect(wait).to_contain_text("draft")
    picture(it, "run-waiting")
    wait.get_by_role("button", name="Yes").click()
    expect(it.locator(".run-head .status")).to_have_text("succeeded")

    # Copied as a command that does the same again.
    it.get_by_role("button", name="Copy").click()
    it.get_by_role("button", name="curl").click()
    expect(it.get_by_text("Copied the command")).to_be_visible()
    assert '"flow":"asking@1"' in it.evaluate("navigator.clipboard.readText()")

    # Deleted, and gone from the list.
    it.get_by_role("button", name="More").click()
    it.get_by_role("button", name="Delete").click()
    it.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(it.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    show(it, f"runs/{asking}")
    expect(it.get_by_role("heading", name="There is no such run")).to_be_visible()
