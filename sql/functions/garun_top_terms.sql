-- Groups every search there is, so it may use the second core: see garun_repeat_visitors.sql.
CREATE OR REPLACE FUNCTION garun.top_terms(p_tenant_id UUID, p_location_id TEXT, p_start_date DATE, p_end_date DATE)
RETURNS TABLE (term TEXT, searches BIGINT, failed BIGINT, sessions BIGINT)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 1
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
BEGIN
    RETURN QUERY
    SELECT s.term::text, sum(s.found + s.failed), sum(s.failed),
           count(*) FILTER (WHERE s.alone AND s.user_pseudo_id IS NOT NULL)
      FROM garun.search_days s
     WHERE s.tenant_id = p_tenant_id AND s.term <> ''
       AND (p_start_date IS NULL OR s.event_date >= p_start_date)
       AND (p_end_date IS NULL OR s.event_date <= p_end_date)
       AND (p_location_id IS NULL OR s.branch_id = p_location_id)
     GROUP BY s.term
     ORDER BY 2 DESC, s.term COLLATE "C" LIMIT 20;
END
$$;

COMMENT ON FUNCTION garun.top_terms(UUID, TEXT, DATE, DATE) IS
    'The 20 most frequent search terms of the filter, most frequent first: searches, failed ones among them, and sessions of
one row in garun.search_days (those of several are left for the caller to add).';
