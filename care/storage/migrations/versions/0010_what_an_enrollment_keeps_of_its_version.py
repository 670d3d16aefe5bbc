"""What an enrollment keeps of the protocol's version that it runs, beside its contacts: what is done where no answer comes, and its last day"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("enrollments") as table:
        table.add_column(sa.Column("no_answer", sa.JSON(), nullable=True))
        table.add_column(sa.Column("ends_on", sa.Date(), nullable=True))
