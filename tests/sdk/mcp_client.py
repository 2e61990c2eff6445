"""What the official MCP client makes of the service.

python mcp_client.py http URL KEY | stdio PROGRAM ARGUMENT... | cancelled URL KEY NUMBER
"""

import asyncio
import json
import os
import sys
import time
import urllib.request

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

# Longest that anything may take here, in seconds.
PATIENCE = 30


async def take_back(client):
    """Calls a flow that does not end, and takes the call back once its model was asked."""
    is_asked = anyio.Event()

    async def progress(done, total, message):
        if "read.answer" in message:
            is_asked.set()

    async with anyio.create_task_group() as group:

        async def call():
            result = await client.call_tool("slow", {"question": "Where do herons nest?"}, progress_callback=progress)
            raise AssertionError(f"it ended: {result}")

        group.start_soon(call)
        with anyio.fail_after(PATIENCE):
            await is_asked.wait()
        group.cancel_scope.cancel()


async def speak(server, mode):
    async with Client(server, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"quick", "slow", "search_docs"} == set(tools), sorted(tools)
        assert tools["quick"].input_schema["required"] == ["question"], tools["quick"]
        seen = []

        async def progress(done, total, message):
            seen.append(message)

        result = await client.call_tool("quick", {"question": "Where do herons nest?"}, progress_callback=progress)
        assert not result.is_error and "tall trees" in result.content[0].text, result
        assert "[1] herons.md:1-1" in result.content[0].text, result
        assert "tall trees" in result.structured_content["answer"]["text"], result
        assert any("began" in message for message in seen), seen
        found = await client.call_tool("search_docs", {"query": "herons"})
        assert found.structured_content["chunks"][0]["doc"] == "herons.md", found
        for name, arguments in [("quick", {}), ("quik", {"question": "?"}), ("search_docs", {"query": "a", "top_k": 0})]:
            try:
                wrong = await client.call_tool(name, arguments)
                assert wrong.is_error, wrong
            except MCPError:
                pass
        await take_back(client)
        return client.protocol_version


def servers(kind, rest):
    if kind == "http":
        headers = {"Authorization": f"Bearer {rest[1]}"}
        return streamable_http_client(f"{rest[0]}/mcp", http_client=httpx2.AsyncClient(headers=headers, timeout=PATIENCE))
    return stdio_client(StdioServerParameters(command=rest[0], args=rest[1:], env=dict(os.environ)))


def cancelled(url, key, expected):
    """Waits until that many jobs of the slow flow are cancelled, and none goes on."""
    request = urllib.request.Request(f"{url}/v1/jobs?flow=slow", headers={"Authorization": f"Bearer {key}"})
    until = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            found = [job["status"] for job in json.load(answer)["items"]]
        if found == ["cancelled"] * int(expected):
            return print(f"{expected} cancelled")
        assert time.monotonic() < until, found
        time.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1] == "cancelled":
        cancelled(*sys.argv[2:])
        sys.exit()
    for mode, expected in [("legacy", "2025-11-25"), ("auto", "2026-07-28")]:
        version = asyncio.run(speak(servers(sys.argv[1], sys.argv[2:]), mode))
        print(f"{mode}: {version}")
        assert version == expected, version
