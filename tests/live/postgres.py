"""A PostgreSQL store for tests, where FER_LAB_TEST_POSTGRES names a server, such as postgresql+psycopg://me@host/db."""

import os
import secrets
from collections.abc import Iterator

import pytest

pytest.importorskip("sqlalchemy", reason="the live extra is not installed")

from sqlalchemy import create_engine, make_url

_SERVER = os.environ.get("FER_LAB_TEST_POSTGRES")


@pytest.fixture
def postgres() -> Iterator[str]:
    """URL of an empty schema of its own, which is dropped afterwards."""
    if not _SERVER:
        pytest.skip("FER_LAB_TEST_POSTGRES names no PostgreSQL server")
    schema, url = f"fer_lab_{secrets.token_hex(6)}", make_url(_SERVER)
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    own = url.update_query_dict({"options": f"-csearch_path={schema}"})
    yield own.render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
    engine.dispose()
