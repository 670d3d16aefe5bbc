"""The carrier of a patient's number, where it is known; messages whose last receipt has not come are found by index"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_UNCONFIRMED = sa.text("state IN ('accepted', 'sent') AND channel = 'sms'")


def upgrade() -> None:
    with op.batch_alter_table("patients") as table:
        table.add_column(sa.Column("carrier", sa.String(length=24), nullable=True))
    op.create_index("ix_outbound_unconfirmed", "outbound", ["sent_at"], postgresql_where=_UNCONFIRMED, sqlite_where=_UNCONFIRMED)
