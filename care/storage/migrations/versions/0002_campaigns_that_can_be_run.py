"""Steps of several kinds, states of campaigns, quiet hours by state, sticky senders, the breaker"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breakers",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_breakers")),
    )
    with op.batch_alter_table("patients") as table:
        table.add_column(sa.Column("state", sa.String(length=2), nullable=True))
        table.add_column(sa.Column("number_problem", sa.Integer(), nullable=True))
    with op.batch_alter_table("campaigns") as table:
        table.add_column(sa.Column("spread_minutes", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("weekdays_only", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("state", sa.String(length=16), nullable=False, server_default="active"))
    with op.batch_alter_table("enrollments") as table:
        table.add_column(sa.Column("protocol_version", sa.String(length=32), nullable=False, server_default=""))
        table.add_column(sa.Column("ended_because", sa.String(length=32), nullable=True))
        table.add_column(sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("conversations") as table:
        table.add_column(sa.Column("sender", sa.String(length=16), nullable=True))
    with op.batch_alter_table("inbound") as table:
        table.add_column(sa.Column("not_after", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("contacts") as table:
        table.add_column(sa.Column("step", sa.String(length=48), nullable=False, server_default=""))
        table.add_column(sa.Column("kind", sa.String(length=16), nullable=False, server_default="check_in"))
        table.add_column(sa.Column("questions", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("advice", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("appointment_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("held_next_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("skipped_because", sa.String(length=24), nullable=True))
        table.drop_column("consent_asked")
    op.execute("UPDATE contacts SET step = 'check_in-' || CAST(day AS VARCHAR(8))")
    op.execute("UPDATE enrollments SET protocol_version = (SELECT campaigns.protocol_version FROM campaigns WHERE campaigns.id = enrollments.campaign_id)")
    with op.batch_alter_table("contacts") as table:
        table.drop_constraint("uq_contacts_enrollment_id_day", type_="unique")
        table.create_unique_constraint("uq_contacts_enrollment_id_step", ["enrollment_id", "step"])


def downgrade() -> None:
    op.execute("DELETE FROM contacts WHERE kind <> 'check_in'")
    with op.batch_alter_table("contacts") as table:
        table.drop_constraint("uq_contacts_enrollment_id_step", type_="unique")
        table.create_unique_constraint("uq_contacts_enrollment_id_day", ["enrollment_id", "day"])
        table.add_column(sa.Column("consent_asked", sa.Boolean(), nullable=False, server_default=sa.false()))
        for name in ("step", "kind", "questions", "advice", "appointment_at", "held_next_at", "skipped_because"):
            table.drop_column(name)
    for table_name, names in {
        "inbound": ["not_after"],
        "conversations": ["sender"],
        "enrollments": ["protocol_version", "ended_because", "ended_at"],
        "campaigns": ["spread_minutes", "weekdays_only", "state"],
        "patients": ["state", "number_problem"],
    }.items():
        with op.batch_alter_table(table_name) as table:
            for name in names:
                table.drop_column(name)
    op.drop_table("breakers")
