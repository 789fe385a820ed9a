-- Days that the running transaction has changed; garun.derive_day takes them away before it commits. Nobody else ever sees a
-- row.

CREATE TABLE IF NOT EXISTS garun.changed_days (
    transaction XID8 NOT NULL,
    tenant_id   UUID NOT NULL,
    event_date  DATE NOT NULL,

    PRIMARY KEY (transaction, tenant_id, event_date)
);

COMMENT ON TABLE garun.changed_days IS 'Between the row triggers of the event tables and the end of the transaction.';
