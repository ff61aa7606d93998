"""Pure functions from (config, facts) to values: explain, check and its rules, steps, memory, plan. No file, no network, no torch."""
