"""A fine-tuned model taken elsewhere, and proof that it still says the same: `merge` and `verify` need torch, the other parts do not."""
