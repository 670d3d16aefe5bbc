"""What a message means."""

import os

# A thread of torch that waits for the others burns its core. Where anything else runs on the machine, one forward on two cores then took up to a second.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
