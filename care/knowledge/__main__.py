"""`python -m care.knowledge`: reads and checks the knowledge as a step of the build; a broken file ends it with one line and status 2."""

import sys

from care.knowledge import KnowledgeInvalid, knowledge

try:
    print(f"knowledge {knowledge().version} is whole")
except KnowledgeInvalid as error:
    sys.stderr.write(f"care.knowledge: {error}\n")
    sys.exit(2)
