"""Tables and migrations, each other's image; and on which schemas a process starts."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from sandbox import binaries
from schema.tables import metadata
from worker.errors import Misconfigured
from worker.settings.sections import DatabaseSettings
from worker.store.engine import migrations, revision
from worker.store.engine.database import Database


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    """A database without any schema."""
    database = Database(DatabaseSettings(url=SecretStr(empty_database_url)))
    yield database
    database.close()


def upgrade(database: Database) -> migrations.Upgraded:
    with database.connection() as connection:
        return migrations.upgrade(connection)


def require_compatible(database: Database) -> None:
    with database.connection() as connection:
        revision.require_compatible(connection)


def schema_dump(url: str) -> list[str]:
    """The schema as pg_dump writes it, but for Alembic's own table and what differs between any two dumps."""
    command_line = [str(binaries.postgres() / "pg_dump"), "--schema-only", "--no-owner", "--no-comments"]
    command_line += ["--exclude-table=alembic_version", f"--dbname={url}"]
    text_ = subprocess.run(command_line, capture_output=True, text=True, check=True).stdout
    return [line for line in text_.splitlines() if line and not line.startswith(("--", "\\"))]


def test_the_migrations_make_exactly_the_tables_of_the_metadata(database_url: str, empty_database_url: str) -> None:
    """pg_dump sees what Alembic's comparison does not: checks, the predicates of indexes, deferrable keys."""
    engine = create_engine(empty_database_url.replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine)
    engine.dispose()
    assert sorted(schema_dump(database_url)) == sorted(schema_dump(empty_database_url))


def test_the_revisions_are_those_that_the_files_of_migrations_are_named_after() -> None:
    scripts = ScriptDirectory.from_config(migrations._config(None))
    assert revision.known() == {script.revision for script in scripts.walk_revisions()}
    assert revision.head() == scripts.get_current_head()


def test_alembic_finds_no_difference_between_tables_and_migrations(database: Database) -> None:
    with database.connection() as connection:
        assert migrations.differences(connection) == []


def test_a_column_too_many_or_too_few_is_told(database: Database) -> None:
    with database.transaction() as tx:
        tx.execute(text("ALTER TABLE provisionings ADD COLUMN surprise text, DROP COLUMN last_error"))
    with database.connection() as connection:
        found = " ".join(migrations.differences(connection))
    assert "surprise" in found
    assert "last_error" in found


def test_an_upgrade_is_safe_to_repeat(empty: Database) -> None:
    first, second = upgrade(empty), upgrade(empty)
    assert (first.before, second.before) == (None, first.after)
    require_compatible(empty)


def test_two_upgrades_at_once_both_end_well(empty_database_url: str) -> None:
    results: list[object] = []

    def run() -> None:
        database = Database(DatabaseSettings(url=SecretStr(empty_database_url)))
        try:
            results.append(upgrade(database))
        except Exception as error:  # noqa: BLE001 - shown by the test
            results.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(result, migrations.Upgraded) for result in results), results
    assert sum(isinstance(result, migrations.Upgraded) and result.before is None for result in results) == 1


def test_a_migration_may_take_longer_than_a_statement_of_a_worker_s(
    new_database: Callable[..., Database], empty_database_url: str
) -> None:
    """And an upgrade that waits for another one waits until that is done."""
    settings = {"url": empty_database_url, "statement_timeout": 0.2, "lock_timeout": 0.1}
    first = Database(DatabaseSettings.model_validate(settings))
    second = Database(DatabaseSettings.model_validate(settings))
    results: list[object] = []

    def run() -> None:
        try:
            results.append(upgrade(second))
        except Exception as error:  # noqa: BLE001 - shown by the test
            results.append(error)

    with first.connection() as holder:
        holder.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": migrations._UPGRADE_LOCK})
        holder.commit()
        waiting = threading.Thread(target=run)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive(), results
        holder.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": migrations._UPGRADE_LOCK})
        holder.commit()
    waiting.join(10)
    assert [type(result) for result in results] == [migrations.Upgraded]
    first.close()
    second.close()


def test_a_downgrade_and_an_upgrade_come_back_to_the_same_schema(empty: Database, empty_database_url: str) -> None:
    upgrade(empty)
    before = schema_dump(empty_database_url)
    with empty.connection() as connection:
        command.downgrade(migrations._config(connection), "base")
        connection.commit()
    assert not [line for line in schema_dump(empty_database_url) if line.startswith("CREATE")]
    with pytest.raises(Misconfigured):
        require_compatible(empty)
    upgrade(empty)
    assert schema_dump(empty_database_url) == before
    require_compatible(empty)


def test_a_process_refuses_a_database_without_a_schema(empty: Database) -> None:
    with pytest.raises(Misconfigured, match="db upgrade") as refusal:
        require_compatible(empty)
    assert refusal.value.key == "database.url"


def newer(database: Database, *additive: bool) -> None:
    """The database as a newer Subkeeper leaves it, by so many revisions that we don't know."""
    with database.transaction() as tx:
        for number, flag in enumerate(additive):
            revision = {"revision": f"9{number:03}", "additive": flag}
            tx.execute(text("INSERT INTO schema_revisions VALUES (:revision, :additive)"), revision)
        tx.execute(text("UPDATE alembic_version SET version_num = :last"), {"last": f"9{len(additive) - 1:03}"})


@pytest.mark.parametrize("additive", [(False,), (True, False), (False, True)])
def test_a_process_refuses_a_newer_schema_with_a_revision_that_is_not_additive(
    database: Database, additive: tuple[bool, ...]
) -> None:
    newer(database, *additive)
    with pytest.raises(Misconfigured, match="newer"):
        require_compatible(database)


def test_a_process_starts_on_a_newer_schema_whose_revisions_are_all_additive(database: Database) -> None:
    newer(database, True, True)
    require_compatible(database)


def test_a_process_refuses_a_schema_of_unknown_origin(database: Database) -> None:
    """A revision that nobody has recorded as additive may be anything."""
    with database.transaction() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = 'unheard-of'"))
    with pytest.raises(Misconfigured):
        require_compatible(database)


def test_an_upgrade_by_an_older_subkeeper_leaves_a_newer_schema_as_it_is(database: Database) -> None:
    """A rolling deploy: an old process is set up after the new one has migrated."""
    newer(database, True)
    assert upgrade(database) == migrations.Upgraded("9000", "9000")
    newer_still = "INSERT INTO schema_revisions VALUES ('9001', false)"
    with database.transaction() as tx:
        tx.execute(text(newer_still))
        tx.execute(text("UPDATE alembic_version SET version_num = '9001'"))
    with pytest.raises(Misconfigured, match="newer"):
        upgrade(database)


def test_what_is_erased_with_a_user_s_customer(database: Database) -> None:
    with database.transaction() as tx:
        tx.execute(text("INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('ada', 'cus_1')"))
        tx.execute(
            text(
                "INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)"
                " SELECT id, 'pm_1', 1 FROM billing_customers"
            )
        )
        tx.execute(text("DELETE FROM billing_customers"))
        assert tx.execute(text("SELECT count(*) FROM payment_methods")).scalar() == 0
