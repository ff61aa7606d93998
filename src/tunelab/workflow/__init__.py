"""The library's verbs, one file each: what the command line and the web both call."""
