-- Days that the running statement has changed; emptied at its end by garun.derive_changes. Nobody else ever sees a row.

CREATE TABLE IF NOT EXISTS garun.changed_days (
    transaction XID8 NOT NULL,
    tenant_id   UUID NOT NULL,
    event_date  DATE NOT NULL,

    PRIMARY KEY (transaction, tenant_id, event_date)
);

COMMENT ON TABLE garun.changed_days IS 'Between the row triggers and the statement trigger of the event tables.';
