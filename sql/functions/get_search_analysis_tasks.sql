CREATE OR REPLACE FUNCTION get_search_analysis_tasks(
    p_tenant_id UUID,
    p_page INTEGER,
    p_limit INTEGER,
    p_query TEXT DEFAULT NULL,
    p_location_id TEXT DEFAULT NULL,
    p_start_date DATE DEFAULT NULL,
    p_end_date DATE DEFAULT NULL,
    p_include_converted BOOLEAN DEFAULT FALSE
) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
    v_query TEXT := nullif(lower(p_query), '');
    v_users TEXT[];
    v_total BIGINT;
    v_data  JSONB;
    v_top   JSONB;
BEGIN
    PERFORM garun.check_range(p_tenant_id, p_start_date, p_end_date);
    PERFORM garun.check_page(p_page, p_limit);

    IF v_query IS NOT NULL THEN
        v_users := ARRAY(SELECT * FROM garun.users_like(p_tenant_id, v_query));
    END IF;
    SELECT * INTO v_total
      FROM garun.count_search_tasks(p_tenant_id, v_query, v_users, p_location_id, p_start_date, p_end_date,
                                    p_include_converted);
    SELECT jsonb_agg(jsonb_build_object(
                   'search_term', p.term, 'search_type', p.search_type, 'search_count', p.search_count,
                   'session_id', p.ga_session_id, 'event_date', p.event_date, 'user_id', p.webuserid,
                   'customer_name', u.buying_company_name, 'email', u.email, 'phone', u.cell_phone,
                   'office_phone', u.office_phone) ORDER BY p.place)
      INTO v_data
      FROM garun.search_tasks(p_tenant_id, v_query, v_users, p_location_id, p_start_date, p_end_date, p_include_converted,
                              (p_page - 1)::bigint * p_limit, p_limit) p
      LEFT JOIN users u ON u.tenant_id = p_tenant_id AND u.user_id = p.webuserid COLLATE "default";

    WITH top AS MATERIALIZED (
        SELECT * FROM garun.top_terms(p_tenant_id, p_location_id, p_start_date, p_end_date)
    ), shared AS (
        SELECT term, count(*) AS sessions FROM (
            SELECT DISTINCT s.term, s.user_pseudo_id, s.ga_session_id
              FROM garun.search_days s
             WHERE s.tenant_id = p_tenant_id AND (NOT s.alone OR s.user_pseudo_id IS NULL) AND NOT s.alone
               AND s.term IN (SELECT t.term FROM top t)
               AND (p_start_date IS NULL OR s.event_date >= p_start_date)
               AND (p_end_date IS NULL OR s.event_date <= p_end_date)
               AND (p_location_id IS NULL OR s.branch_id = p_location_id)) d
         GROUP BY term
    )
    SELECT jsonb_agg(jsonb_build_object('search_term', t.term, 'search_count', t.searches,
                                        'sessions', t.sessions + coalesce(s.sessions, 0), 'zero_results', t.failed)
                     ORDER BY t.searches DESC, t.term COLLATE "C")
      INTO v_top FROM top t LEFT JOIN shared s ON s.term = t.term;
    RETURN garun.envelope(v_data, v_total, p_page, p_limit) || jsonb_build_object('top_terms', coalesce(v_top, '[]'));
END
$$;

COMMENT ON FUNCTION get_search_analysis_tasks(UUID, INTEGER, INTEGER, TEXT, TEXT, DATE, DATE, BOOLEAN) IS
'Searches to look at: one row per session, term and type. Terms are trimmed of white space and compared (and shown) in
lower case, blank ones have no row. Most searched first, then newest.

search_type no_results: failed searches, also those in no session (one row a term then, session_id null);
no_conversion: terms of sessions with 3 or more successful searches in the filter and no purchase in the session;
converted: the same of sessions with a purchase, only with p_include_converted.
Other arguments as in get_purchase_tasks; p_query: a part of term, customer or e-mail.

data: search_term, search_type, search_count, session_id, event_date (of the last search), user_id, customer_name, email,
phone, office_phone. Beside the envelope top_terms, whatever p_query says: the 20 most frequent terms of all searches in
the filter, {search_term, search_count, sessions, zero_results}.';
