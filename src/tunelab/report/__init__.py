"""The report of a run: its typed content, and that content as one HTML file and as Markdown. No torch, no network, readable without scripts."""
