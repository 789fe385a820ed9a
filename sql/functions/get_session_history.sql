CREATE OR REPLACE FUNCTION get_session_history(
    p_tenant_id UUID,
    p_session_id TEXT
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
    v_session  TEXT COLLATE "default" := p_session_id;     -- the indexes' collation, whatever the argument's is
BEGIN
    PERFORM garun.check_range(p_tenant_id, NULL, NULL);
    SELECT array_agg(s.user_pseudo_id), array_agg(v_session) INTO v_pseudos, v_sessions
      FROM (SELECT user_pseudo_id FROM page_view
             WHERE tenant_id = p_tenant_id AND param_ga_session_id = v_session
            UNION SELECT user_pseudo_id FROM view_item
             WHERE tenant_id = p_tenant_id AND param_ga_session_id = v_session
            UNION SELECT user_pseudo_id FROM add_to_cart
             WHERE tenant_id = p_tenant_id AND param_ga_session_id = v_session
            UNION SELECT user_pseudo_id FROM purchase
             WHERE tenant_id = p_tenant_id AND param_ga_session_id = v_session
            UNION SELECT user_pseudo_id FROM view_search_results
             WHERE tenant_id = p_tenant_id AND param_ga_session_id = v_session
            UNION SELECT user_pseudo_id FROM no_search_results
             WHERE tenant_id = p_tenant_id AND param_ga_session_id = v_session) s
     WHERE s.user_pseudo_id IS NOT NULL;
    RETURN garun.history(p_tenant_id, v_pseudos, v_sessions);
END
$$;

COMMENT ON FUNCTION get_session_history(UUID, TEXT) IS
'What happened in a session: a JSON array of its events, oldest first, at most the newest 1000. A session id may be
several
people''s: then all of them, told apart by user_pseudo_id. An unknown id gives [].

Each: {event_timestamp (ISO 8601 UTC), event_type (the table''s name), session_id, user_pseudo_id, details}. details of
page_view: page_location, page_title; view_item, add_to_cart: item_id, item_name, category, price, quantity of the first
item; purchase: transaction_id, revenue, items (array); searches: search_term.';
