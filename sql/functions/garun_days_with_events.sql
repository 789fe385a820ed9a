-- Jumps from day to day through each (tenant_id, event_date) index: a distinct over the tables would read every row.
CREATE OR REPLACE FUNCTION garun.days_with_events(p_tenant_id UUID, p_start_date DATE, p_end_date DATE)
RETURNS SETOF DATE
LANGUAGE sql STABLE SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
    WITH RECURSIVE a(d) AS (
        SELECT min(event_date) FROM page_view WHERE tenant_id = p_tenant_id UNION ALL
        SELECT (SELECT min(event_date) FROM page_view WHERE tenant_id = p_tenant_id AND event_date > a.d)
          FROM a WHERE d IS NOT NULL
    ), b(d) AS (
        SELECT min(event_date) FROM view_item WHERE tenant_id = p_tenant_id UNION ALL
        SELECT (SELECT min(event_date) FROM view_item WHERE tenant_id = p_tenant_id AND event_date > b.d)
          FROM b WHERE d IS NOT NULL
    ), c(d) AS (
        SELECT min(event_date) FROM add_to_cart WHERE tenant_id = p_tenant_id UNION ALL
        SELECT (SELECT min(event_date) FROM add_to_cart WHERE tenant_id = p_tenant_id AND event_date > c.d)
          FROM c WHERE d IS NOT NULL
    ), e(d) AS (
        SELECT min(event_date) FROM purchase WHERE tenant_id = p_tenant_id UNION ALL
        SELECT (SELECT min(event_date) FROM purchase WHERE tenant_id = p_tenant_id AND event_date > e.d)
          FROM e WHERE d IS NOT NULL
    ), f(d) AS (
        SELECT min(event_date) FROM view_search_results WHERE tenant_id = p_tenant_id UNION ALL
        SELECT (SELECT min(event_date) FROM view_search_results WHERE tenant_id = p_tenant_id AND event_date > f.d)
          FROM f WHERE d IS NOT NULL
    ), g(d) AS (
        SELECT min(event_date) FROM no_search_results WHERE tenant_id = p_tenant_id UNION ALL
        SELECT (SELECT min(event_date) FROM no_search_results WHERE tenant_id = p_tenant_id AND event_date > g.d)
          FROM g WHERE d IS NOT NULL
    ), days AS (
        SELECT d FROM a UNION SELECT d FROM b UNION SELECT d FROM c UNION SELECT d FROM e UNION SELECT d FROM f
        UNION SELECT d FROM g UNION SELECT event_date FROM garun.event_days WHERE tenant_id = p_tenant_id)
    SELECT d FROM days
     WHERE d IS NOT NULL AND d >= coalesce(p_start_date, '-infinity') AND d <= coalesce(p_end_date, 'infinity')
$$;

COMMENT ON FUNCTION garun.days_with_events(UUID, DATE, DATE) IS
    'The days in the range (inclusive, null: open) that hold events in any of the six tables, or derived rows.';
