"""Alembic's entry: runs the revisions on the URL that `care.storage.engine.migrate` sets."""

from alembic import context

from care.storage.columns import Base
from care.storage.engine import build_engine
from care.storage.tables import Patient  # noqa: F401 - makes the tables known

config = context.config
url = config.get_main_option("sqlalchemy.url")
if url is None:
    raise RuntimeError("run migrations through `aftercare init`, which sets the database URL")
engine = build_engine(url)
with engine.begin() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=connection.dialect.name == "sqlite")
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(8675309)")
    context.run_migrations()
engine.dispose()
