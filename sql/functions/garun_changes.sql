-- What keeps the derived rows true when somebody else than a load writes to an event table: each row's day is noted,
-- and at the end of the transaction the days are derived anew, once each, however many statements there were. A load sets
-- garun.rollup = manual and calls garun.rollup itself; then the triggers cost it the WHEN clause, 0.1 us a row.

CREATE OR REPLACE FUNCTION garun.note_change() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF tg_op <> 'INSERT' THEN
        INSERT INTO garun.changed_days (transaction, tenant_id, event_date)
        VALUES (pg_current_xact_id(), old.tenant_id, old.event_date) ON CONFLICT DO NOTHING;
    END IF;
    IF tg_op <> 'DELETE' THEN
        INSERT INTO garun.changed_days (transaction, tenant_id, event_date)
        VALUES (pg_current_xact_id(), new.tenant_id, new.event_date) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION garun.derive_day() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
BEGIN
    DELETE FROM garun.changed_days
     WHERE transaction = new.transaction AND tenant_id = new.tenant_id AND event_date = new.event_date;
    PERFORM garun.rollup(new.tenant_id, new.event_date);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION garun.derive_all() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_day RECORD;
BEGIN
    FOR v_day IN SELECT tenant_id, event_date FROM garun.event_days ORDER BY 1, 2 LOOP
        PERFORM garun.rollup(v_day.tenant_id, v_day.event_date);
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION garun.change_time_zone() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF to_jsonb(old) ->> 'time_zone' IS DISTINCT FROM to_jsonb(new) ->> 'time_zone' THEN
        PERFORM garun.rebuild(new.id);
    END IF;
    RETURN NULL;
END
$$;

-- CREATE TRIGGER waits for all writers of its table, so only what is missing is made.
DO $$
DECLARE
    v_table TEXT;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['purchase', 'add_to_cart', 'page_view', 'view_item', 'view_search_results',
                                   'no_search_results'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_trigger WHERE tgrelid = v_table::regclass AND tgname = 'garun_derive_truncate');
        EXECUTE format('CREATE TRIGGER garun_note AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW
            WHEN (current_setting(''garun.rollup'', true) IS DISTINCT FROM ''manual'')
            EXECUTE FUNCTION garun.note_change()', v_table);
        EXECUTE format('CREATE TRIGGER garun_derive_truncate AFTER TRUNCATE ON %I FOR EACH STATEMENT
            EXECUTE FUNCTION garun.derive_all()', v_table);
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'garun.changed_days'::regclass AND tgname = 'garun_derive') THEN
        CREATE CONSTRAINT TRIGGER garun_derive AFTER INSERT ON garun.changed_days DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION garun.derive_day();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'tenant_config'::regclass AND tgname = 'garun_time_zone') THEN
        CREATE TRIGGER garun_time_zone AFTER UPDATE ON tenant_config FOR EACH ROW
            EXECUTE FUNCTION garun.change_time_zone();
    END IF;
END
$$;

COMMENT ON FUNCTION garun.note_change() IS 'Row trigger of the event tables: notes the day that changed.';
COMMENT ON FUNCTION garun.derive_day() IS
    'Deferred trigger of garun.changed_days: derives garun''s rows of the day anew before the transaction commits. Who asks the
analytics functions within the transaction says SET CONSTRAINTS garun.garun_derive IMMEDIATE first.';
COMMENT ON FUNCTION garun.derive_all() IS 'TRUNCATE trigger of the event tables: derives garun''s rows of all days anew.';
COMMENT ON FUNCTION garun.change_time_zone() IS
    'Trigger of tenant_config: a new time zone moves events to other hours, so all days are derived anew.';
