"""Compares Asepsis with the servers and proxies that a user would otherwise take: `scripts/compare-peers`."""
