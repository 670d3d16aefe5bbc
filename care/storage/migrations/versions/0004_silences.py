"""Questions whose unanswered silence calls a person"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "silences",
        sa.Column("id", sequence, autoincrement=True, nullable=False),
        sa.Column("patient_id", sa.String(length=32), nullable=False),
        sa.Column("inbound_id", sequence, nullable=False),
        sa.Column("question", sa.String(length=48), nullable=False),
        sa.Column("acuity", sa.String(length=16), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_silences_patient_id_patients")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silences")),
        sa.UniqueConstraint("inbound_id", name=op.f("uq_silences_inbound_id")),
    )
    op.create_index(op.f("ix_silences_patient_id"), "silences", ["patient_id"])
    unsettled = sa.text("settled_at IS NULL")
    op.create_index("ix_silences_open", "silences", ["due_at"], postgresql_where=unsettled, sqlite_where=unsettled)


def downgrade() -> None:
    op.drop_table("silences")
