"""python3 oauth_fastmcp.py URL: FastMCP as a client that signs in through the browser.

Speaks lines of JSON. It says {"open": "..."} when a person has to open a page, and answers each line on stdin:
`tools` with {"tools": [...]}, `call NAME JSON` with {"text": "..."}, `expire` (its access token counts as expired from
now on, as after an hour) with {"expired": true}. An error is {"error": "..."}.
"""

import asyncio
import json
import sys
import webbrowser

from fastmcp import Client
from fastmcp.client.auth import OAuth


def say(**what):
    print(json.dumps(what), flush=True)


class Browser:
    """Instead of opening a page, says which one."""

    def open(self, url, new=0, autoraise=True):
        say(open=url)
        return True


webbrowser.get = lambda using=None: Browser()
webbrowser.open = lambda url, new=0, autoraise=True: Browser().open(url)


async def answer(client, auth, line):
    command, _, rest = line.strip().partition(" ")
    if command == "tools":
        say(tools=[tool.name for tool in await client.list_tools()])
    elif command == "call":
        name, _, arguments = rest.partition(" ")
        result = await client.call_tool(name, json.loads(arguments or "{}"))
        say(text="".join(getattr(part, "text", "") for part in result.content))
    elif command == "expire":
        auth.context.token_expiry_time = 1
        say(expired=True)
    else:
        say(error=f"unknown command {command}")


async def main(url):
    auth = OAuth(mcp_url=url, client_name="FastMCP Client", callback_host="127.0.0.1")
    async with Client(url, auth=auth) as client:
        say(connected=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                await answer(client, auth, line)
            except Exception as error:  # noqa: BLE001: whatever it is, the test wants to read it
                say(error=f"{type(error).__name__}: {error}")


try:
    asyncio.run(main(sys.argv[1]))
except Exception as error:  # noqa: BLE001
    say(error=f"{type(error).__name__}: {error}")
    sys.exit(1)
