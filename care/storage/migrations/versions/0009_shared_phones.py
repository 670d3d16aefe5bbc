"""A phone that others read as well, the links of one patient found quickly, when one was last guessed at, and who is in the chat now"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in a batch: for this default it makes the table anew, and SQLite drops no table that rows of others point to.
    op.add_column("patients", sa.Column("shared_phone", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("web_sessions", sa.Column("online_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("chat_links", sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_chat_links_patient_id", "chat_links", ["patient_id"])
