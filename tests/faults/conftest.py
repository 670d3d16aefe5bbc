"""The service that storms run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.conftest import Service, postgres_database, start_service


@pytest.fixture(scope="package")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with (
        postgres_database() if os.environ.get("AFTERCARE_TEST_POSTGRES") else nullcontext("") as database,
        start_service(
            tmp_path_factory.mktemp("storm"), first_port=18380, AFTERCARE_DATABASE_URL=database, AFTERCARE_SMS_PER_SECOND="200", AFTERCARE_WEB_PROCESSES="2"
        ) as running,
    ):
        yield running
