-- Both read every search of the filter and may use the second core for it: see garun_repeat_visitors.sql. The users that
-- p_query finds are handed in, for a subquery in the condition would keep PostgreSQL 15 from using it.
CREATE OR REPLACE FUNCTION garun.count_search_tasks(p_tenant_id UUID, p_query TEXT, p_users TEXT[], p_location_id TEXT,
    p_start_date DATE, p_end_date DATE, p_include_converted BOOLEAN)
RETURNS SETOF BIGINT
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 1
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
BEGIN
    RETURN QUERY
    SELECT count(*) FILTER (WHERE w.failed > 0)
           + count(*) FILTER (WHERE w.found > 0 AND w.session_found >= 3 AND (NOT w.bought OR p_include_converted))
      FROM garun.searches(p_tenant_id, p_location_id, p_start_date, p_end_date) w
     WHERE p_query IS NULL OR strpos(w.term, p_query) > 0
        OR w.webuserid = ANY (p_users);
END
$$;

COMMENT ON FUNCTION garun.count_search_tasks(UUID, TEXT, TEXT[], TEXT, DATE, DATE, BOOLEAN) IS
    'How many rows get_search_analysis_tasks has on all its pages: of p_query (in lower case, null: all),
those whose term contains it and those of p_users.';

CREATE OR REPLACE FUNCTION garun.search_tasks(p_tenant_id UUID, p_query TEXT, p_users TEXT[], p_location_id TEXT,
    p_start_date DATE, p_end_date DATE, p_include_converted BOOLEAN, p_first BIGINT, p_limit INTEGER)
RETURNS TABLE (place BIGINT, search_type TEXT, search_count INTEGER, event_date DATE, user_pseudo_id VARCHAR,
               ga_session_id VARCHAR, webuserid VARCHAR, term VARCHAR)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 1
-- The planner takes all rows to go from one core to the other, which the LIMIT spares.
SET parallel_tuple_cost = 0.005
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    -- The first of each type, by the order of the page, then the first of these.
    WITH failed AS (
        SELECT 'no_results' AS search_type, w.failed AS search_count, w.failed_at AS at, w.failed_on AS event_date,
               w.user_pseudo_id, w.ga_session_id, w.webuserid, w.term
          FROM garun.searches(p_tenant_id, p_location_id, p_start_date, p_end_date) w
         WHERE w.failed > 0 AND (p_query IS NULL OR strpos(w.term, p_query) > 0 OR w.webuserid = ANY (p_users))
         ORDER BY w.failed DESC, w.failed_at DESC NULLS LAST, w.term COLLATE "C", w.user_pseudo_id COLLATE "C" NULLS LAST,
                  w.ga_session_id COLLATE "C" NULLS LAST
         LIMIT p_first + p_limit
    ), found AS (
        SELECT CASE WHEN w.bought THEN 'converted' ELSE 'no_conversion' END, w.found, w.found_at, w.found_on, w.user_pseudo_id,
               w.ga_session_id, w.webuserid, w.term
          FROM garun.searches(p_tenant_id, p_location_id, p_start_date, p_end_date) w
         WHERE w.found > 0 AND w.session_found >= 3 AND (NOT w.bought OR p_include_converted)
           AND (p_query IS NULL OR strpos(w.term, p_query) > 0 OR w.webuserid = ANY (p_users))
         ORDER BY w.found DESC, w.found_at DESC NULLS LAST, NOT w.bought, w.term COLLATE "C",
                  w.user_pseudo_id COLLATE "C" NULLS LAST, w.ga_session_id COLLATE "C" NULLS LAST
         LIMIT p_first + p_limit
    ), page AS (
        SELECT * FROM (SELECT * FROM failed UNION ALL SELECT * FROM found) t
         ORDER BY t.search_count DESC, t.at DESC NULLS LAST, t.search_type, t.term COLLATE "C",
                  t.user_pseudo_id COLLATE "C" NULLS LAST, t.ga_session_id COLLATE "C" NULLS LAST
         LIMIT p_limit OFFSET p_first
    )
    SELECT row_number() OVER (), p.search_type, p.search_count, p.event_date, p.user_pseudo_id, p.ga_session_id, p.webuserid,
           p.term
      FROM page p;
END
$$;

COMMENT ON FUNCTION garun.search_tasks(UUID, TEXT, TEXT[], TEXT, DATE, DATE, BOOLEAN, BIGINT, INTEGER) IS
    'The rows p_first + 1 to p_first + p_limit of get_search_analysis_tasks, in its order, numbered in place.';
