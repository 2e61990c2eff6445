"""What the scripts share: a browser that fails on whatever a page does wrong, pictures, and requests to the API."""

import json
import os
import pathlib
import shutil
import socket
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

URL = os.environ["URL"]
KEY = os.environ.get("KEY")
PICTURES = pathlib.Path("target/dashboard")
# Longest wait for something that must happen, in milliseconds: machines of CI are slow and shared.
SOON = int(os.environ.get("SOON_MS", "60000"))

expect.set_options(timeout=SOON)


def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    raise SystemExit("there is no Chromium: ./.ci/browser installs it")


def api(method, path, body=None):
    """Asks the API, beside the browser."""
    headers = {"content-type": "application/json"}
    if KEY:
        headers["authorization"] = f"Bearer {KEY}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=SOON / 1_000) as answer:
            return json.loads(answer.read() or "null")
    except urllib.error.HTTPError as refused:
        raise SystemExit(f"{method} {path}: {refused.read().decode()}") from None


def ended(job):
    """The job once it has ended."""
    until = time.monotonic() + SOON / 1_000
    while time.monotonic() < until:
        now = api("GET", f"/v1/jobs/{job}")
        if now.get("outcome"):
            return now
        time.sleep(0.05)
    raise SystemExit(f"{job} does not end")


def go_on():
    """Lets the model of the tests finish one answer: it stops after a few words and waits for this."""
    host, port = os.environ["GO_ON"].split(":")
    socket.create_connection((host, int(port))).close()


def run(flow, **inputs):
    """Submits a job; its id."""
    return api("POST", "/v1/jobs", {"flow": flow, "inputs": inputs})["id"]


def a_tree():
    """A run whose node `search` gave a tree as `select.mcts` gives it: passages that were tried together; its id."""
    node = lambda id, parent, label, visits, value, chosen: dict(id=id, parent=parent, label=label, visits=visits, value=value, chosen=chosen)
    tree = [
        node(0, None, "nothing", 64, 0.41, True),
        node(1, 0, "herons.md", 30, 0.62, True),
        node(2, 0, "storks.md", 20, 0.35, False),
        node(3, 1, "winter.md", 18, 0.81, True),
        node(4, 1, "young.md", 9, 0.55, False),
    ]
    job = run("tree")
    until = time.monotonic() + SOON / 1_000
    while not api("GET", f"/v1/jobs/{job}").get("waits") and time.monotonic() < until:
        time.sleep(0.05)
    api("POST", f"/v1/jobs/{job}/resume", {"wait": "search", "value": tree})
    ended(job)
    return job


@contextmanager
def browser():
    with sync_playwright() as playwright:
        # As root, which CI is, Chromium has no sandbox of its own.
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        shown = playwright.chromium.launch(executable_path=chromium(), args=flags)
        try:
            yield shown
        finally:
            shown.close()


@contextmanager
def page(shown, theme="light", width=1360, height=860):
    """A page that may log no error, break no policy and ask nobody but the service."""
    wrong = []
    context = shown.new_context(viewport={"width": width, "height": height}, color_scheme=theme, permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(SOON)
    opened = context.new_page()
    # What the service refuses, it refuses on purpose: the browser logs it all the same.
    refused = "Failed to load resource"
    opened.on("console", lambda said: said.type == "error" and refused not in said.text and wrong.append(said.text))
    opened.on("pageerror", lambda error: wrong.append(f"{error}\n{error.stack}"))
    opened.on("request", lambda request: request.url.startswith(URL) or request.url.startswith("blob:") or wrong.append(f"asks {request.url}"))
    opened.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sample}`))")
    yield opened
    context.close()
    assert not wrong, "\n".join(wrong)


def show(opened, where):
    opened.goto(f"{URL}/ui/#/{where}")


def picture(opened, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=PICTURES / f"{name}.png")
