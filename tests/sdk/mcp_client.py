"""What the official MCP client makes of the service: python mcp_client.py http URL | stdio PROGRAM ARGUMENT..."""

import asyncio
import sys

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError


async def speak(server, mode):
    async with Client(server, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"quick", "search_docs"} <= set(tools), sorted(tools)
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
        return client.protocol_version


def servers(kind, rest):
    if kind == "http":
        return f"{rest[0]}/mcp"
    return stdio_client(StdioServerParameters(command=rest[0], args=rest[1:]))


if __name__ == "__main__":
    for mode, expected in [("legacy", "2025-11-25"), ("auto", "2026-07-28")]:
        version = asyncio.run(speak(servers(sys.argv[1], sys.argv[2:]), mode))
        print(f"{mode}: {version}")
        assert version == expected, version
