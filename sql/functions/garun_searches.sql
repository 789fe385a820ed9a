-- No SET clauses: the planner takes this in place of the call, and what it knows of the arguments with it. The condition
-- (NOT alone OR user_pseudo_id IS NULL) is that of idx_search_days_odd, said whole so that the planner knows it.
CREATE OR REPLACE FUNCTION garun.searches(p_tenant_id UUID, p_location_id TEXT, p_start_date DATE, p_end_date DATE)
RETURNS TABLE (found_on DATE, failed_on DATE, found INTEGER, failed INTEGER, found_at BIGINT, failed_at BIGINT,
               session_found INTEGER, bought BOOLEAN, user_pseudo_id VARCHAR, ga_session_id VARCHAR, webuserid VARCHAR,
               term VARCHAR)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY INVOKER
AS $$
    -- A session that is alone has all of a term's searches in one row.
    SELECT s.event_date, s.event_date, s.found, s.failed, s.found_at, s.failed_at, s.session_found, s.bought,
           s.user_pseudo_id, s.ga_session_id, s.webuserid, s.term
      FROM garun.search_days s
     WHERE s.tenant_id = p_tenant_id AND s.alone AND s.user_pseudo_id IS NOT NULL AND s.term <> ''
       AND (p_start_date IS NULL OR s.event_date >= p_start_date)
       AND (p_end_date IS NULL OR s.event_date <= p_end_date)
       AND (p_location_id IS NULL OR s.branch_id = p_location_id)
    UNION ALL
    -- Those of the few others are put together; blank terms count among what the session has found.
    SELECT * FROM (
        SELECT (array_agg(s.event_date ORDER BY s.found_at DESC NULLS LAST, s.event_date DESC))[1],
               (array_agg(s.event_date ORDER BY s.failed_at DESC NULLS LAST, s.event_date DESC))[1],
               sum(s.found)::int, sum(s.failed)::int, max(s.found_at), max(s.failed_at),
               sum(sum(s.found)) OVER (PARTITION BY s.user_pseudo_id, s.ga_session_id)::int,
               bool_or(s.bought), s.user_pseudo_id, s.ga_session_id, max(s.webuserid)::varchar, s.term
          FROM garun.search_days s
         WHERE s.tenant_id = p_tenant_id AND (NOT s.alone OR s.user_pseudo_id IS NULL) AND s.user_pseudo_id IS NOT NULL
           AND (p_start_date IS NULL OR s.event_date >= p_start_date)
           AND (p_end_date IS NULL OR s.event_date <= p_end_date)
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
         GROUP BY s.user_pseudo_id, s.ga_session_id, s.term) AS together
     WHERE term <> ''
    UNION ALL
    -- Searches of no session: a row a term, of failed ones only.
    SELECT NULL, (array_agg(s.event_date ORDER BY s.failed_at DESC NULLS LAST, s.event_date DESC))[1], 0, sum(s.failed)::int,
           NULL, max(s.failed_at), 0, false, NULL, NULL, NULL, s.term
      FROM garun.search_days s
     WHERE s.tenant_id = p_tenant_id AND (NOT s.alone OR s.user_pseudo_id IS NULL) AND s.user_pseudo_id IS NULL
       AND s.failed > 0 AND s.term <> ''
       AND (p_start_date IS NULL OR s.event_date >= p_start_date)
       AND (p_end_date IS NULL OR s.event_date <= p_end_date)
       AND (p_location_id IS NULL OR s.branch_id = p_location_id)
     GROUP BY s.term
$$;

COMMENT ON FUNCTION garun.searches(UUID, TEXT, DATE, DATE) IS
    'Searches of the filter, a row for each session and term that is not blank: how many found something and how many failed,
the last of each (day, and microseconds since 1970), how many successful ones the session has with all its terms, and
whether it bought. Failed searches of no session are a row for each term.';
