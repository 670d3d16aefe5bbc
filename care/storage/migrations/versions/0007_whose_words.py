"""A message of our own initiative names its contact, so that it can be taken back"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("outbound") as table:
        table.add_column(sa.Column("contact_id", sa.String(length=32), nullable=True))
