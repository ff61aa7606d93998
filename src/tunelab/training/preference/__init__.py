"""Learning from comparisons: DPO and its losses, IPO, KTO, ORPO, SimPO, and reward models.

`objective_of` chooses; each method is an Objective of the one training loop. The losses are the published formulas (`losses`), and tests hold
each of them, step by step, against trl's own trainers.
"""
