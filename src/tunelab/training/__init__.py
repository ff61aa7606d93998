"""The only room (with runners/local.py and export/) that imports torch. `run.py` is the page to read."""

import logging
import os

# Read by OpenMP when torch loads it. By default its threads spin while they wait, and one busy neighbour on a small machine then
# makes a step ten times slower; sleeping instead costs a few percent when the machine is otherwise idle (docs/log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# peft imports torchao where it is installed, which reports what it lacks on this hardware as warnings.
logging.getLogger("torchao").setLevel(logging.ERROR)
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
