-- Of a long range the page is found among the few who come most (garun.frequent_visitors); where these do not do, as for one
-- location or the last pages, everybody who came twice is grouped and sorted.
CREATE OR REPLACE FUNCTION garun.repeat_page(p_tenant_id UUID, p_query TEXT, p_location_id TEXT, p_start_date DATE,
    p_end_date DATE, p_first BIGINT, p_limit INTEGER)
RETURNS TABLE (total BIGINT, place BIGINT, visitor_a BIGINT, visitor_b BIGINT, visits BIGINT, page_views BIGINT, last_at BIGINT)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
    v_need  BIGINT := p_first + p_limit;
    v_a     BIGINT[];
    v_b     BIGINT[];
    v_least BIGINT;         -- nobody else has more visits
    v_total BIGINT;
    v_known BIGINT[][];
BEGIN
    IF p_query IS NULL AND p_location_id IS NULL AND v_need <= 1000
       AND coalesce(p_end_date - p_start_date >= 7, true) THEN
        SELECT array_agg(f.visitor_a), array_agg(f.visitor_b), greatest(min(f.at_most), 2), max(f.total)
          INTO v_a, v_b, v_least, v_total
          FROM garun.frequent_visitors(p_tenant_id, p_start_date, p_end_date, (500 + 10 * v_need)::int) f;
        SELECT array_agg(ARRAY[k.visitor_a, k.visitor_b, k.visits, k.page_views, k.last_at]
                         ORDER BY k.visits DESC, k.page_views DESC, k.last_at DESC NULLS LAST, k.visitor_a, k.visitor_b)
          INTO v_known
          FROM (SELECT c.a AS visitor_a, c.b AS visitor_b, d.visits - coalesce(s.too_many, 0) AS visits, d.page_views,
                       greatest(d.last_at, s.last_at) AS last_at
                  FROM unnest(v_a, v_b) AS c(a, b)
                 CROSS JOIN LATERAL (
                    SELECT sum(d.visits) AS visits, sum(d.page_views) AS page_views, max(d.last_at) AS last_at
                      FROM garun.visitor_days d
                     WHERE d.visitor_a = c.a AND d.visitor_b = c.b AND d.tenant_id = p_tenant_id
                       AND (p_start_date IS NULL OR d.event_date >= p_start_date)
                       AND (p_end_date IS NULL OR d.event_date <= p_end_date)) d
                 CROSS JOIN LATERAL (
                    SELECT sum(o.too_many) AS too_many, max(o.last_at) AS last_at FROM (
                        SELECT count(*) FILTER (WHERE s.page_views > 0) - 1 AS too_many, max(s.last_at) AS last_at
                          FROM garun.session_days s
                         WHERE s.visitor_a = c.a AND s.visitor_b = c.b AND NOT s.alone AND s.tenant_id = p_tenant_id
                           AND (p_start_date IS NULL OR s.event_date >= p_start_date)
                           AND (p_end_date IS NULL OR s.event_date <= p_end_date)
                         GROUP BY s.user_pseudo_id, s.ga_session_id HAVING sum(s.page_views) > 0) o) s) k
         WHERE k.visits > v_least;
        IF array_length(v_known, 1) >= v_need THEN
            RETURN QUERY
            SELECT v_total, n - p_first, v_known[n][1], v_known[n][2], v_known[n][3], v_known[n][4], v_known[n][5]
              FROM generate_series(p_first + 1, v_need) AS n;
            RETURN;
        END IF;
    END IF;
    RETURN QUERY
    WITH wanted AS MATERIALIZED (
        SELECT * FROM garun.repeat_visitors(p_tenant_id, p_query, p_location_id, p_start_date, p_end_date)
    ), page AS (
        SELECT row_number() OVER () AS place, w.* FROM (
            SELECT * FROM wanted
             ORDER BY visits DESC, page_views DESC, last_at DESC NULLS LAST, visitor_a, visitor_b
             LIMIT p_limit OFFSET p_first) w
    )
    SELECT n.total, p.* FROM (SELECT count(*) AS total FROM wanted) n LEFT JOIN page p ON true;
END
$$;

COMMENT ON FUNCTION garun.repeat_page(UUID, TEXT, TEXT, DATE, DATE, BIGINT, INTEGER) IS
    'The rows p_first + 1 to p_first + p_limit of garun.repeat_visitors in the order of get_repeat_visit_tasks, numbered in
place, and beside each the number of all. A page past the end is one row with null beside that number.';
