-- Nobody is grouped who has come just twice. A visitor's first visit of the range and the second one are known from the rows
-- they are in (garun.visitor_days), so only what a row has beyond them is added up: a tenth of the rows in a month.
CREATE OR REPLACE FUNCTION garun.frequent_visitors(p_tenant_id UUID, p_start_date DATE, p_end_date DATE, p_most INTEGER)
RETURNS TABLE (visitor_a BIGINT, visitor_b BIGINT, at_most BIGINT, total BIGINT)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
-- The second core: see garun_repeat_visitors.sql. Half a million rows go from it to the first; the planner thinks them dearer
-- than they are (0.1 us each).
SET max_parallel_workers_per_gather = 1
SET parallel_tuple_cost = 0.005
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET hash_mem_multiplier = 4
AS $$
#variable_conflict use_column
DECLARE
    v_start DATE := coalesce(p_start_date, '-infinity');
BEGIN
    RETURN QUERY
    WITH days AS (
        SELECT d.visitor_a, d.visitor_b, d.visits,
               d.leads AND (d.day_before IS NULL OR d.day_before < v_start) AS first,
               d.leads AND d.twice_since >= v_start AND (d.was_twice_since IS NULL OR d.was_twice_since < v_start) AS second
          FROM garun.visitor_days d
         WHERE d.tenant_id = p_tenant_id
           AND (p_start_date IS NULL OR d.event_date >= p_start_date)
           AND (p_end_date IS NULL OR d.event_date <= p_end_date)
    ), rows AS MATERIALIZED (
        SELECT d.visitor_a, d.visitor_b, d.second, d.visits - d.first::int - d.second::int AS more
          FROM days d
         WHERE (d.second OR d.visits - d.first::int - d.second::int <> 0)
           AND NOT EXISTS (
               SELECT FROM garun.session_days s
                 JOIN garun.purchases b ON b.tenant_id = p_tenant_id AND b.user_pseudo_id = s.user_pseudo_id
                WHERE s.tenant_id = p_tenant_id AND s.visitor_a = d.visitor_a AND s.visitor_b = d.visitor_b
                  AND (p_start_date IS NULL OR s.event_date >= p_start_date)
                  AND (p_end_date IS NULL OR s.event_date <= p_end_date)
                  AND (p_start_date IS NULL OR b.event_date >= p_start_date)
                  AND (p_end_date IS NULL OR b.event_date <= p_end_date))
    )
    SELECT r.visitor_a, r.visitor_b, 2 + sum(r.more), (SELECT count(*) FROM rows WHERE second)
      FROM rows r WHERE r.more <> 0 GROUP BY 1, 2 ORDER BY 3 DESC LIMIT p_most;
END
$$;

COMMENT ON FUNCTION garun.frequent_visitors(UUID, DATE, DATE, INTEGER) IS
    'The p_most users without a purchase in the range that may have the most visits of it, all with more than 2: no other one
has more than the least at_most here. The visits themselves may be fewer, for a session of several rows counts once in each.
total: users with 2 or more visits and no purchase, in all.';
