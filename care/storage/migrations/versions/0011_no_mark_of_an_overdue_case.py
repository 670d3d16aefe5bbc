"""An overdue case is known by its deadline: no mark of it is kept"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("escalations") as table:
        table.drop_column("overdue_at")
