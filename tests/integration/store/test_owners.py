"""Who owns a customer: its own user, until somebody says otherwise."""

from __future__ import annotations

from sqlalchemy import text

from worker.domain.owners import Owner, OwnerKind, Role, Share, user
from worker.store import customers, owners
from worker.store.engine.database import Database

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
        return {share.owner: share.role for share in owners.of(tx, [customer]).get(customer, [])}


def owned_by(database: Database, owner: Owner) -> dict[str, Role]:
    with database.transaction() as tx:
        found = {each.customer_id: each.role for each in owners.owned_by(tx, owner)}
        assert {each: owners.role(tx, each, owner) for each in found} == found
        return found


def others(database: Database, customer: str, user_id: str) -> list[Owner]:
    with database.transaction() as tx:
        return [share.owner for share in owners.other_owners(tx, customer, user_id)]


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
