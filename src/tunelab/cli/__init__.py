"""The command line: parse, call one workflow function, render. No rule, default or path lives here."""
