-- The one question that has to group visitors, so it may use the second core: RETURN QUERY can start a parallel worker, INTO
-- and a cursor cannot (PostgreSQL manual, 15.2 and 43.6).
CREATE OR REPLACE FUNCTION garun.repeat_visitors(p_tenant_id UUID, p_query TEXT, p_location_id TEXT, p_start_date DATE,
    p_end_date DATE)
RETURNS TABLE (visitor_a BIGINT, visitor_b BIGINT, visits BIGINT, page_views BIGINT, last_at BIGINT)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 1
-- The planner takes two columns that are one key for two filters, and expects next to nothing of a join by both.
SET enable_mergejoin = off
SET enable_sort = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET hash_mem_multiplier = 4
AS $$
#variable_conflict use_column
DECLARE
    v_start DATE := coalesce(p_start_date, '-infinity');
BEGIN
    RETURN QUERY
    -- A visitor has come twice in the range from one day on: that day's row names the visitor once, so nobody needs to
    -- be grouped to be found (garun.visitor_days).
    WITH twice AS (
        SELECT d.visitor_a, d.visitor_b
          FROM garun.visitor_days d
         WHERE d.tenant_id = p_tenant_id
           AND (p_start_date IS NULL OR d.event_date >= p_start_date)
           AND (p_end_date IS NULL OR d.event_date <= p_end_date)
           AND (p_location_id IS NULL OR d.branch_id = p_location_id)
           AND CASE WHEN p_location_id IS NULL
               THEN d.leads AND d.twice_since >= v_start AND (d.was_twice_since IS NULL OR d.was_twice_since < v_start)
               ELSE d.here_twice_since >= v_start AND (d.here_was_twice_since IS NULL OR d.here_was_twice_since < v_start) END
           AND (p_query IS NULL OR (d.visitor_a, d.visitor_b) IN (
               SELECT hashtextextended('w' || u, 0), hashtextextended('w' || u, 1)
                 FROM garun.users_like(p_tenant_id, p_query) u))
    ), visitors AS NOT MATERIALIZED (
        -- Whoever bought was seen in the range under the pseudo id that did: in the purchase's session, or in another one.
        SELECT t.visitor_a, t.visitor_b
          FROM twice t
         WHERE NOT EXISTS (
               SELECT FROM garun.session_days s
                 JOIN garun.purchases b ON b.tenant_id = p_tenant_id AND b.user_pseudo_id = s.user_pseudo_id
                WHERE s.tenant_id = p_tenant_id AND s.visitor_a = t.visitor_a AND s.visitor_b = t.visitor_b
                  AND (p_start_date IS NULL OR s.event_date >= p_start_date)
                  AND (p_end_date IS NULL OR s.event_date <= p_end_date)
                  AND (p_start_date IS NULL OR b.event_date >= p_start_date)
                  AND (p_end_date IS NULL OR b.event_date <= p_end_date))
    ), parts AS (
        SELECT d.visitor_a, d.visitor_b, d.visits, d.page_views, d.last_at
          FROM garun.visitor_days d
         WHERE d.tenant_id = p_tenant_id
           AND (p_start_date IS NULL OR d.event_date >= p_start_date)
           AND (p_end_date IS NULL OR d.event_date <= p_end_date)
           AND (p_location_id IS NULL OR d.branch_id = p_location_id)
        UNION ALL
        -- What a session of several rows has too many of, and its last event, which a row without a page view may have.
        SELECT s.visitor_a, s.visitor_b, 1 - count(*) FILTER (WHERE s.page_views > 0)::int, 0, max(s.last_at)
          FROM garun.session_days s
         WHERE s.tenant_id = p_tenant_id AND NOT s.alone
           AND (p_start_date IS NULL OR s.event_date >= p_start_date)
           AND (p_end_date IS NULL OR s.event_date <= p_end_date)
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
         GROUP BY s.user_pseudo_id, s.ga_session_id, s.visitor_a, s.visitor_b HAVING sum(s.page_views) > 0
    )
    SELECT p.visitor_a, p.visitor_b, sum(p.visits), sum(p.page_views), max(p.last_at)
      FROM parts p
     WHERE EXISTS (SELECT FROM visitors v WHERE v.visitor_a = p.visitor_a AND v.visitor_b = p.visitor_b)
     GROUP BY 1, 2;
END
$$;

COMMENT ON FUNCTION garun.repeat_visitors(UUID, TEXT, TEXT, DATE, DATE) IS
    'Users with 2 or more visits in the filter and no purchase in the range, at any branch, under any of their ids: visits,
page views, and the time of the last event of these visits (microseconds since 1970). A null date: open; a null location: all;
p_query: a part of customer or e-mail in lower case, null: none.';
