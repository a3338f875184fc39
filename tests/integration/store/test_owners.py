"""Who owns a customer: its own user, until somebody says otherwise."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.integration.store.reading import rows_read
from worker.domain.owners import Owner, OwnerKind, Role, Share, user
from worker.store import customers, owners
from worker.store.engine.database import Database, Transaction

PROJECT = Owner(OwnerKind.PROJECT, "p-1")


def customer_of(database: Database, user_id: str, customer: str) -> None:
    """As a process that knows no owners makes it."""
    with database.transaction() as tx:
        assert customers.add(tx, user_id, customer)


def give(database: Database, customer: str, owner: Owner, role: Role) -> None:
    with database.transaction() as tx:
        owners.give(tx, customer, Share(owner, role))


def take_away(database: Database, customer: str, owner: Owner) -> None:
    with database.transaction() as tx:
        owners.take_away(tx, customer, owner)


def of(database: Database, customer: str) -> dict[Owner, Role]:
    with database.transaction() as tx:
        return {share.owner: share.role for share in owners.page(tx, customer, None, LIMIT)}


def owned_by(database: Database, owner: Owner) -> dict[str, Role]:
    with database.transaction() as tx:
        found = {each.customer_id: each.role for each in owners.owned_by(tx, owner)}
        assert {each: owners.role(tx, each, owner) for each in found} == found
        return found


def others(database: Database, customer: str, user_id: str) -> list[Owner]:
    with database.transaction() as tx:
        found = [each.owner for each in owners.page(tx, customer, None, LIMIT) if each.owner != user(user_id)]
        assert owners.has_others(tx, customer, user_id) is bool(found)
        return found


def test_a_customer_is_its_users_who_pays_for_it(database: Database) -> None:
    customer_of(database, "ada", "cus_1")
    assert of(database, "cus_1") == {user("ada"): Role.PAYER}
    assert owned_by(database, user("ada")) == {"cus_1": Role.PAYER}
    assert others(database, "cus_1", "ada") == []


def test_a_project_of_a_users_name_is_not_the_user(database: Database) -> None:
    customer_of(database, "ada", "cus_1")
    assert owned_by(database, Owner(OwnerKind.PROJECT, "ada")) == {}
    give(database, "cus_1", Owner(OwnerKind.PROJECT, "ada"), Role.MEMBER)
    assert others(database, "cus_1", "ada") == [Owner(OwnerKind.PROJECT, "ada")]
    take_away(database, "cus_1", Owner(OwnerKind.PROJECT, "ada"))
    assert of(database, "cus_1") == {user("ada"): Role.PAYER}


def test_others_are_given_roles_and_whoever_is_taken_away_leaves_them_theirs(database: Database) -> None:
    customer_of(database, "ada", "cus_1")
    customer_of(database, "bob", "cus_2")
    give(database, "cus_1", user("bob"), Role.PAYER)
    give(database, "cus_1", PROJECT, Role.MEMBER)
    assert others(database, "cus_1", "ada") == [PROJECT, user("bob")]
    take_away(database, "cus_1", user("ada"))
    assert of(database, "cus_1") == {PROJECT: Role.MEMBER, user("bob"): Role.PAYER}
    assert owned_by(database, user("ada")) == {}
    assert owned_by(database, user("bob")) == {"cus_1": Role.PAYER, "cus_2": Role.PAYER}
    take_away(database, "cus_1", user("bob"))
    assert of(database, "cus_1") == {PROJECT: Role.MEMBER}
    assert owned_by(database, user("bob")) == {"cus_2": Role.PAYER}


def test_the_customers_own_user_may_be_no_payer_and_is_given_a_role_again(database: Database) -> None:
    customer_of(database, "ada", "cus_1")
    give(database, "cus_1", user("ada"), Role.MEMBER)
    assert of(database, "cus_1") == {user("ada"): Role.MEMBER}
    take_away(database, "cus_1", user("ada"))
    assert of(database, "cus_1") == {}
    give(database, "cus_1", user("ada"), Role.PAYER)
    assert of(database, "cus_1") == {user("ada"): Role.PAYER}


def test_a_customer_that_was_deleted_is_nobodys(database: Database) -> None:
    customer_of(database, "ada", "cus_1")
    give(database, "cus_1", PROJECT, Role.PAYER)
    with database.transaction() as tx:
        customers.mark_deleted(tx, "cus_1")
    assert of(database, "cus_1") == {}
    assert owned_by(database, PROJECT) == owned_by(database, user("ada")) == {}
    give(database, "cus_1", user("bob"), Role.PAYER)
    with database.transaction() as tx:
        assert tx.execute(text("SELECT count(*) FROM billing_owners WHERE owner_id = 'bob'")).scalar_one() == 0


OWNERS = st.builds(Owner, st.sampled_from(OwnerKind), st.sampled_from(["ada", "bob", "Ada", "a:b", "ä", "z"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    there=st.lists(OWNERS, unique=True), limit=st.integers(1, 3),
    meanwhile=st.lists(st.tuples(OWNERS, st.sampled_from([None, *Role])), max_size=8),
)  # fmt: skip
def test_who_owns_a_customer_all_the_while_is_told_once_whoever_comes_and_goes_between_two_pages(
    database: Database, there: list[Owner], limit: int, meanwhile: list[tuple[Owner, Role | None]]
) -> None:
    with database.transaction() as tx:
        tx.execute(text("TRUNCATE billing_customers CASCADE"))
    customer_of(database, "ada", "cus_1")
    for owner in there:
        give(database, "cus_1", owner, Role.MEMBER)
    stayed, told, after = {*of(database, "cus_1")}, list[Owner](), None
    while True:
        with database.transaction() as tx:
            page = owners.page(tx, "cus_1", after, limit)
        told += [share.owner for share in page]
        if len(page) < limit:
            break
        after = told[-1]
        if meanwhile:
            owner, role = meanwhile.pop()
            if role is None:
                take_away(database, "cus_1", owner)
            else:
                give(database, "cus_1", owner, role)
            stayed &= {*of(database, "cus_1")}
    assert len(told) == len({*told})
    assert stayed <= {*told}


MANY, LIMIT = 20_000, 20


@pytest.fixture
def many(database: Database) -> Database:
    """Each of them has a customer; all own cus_1, and the project owns all customers."""
    with database.transaction() as tx:
        tx.execute(
            text("""
                INSERT INTO billing_customers (user_id, stripe_customer_id)
                SELECT n, 'cus_' || n FROM generate_series(1, :many) n
            """),
            {"many": MANY},
        )
        tx.execute(
            text("""
                INSERT INTO billing_owners (billing_customer_id, owner_kind, owner_id, role)
                SELECT (SELECT id FROM billing_customers WHERE stripe_customer_id = 'cus_1'), 'user', user_id, 'payer'
                FROM billing_customers
                UNION ALL SELECT id, 'project', 'p-1', 'member' FROM billing_customers
            """)
        )
    with database.connection() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
    return database


def test_a_page_is_read_by_an_index_however_many_there_are(many: Database) -> None:
    with many.transaction() as tx:
        numbers = [each.number for each in owners.owned_by(tx, PROJECT)]
        read = {
            "the first owners": rows_read(tx, lambda tx: owners.page(tx, "cus_1", None, LIMIT)),
            "later ones": rows_read(tx, lambda tx: owners.page(tx, "cus_1", user("5"), LIMIT)),
            "what is owned": rows_read(tx, lambda tx: owners.owned_by(tx, PROJECT, 0, LIMIT)),
            "more of it": rows_read(tx, lambda tx: owners.owned_by(tx, PROJECT, numbers[MANY // 2], LIMIT)),
            "a user's": rows_read(tx, lambda tx: owners.owned_by(tx, user("5"), 0, LIMIT)),
            "a role": rows_read(tx, lambda tx: owners.role(tx, "cus_1", user("7"))),
        }
        assert len(numbers) == MANY
    assert {name: rows for name, rows in read.items() if rows > 4 * LIMIT} == {}


def test_whose_it_is_costs_a_few_rows_however_many_own_the_customer(many: Database) -> None:
    def whose(tx: Transaction, customer: str, own: str, named: Owner | None) -> Owner | None:
        return owners.whose(tx, customers.Owner(own, deleted=False), customer, named)

    with many.transaction() as tx:
        read = {
            "who is named": rows_read(tx, lambda tx: whose(tx, "cus_1", "ada", user("7"))),
            "nobody": rows_read(tx, lambda tx: whose(tx, "cus_1", "ada", None)),
            "others": rows_read(tx, lambda tx: owners.has_others(tx, "cus_1", "ada")),
            "many": rows_read(tx, lambda tx: owners.of(tx, [("cus_1", user(str(each))) for each in range(3)])),
        }
        assert {name: rows for name, rows in read.items() if rows > 4 * LIMIT} == {}
        assert whose(tx, "cus_1", "ada", user("7")) == user("7")
        assert whose(tx, "cus_1", "ada", user("nobody")) is None
        found = {each.owner for each in owners.of(tx, [("cus_1", user("7")), ("cus_1", user("8"))])["cus_1"]}
        assert (user("7") in found, user("8") in found, len(found) <= 5) == (True, True, True)
        assert owners.has_others(tx, "cus_1", "ada")
        assert owners.is_shared(tx, "cus_1")


def test_a_payer_is_one_of_a_projects_customers_by_role_or_by_being_the_one_it_was_made_for(database: Database) -> None:
    for name, customer in (("ada", "cus_1"), ("bob", "cus_2"), ("eve", "cus_3")):
        customer_of(database, name, customer)
    give(database, "cus_1", PROJECT, Role.MEMBER)
    give(database, "cus_2", PROJECT, Role.PAYER)
    give(database, "cus_2", user("ada"), Role.PAYER)
    give(database, "cus_2", user("bob"), Role.MEMBER)
    give(database, "cus_1", user("eve"), Role.MEMBER)
    assert {name: paid(database, name) for name in ("ada", "bob", "eve", "p-1")} == {
        "ada": {"cus_1", "cus_2"}, "bob": set(), "eve": set(), "p-1": set(),
    }  # fmt: skip
    take_away(database, "cus_1", user("ada"))
    assert paid(database, "ada") == {"cus_2"}
    with database.transaction() as tx:
        customers.mark_deleted(tx, "cus_2")
    assert paid(database, "ada") == set()


def paid(database: Database, user_id: str) -> set[str]:
    with database.transaction() as tx:
        return {*owners.of_project_paid_by(tx, PROJECT.id, user_id)}
