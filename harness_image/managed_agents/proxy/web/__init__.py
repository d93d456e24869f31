"""The built-in web tools, `web_fetch` and `web_search`: in the proxy, never in a sandbox (docs/web-tools.md)."""
