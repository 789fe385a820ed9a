CREATE OR REPLACE FUNCTION get_data_availability(p_tenant_id UUID) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
AS $$
BEGIN
    PERFORM garun.check_range(p_tenant_id, NULL, NULL);
    RETURN (
        WITH days AS MATERIALIZED (
            SELECT * FROM garun.event_days WHERE tenant_id = p_tenant_id
        ), tables AS (
            SELECT t.name, coalesce(sum(t.n), 0) AS events, min(d.event_date) FILTER (WHERE t.n > 0) AS first_day,
                   max(d.event_date) FILTER (WHERE t.n > 0) AS last_day
              FROM days d
             CROSS JOIN LATERAL (VALUES ('purchase', d.purchase), ('add_to_cart', d.add_to_cart),
                       ('page_view', d.page_view), ('view_item', d.view_item),
                       ('view_search_results', d.view_search_results), ('no_search_results', d.no_search_results))
                   AS t(name, n)
             GROUP BY t.name
        ), names AS (
            SELECT unnest(ARRAY['purchase', 'add_to_cart', 'page_view', 'view_item', 'view_search_results',
                                'no_search_results']) AS name
        )
        SELECT jsonb_build_object(
            'first_day', (SELECT min(event_date) FROM days), 'last_day', (SELECT max(event_date) FROM days),
            'total_events', (SELECT coalesce(sum(events), 0) FROM tables),
            'tables', (SELECT jsonb_object_agg(n.name, jsonb_build_object('events', coalesce(t.events, 0),
                                  'first_day', t.first_day, 'last_day', t.last_day))
                         FROM names n LEFT JOIN tables t USING (name)),
            'days', (SELECT coalesce(jsonb_agg(jsonb_build_object('date', event_date, 'purchase', purchase,
                                'add_to_cart', add_to_cart, 'page_view', page_view, 'view_item', view_item,
                                'view_search_results', view_search_results, 'no_search_results', no_search_results)
                            ORDER BY event_date), '[]')
                       FROM (SELECT * FROM days ORDER BY event_date DESC LIMIT 90) newest)));
END
$$;

COMMENT ON FUNCTION get_data_availability(UUID) IS
'What is there: {first_day, last_day, total_events, tables: {purchase: {events, first_day, last_day}, ...}, days:
[{date,
purchase, add_to_cart, page_view, view_item, view_search_results, no_search_results}]}, days the last 90 that have events,
oldest first. Null days where there are none.';
