"""A message is stored, with our number that it was written to, before the rules read it"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STORED = sa.text("state = 'stored'")


def upgrade() -> None:
    with op.batch_alter_table("inbound") as table:
        table.add_column(sa.Column("ours", sa.String(length=16), nullable=True))
    op.create_index("ix_inbound_stored", "inbound", ["patient_id", "id"], postgresql_where=_STORED, sqlite_where=_STORED)
