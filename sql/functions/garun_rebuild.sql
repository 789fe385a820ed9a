CREATE OR REPLACE FUNCTION garun.rebuild(p_tenant_id UUID, p_start_date DATE DEFAULT NULL, p_end_date DATE DEFAULT NULL)
RETURNS INTEGER
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_day  DATE;
    v_days INTEGER := 0;
BEGIN
    FOR v_day IN SELECT d.day FROM garun.days_with_events(p_tenant_id, p_start_date, p_end_date) AS d(day) ORDER BY 1 LOOP
        PERFORM garun.rollup(p_tenant_id, v_day);
        v_days := v_days + 1;
    END LOOP;
    RETURN v_days;
END
$$;

COMMENT ON FUNCTION garun.rebuild(UUID, DATE, DATE) IS
    'Derives garun''s rows of all days (or of a range, inclusive) anew, in one transaction. Returns the number of days.
The command garun rebuild does it day by day.';
