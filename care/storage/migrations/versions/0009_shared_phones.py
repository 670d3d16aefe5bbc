"""A phone that others read as well, and the links of one patient found quickly"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("patients") as table:
        table.add_column(sa.Column("shared_phone", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_chat_links_patient_id", "chat_links", ["patient_id"])
