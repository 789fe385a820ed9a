CREATE OR REPLACE FUNCTION get_user_history(
    p_tenant_id UUID,
    p_user_id TEXT
) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_pseudos  TEXT[];
    v_sessions TEXT[];
BEGIN
    PERFORM garun.check_range(p_tenant_id, NULL, NULL);
    -- The newest 1000 events lie in the 1000 sessions that were active last.
    SELECT array_agg(s.user_pseudo_id), array_agg(s.ga_session_id) INTO v_pseudos, v_sessions
      FROM (SELECT user_pseudo_id, ga_session_id FROM garun.session_days
             WHERE visitor_a = hashtextextended('w' || p_user_id, 0) AND webuserid = p_user_id
               AND tenant_id = p_tenant_id
             GROUP BY 1, 2 ORDER BY max(last_at) DESC NULLS LAST LIMIT 1000) s;
    IF v_pseudos IS NULL THEN
        SELECT array_agg(s.user_pseudo_id), array_agg(s.ga_session_id) INTO v_pseudos, v_sessions
          FROM (SELECT user_pseudo_id, ga_session_id FROM garun.session_days
                 WHERE visitor_a = hashtextextended('p' || p_user_id, 0)
                   AND user_pseudo_id = p_user_id AND webuserid IS NULL AND tenant_id = p_tenant_id
                 GROUP BY 1, 2 ORDER BY max(last_at) DESC NULLS LAST LIMIT 1000) s;
    END IF;
    RETURN garun.history(p_tenant_id, v_pseudos, v_sessions);
END
$$;

COMMENT ON FUNCTION get_user_history(UUID, TEXT) IS
'What a user did: the events of the user''s own sessions as in get_session_history, oldest first, at most the newest
1000.

p_user_id is a webuserid; when no session''s user is that, an anonymous visitor''s user_pseudo_id. A session belongs to its
last non-null webuserid as a whole, with what was done before the login.';
