-- The days that a session touches are known from its rows in garun.session_days, so the others need no index by session:
-- those days are read whole, once, however many sessions they share.
CREATE OR REPLACE FUNCTION garun.settle_facts(p_tenant_id UUID, p_pseudos TEXT[], p_sessions TEXT[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off
SET enable_mergejoin = off
SET enable_bitmapscan = off
AS $$
DECLARE
    v_pseudos  TEXT[];      -- the sessions again, once a day, with v_sessions, v_alone and v_users
    v_sessions TEXT[];
    v_alone    BOOLEAN[];
    v_users    TEXT[];
    v_on       DATE[];
    v_days     DATE[];      -- the days among v_on
BEGIN
    IF p_pseudos IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(d.user_pseudo_id), array_agg(d.ga_session_id), array_agg(d.alone), array_agg(d.webuserid),
           array_agg(d.event_date), array_agg(DISTINCT d.event_date)
      INTO v_pseudos, v_sessions, v_alone, v_users, v_on, v_days
      FROM unnest(p_pseudos, p_sessions) AS t(pseudo, session)
     CROSS JOIN LATERAL (
        SELECT DISTINCT s.user_pseudo_id, s.ga_session_id, s.alone, s.webuserid, s.event_date
          FROM garun.session_days s
         WHERE hashtextextended(s.ga_session_id || s.user_pseudo_id, 0) = hashtextextended(t.session || t.pseudo, 0)
           AND s.user_pseudo_id = t.pseudo AND s.ga_session_id = t.session
           AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id) d;

    UPDATE garun.cart_days d SET alone = t.alone, webuserid = t.webuserid
      FROM unnest(v_pseudos, v_sessions, v_alone, v_users, v_on) AS t(pseudo, session, alone, webuserid, day)
     WHERE d.tenant_id = p_tenant_id AND d.event_date = ANY (v_days) AND d.event_date = t.day
       AND d.user_pseudo_id = t.pseudo AND d.ga_session_id = t.session
       AND (d.alone, d.webuserid) IS DISTINCT FROM (t.alone, t.webuserid);

    UPDATE garun.purchases d SET webuserid = t.webuserid
      FROM unnest(v_pseudos, v_sessions, v_users, v_on) AS t(pseudo, session, webuserid, day)
     WHERE d.tenant_id = p_tenant_id AND d.event_date = ANY (v_days) AND d.event_date = t.day
       AND d.user_pseudo_id = t.pseudo AND d.ga_session_id = t.session AND d.webuserid IS DISTINCT FROM t.webuserid;

    WITH buyers AS (
        SELECT DISTINCT user_pseudo_id, ga_session_id FROM garun.purchases
         WHERE tenant_id = p_tenant_id AND event_date = ANY (v_days)
    ), searches AS (
        SELECT t.*, b.ga_session_id IS NOT NULL AS bought
          FROM unnest(v_pseudos, v_sessions, v_alone, v_users, v_on) AS t(pseudo, session, alone, webuserid, day)
          LEFT JOIN buyers b ON b.user_pseudo_id = t.pseudo AND b.ga_session_id = t.session)
    UPDATE garun.search_days d SET alone = t.alone, webuserid = t.webuserid, bought = t.bought
      FROM searches t
     WHERE d.tenant_id = p_tenant_id AND d.event_date = ANY (v_days) AND d.event_date = t.day
       AND d.user_pseudo_id = t.pseudo AND d.ga_session_id = t.session
       AND (d.alone, d.webuserid, d.bought) IS DISTINCT FROM (t.alone, t.webuserid, t.bought);
END
$$;

COMMENT ON FUNCTION garun.settle_facts(UUID, TEXT[], TEXT[]) IS
    'Brings user, alone and bought of these sessions in cart_days, purchases and search_days to what garun.session_days
and the purchases of all days say.';
