-- The events of sessions, all six tables, newest first; which sessions is the caller's affair.
CREATE OR REPLACE FUNCTION garun.history(p_tenant_id UUID, p_pseudos TEXT[], p_sessions TEXT[]) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_events JSONB;
BEGIN
    WITH sessions(pseudo, session) AS MATERIALIZED (
        SELECT a.pseudo COLLATE "default", a.session COLLATE "default" FROM unnest(p_pseudos, p_sessions) AS a(pseudo, session)
    ), events AS (
        SELECT garun.micros(e.event_timestamp) AS at, 'page_view' AS type, e.id, s.session, s.pseudo,
               jsonb_build_object('page_location', e.param_page_location, 'page_title', e.param_page_title) AS details
          FROM sessions s JOIN page_view e ON e.tenant_id = p_tenant_id AND e.param_ga_session_id = s.session
                                          AND e.user_pseudo_id = s.pseudo
        UNION ALL
        SELECT garun.micros(e.event_timestamp), 'view_item', e.id, s.session, s.pseudo,
               jsonb_build_object('item_id', e.first_item_item_id, 'item_name', e.first_item_item_name,
                                  'category', e.first_item_item_category, 'price', e.first_item_price, 'quantity', NULL)
          FROM sessions s JOIN view_item e ON e.tenant_id = p_tenant_id AND e.param_ga_session_id = s.session
                                          AND e.user_pseudo_id = s.pseudo
        UNION ALL
        SELECT garun.micros(e.event_timestamp), 'add_to_cart', e.id, s.session, s.pseudo,
               jsonb_build_object('item_id', e.first_item_item_id, 'item_name', e.first_item_item_name,
                                  'category', e.first_item_item_category, 'price', e.first_item_price,
                                  'quantity', e.first_item_quantity)
          FROM sessions s JOIN add_to_cart e ON e.tenant_id = p_tenant_id AND e.param_ga_session_id = s.session
                                            AND e.user_pseudo_id = s.pseudo
        UNION ALL
        SELECT garun.micros(e.event_timestamp), 'purchase', e.id, s.session, s.pseudo,
               jsonb_build_object('transaction_id', e.param_transaction_id, 'revenue', e.ecommerce_purchase_revenue,
                                  'items', coalesce(e.items_json, '[]'))
          FROM sessions s JOIN purchase e ON e.tenant_id = p_tenant_id AND e.param_ga_session_id = s.session
                                         AND e.user_pseudo_id = s.pseudo
        UNION ALL
        SELECT garun.micros(e.event_timestamp), 'view_search_results', e.id, s.session, s.pseudo,
               jsonb_build_object('search_term', e.param_search_term)
          FROM sessions s JOIN view_search_results e ON e.tenant_id = p_tenant_id AND e.param_ga_session_id = s.session
                                                    AND e.user_pseudo_id = s.pseudo
        UNION ALL
        SELECT garun.micros(e.event_timestamp), 'no_search_results', e.id, s.session, s.pseudo,
               jsonb_build_object('search_term', e.param_no_search_results_term)
          FROM sessions s JOIN no_search_results e ON e.tenant_id = p_tenant_id AND e.param_ga_session_id = s.session
                                                  AND e.user_pseudo_id = s.pseudo
    ), newest AS (
        SELECT * FROM events ORDER BY at DESC NULLS LAST, type DESC, id DESC LIMIT 1000
    )
    SELECT jsonb_agg(jsonb_build_object('event_timestamp', garun.iso(at), 'event_type', type, 'session_id', session,
                                        'user_pseudo_id', pseudo, 'details', details)
                     ORDER BY at NULLS FIRST, type, id)
      INTO v_events FROM newest;
    RETURN coalesce(v_events, '[]');
END
$$;

COMMENT ON FUNCTION garun.history(UUID, TEXT[], TEXT[]) IS
    'The newest 1000 events of these sessions (pairs of user_pseudo_id and ga_session_id), oldest first, as
get_session_history gives them.';
