-- What garun keeps for itself, apart from the tables of the tenant's data.

CREATE SCHEMA IF NOT EXISTS garun;

COMMENT ON SCHEMA garun IS 'Book-keeping of garun: migrations, ledger of loads, rejects, leases.';
