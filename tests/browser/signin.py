"""A service that wants a key: asked for, kept in the tab alone, forgotten on signing out."""

from common import KEY, browser, expect, go_on, page, picture, show

with browser() as shown, page(shown) as it:
    show(it, "runs")
    field = it.get_by_label("API key")
    expect(field).to_be_focused()
    picture(it, "signin")
    field.fill("anb_wrong")
    it.get_by_role("button", name="Sign in").click()
    expect(it.get_by_role("alert")).to_contain_text("not known")
    field.fill(KEY)
    it.keyboard.press("Enter")
    expect(it.get_by_role("heading", name="No runs yet")).to_be_visible()
    assert it.evaluate("JSON.stringify(localStorage)").find(KEY) < 0
    assert it.evaluate("document.cookie") == ""
    assert it.evaluate("sessionStorage.getItem('anabranch.key')") == KEY
    # Kept over a reload; another tab has its own.
    it.reload()
    expect(it.get_by_role("heading", name="No runs yet")).to_be_visible()
    other = it.context.new_page()
    show(other, "runs")
    expect(other.get_by_label("API key")).to_be_visible()
    other.close()
    # Streams are read with it, too.
    show(it, "flows/answer?tab=run")
    it.get_by_label("question").fill("In which trees do herons nest?")
    it.get_by_role("form").get_by_role("button", name="Run").click()
    expect(it.locator(".live")).to_contain_text("Herons")
    go_on()
    expect(it.locator(".run-head .status")).to_have_text("succeeded")
    it.get_by_role("button", name="Sign out").click()
    expect(it.get_by_label("API key")).to_be_visible()
    assert it.evaluate("sessionStorage.length") == 0
