"""A run in a real Phoenix: its spans arrive as what they are, and look like it. Started by `.ci/phoenix`."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from playwright.sync_api import expect, sync_playwright

PICTURES = pathlib.Path("target/phoenix").absolute()
# Longest wait for something that must happen, in seconds.
SOON = 60

CONFIG = """
indexes: {{ docs: {{ paths: [birds] }} }}
models: {{ default: {{ script: rules.yaml }} }}
prices: {{ default: {{ prompt: 1.0, completion: 4.0 }} }}
server: {{ flows: flows }}
store: {{ url: memory }}
telemetry: {{ endpoint: "http://127.0.0.1:{port}", protocol: http, content: full }}
"""
FLOW = """
flow: herons
about: Finds passages, ranks them, works a number out and answers.
inputs: { question: text }
nodes:
  find: { op: retrieve.bm25, with: { index: docs, top_k: 6 }, in: { query: inputs.question } }
  rank: { op: rerank.cross_encoder, with: { top_k: 3 }, in: { query: inputs.question, chunks: find.chunks } }
  work: { op: tool.call, with: { tools: [program], effects: false }, in: { question: inputs.question } }
  answer: { op: read.answer, in: { question: inputs.question, chunks: rank.chunks } }
outputs: { answer: answer.answer, number: work.text }
"""
RULES = """
- { contains: numbered passages, answer: "Herons nest in the tops of tall trees [1]." }
- { contains: "42", answer: "42 nests" }
- { matches: ".", calls: [{ tool: program, arguments: { source: ans = 6 * 7 } }] }
"""
BIRDS = {
    "herons.md": "Herons nest in the tops of tall trees.\n",
    "owls.md": "Owls nest in holes of trees.\n",
    "terns.md": "Terns nest on the ground.\n",
}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "prefer": "wait=60"}
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers), timeout=SOON) as answer:
        return json.loads(answer.read())


def until(what, look):
    """What `look` gives as soon as it gives something."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except OSError:
            pass  # Not up yet.
        time.sleep(0.2)
    raise SystemExit(f"not within {SOON} s: {what}")


def check(spans):
    """Whether Phoenix has every span as what it is, with what its pages show."""
    by_name = {span["name"]: span for span in spans}
    kinds = {name: span["span_kind"] for name, span in by_name.items()}
    print(json.dumps(kinds, indent=1))
    wanted = {
        "invoke_workflow herons": "CHAIN", "find": "RETRIEVER", "rank": "RERANKER", "work": "AGENT",
        "answer": "CHAIN", "execute_tool program": "TOOL",
    }
    wrong = {name: (kind, kinds.get(name)) for name, kind in wanted.items() if kinds.get(name) != kind}
    chats = [span for span in spans if span["name"].startswith("chat ")]
    assert len(chats) == 3 and all(span["span_kind"] == "LLM" for span in chats), chats
    for span in chats:
        found = span["attributes"]
        assert found["llm.token_count.prompt"] > 0 and found["llm.token_count.completion"] > 0, found
        assert found["llm.cost.total"] > 0, found
        assert "llm.input_messages" in str(found), found
    documents = str(by_name["find"]["attributes"])
    assert "retrieval.documents" in documents and "tops of tall trees" in documents, documents
    assert "reranker.output_documents" in str(by_name["rank"]["attributes"]), by_name["rank"]
    assert not wrong, wrong


def show(url, trace):
    PICTURES.mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        shown = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = shown.new_page(viewport={"width": 1500, "height": 950})
        page.goto(f"{url}/redirects/traces/{trace}")
        expect(page.get_by_text("invoke_workflow herons").first).to_be_visible(timeout=SOON * 1_000)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURES / "trace.png")
        for name, kind in (("find", "retriever"), ("rank", "reranker"), ("chat scripted", "llm")):
            page.get_by_text(name, exact=True).first.click()
            # The badge beside the name of the span that is shown.
            expect(page.get_by_text(kind, exact=True).first).to_be_visible(timeout=SOON * 1_000)
            page.screenshot(path=PICTURES / f"{name.split()[0]}.png")
        shown.close()


def main():
    port, grpc = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "birds").mkdir()
        (place / "flows").mkdir()
        for name, text in BIRDS.items():
            (place / "birds" / name).write_text(text)
        (place / "flows/herons.yaml").write_text(FLOW)
        (place / "rules.yaml").write_text(RULES)
        (place / "anabranch.yaml").write_text(CONFIG.format(port=port))
        env = os.environ | {
            "PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(grpc), "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_WORKING_DIR": str(place / "phoenix"), "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        log = (place / "log").open("w")
        phoenix = subprocess.Popen([os.environ["PHOENIX"], "serve"], env=env, stdout=log, stderr=log)
        ours = None
        try:
            until("Phoenix is up", lambda: ask(f"{url}/v1/projects"))
            ours = subprocess.Popen(
                [os.environ["ANABRANCH"], "serve", "--json", "--listen", "127.0.0.1:0"],
                cwd=place, stdout=subprocess.PIPE, stderr=log, text=True,
            )
            service = json.loads(ours.stdout.readline())["url"]
            job = ask(f"{service}/v1/jobs", {"flow": "herons", "inputs": {"question": "Where do herons nest, in how many nests?"}})
            assert job["status"] == "succeeded", job
            spans = until("all spans are there", lambda: all_spans(url, job["trace_id"]))
            check(spans)
            show(url, job["trace_id"])
            print(f"{len(spans)} spans; pictures are in {PICTURES}")
        except BaseException:
            log.flush()
            sys.stderr.write((place / "log").read_text()[-4_000:])
            raise
        finally:
            for process in filter(None, (ours, phoenix)):
                process.terminate()
                process.wait(30)


def all_spans(url, trace):
    """The spans of the trace, once its root is among them: that one leaves last."""
    spans = ask(f"{url}/v1/projects/default/spans?limit=100")["data"]
    spans = [span for span in spans if span["context"]["trace_id"] == trace]
    return spans if any(span["name"].startswith("invoke_workflow") for span in spans) else None


main()
