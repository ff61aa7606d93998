"""Rows to conversations to token ids and labels to batches, and what of it is trained on. No torch.

Read in this order: `sample` (what a row becomes), `sources` and `readers` (where rows come from), `tokenizer` and
`templates`, `formats` (one function per dataset type), `prepare` (all of it, in order), `packing` (batches), `preview`, `gate`.
"""
