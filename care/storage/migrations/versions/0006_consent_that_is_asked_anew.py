"""Consent may be open again: the number it was given for is another"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("consents") as table:
        table.alter_column("granted", existing_type=sa.Boolean(), nullable=True)
