"""The rule that no setting is ignored in silence: what is understood but not acted on is said aloud (TL8xx)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.catalogue import typed_keys
from tunelab.config.finding import Finding, Severity
from tunelab.config.setting import Support
from tunelab.planning.rules.registry import Context, rule


@rule("TL801", Severity.NOTE, title="Understood, not acted on",
      why="The setting is known and the run does not act on it; what that means for the result is in the message.",
      bad="attn_implementation: flash_attention_2", good="attn_implementation: sdpa")
def not_acted_on(context: Context) -> Iterator[Finding]:
    """A key with Support.UNDERSTOOD holds something else than its default."""
    for name, key in typed_keys().items():
        if key.setting.support is not Support.UNDERSTOOD or key.status or "." in name:
            continue
        value = context.config.value(name)
        if name == "attn_implementation" and value == "sdpa":
            continue  # what runs here, sample by sample
        if context.written(name) and value != key.default and value is not False:
            yield context.finding(f"`{name}` is understood and not acted on. {key.setting.effect}", name)
