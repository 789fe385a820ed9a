CREATE OR REPLACE FUNCTION garun.settle_sessions(p_tenant_id UUID, p_day DATE, p_pseudos TEXT[], p_sessions TEXT[])
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_pseudos  TEXT[];
    v_sessions TEXT[];
BEGIN
    -- Sessions that this day shares with other days, now or before.
    SELECT array_agg(user_pseudo_id), array_agg(ga_session_id) INTO v_pseudos, v_sessions
      FROM (SELECT a.user_pseudo_id, a.ga_session_id
              FROM garun.session_days a
              JOIN garun.session_days b USING (tenant_id, user_pseudo_id, ga_session_id)
             WHERE a.tenant_id = p_tenant_id AND a.event_date = p_day AND b.event_date <> p_day
            UNION
            SELECT * FROM unnest(p_pseudos, p_sessions)) AS shared;
    IF v_pseudos IS NULL THEN
        RETURN;
    END IF;

    WITH truth AS (
        SELECT user_pseudo_id, ga_session_id, count(*) = 1 AS alone,
               substr(max(lpad(webuserid_at::text, 18, '0') || own_webuserid COLLATE "C"), 19) AS webuserid
          FROM garun.session_days
          JOIN unnest(v_pseudos, v_sessions) AS t(user_pseudo_id, ga_session_id) USING (user_pseudo_id, ga_session_id)
         WHERE tenant_id = p_tenant_id GROUP BY 1, 2)
    UPDATE garun.session_days d SET alone = t.alone, webuserid = t.webuserid FROM truth t
     WHERE d.tenant_id = p_tenant_id AND d.user_pseudo_id = t.user_pseudo_id AND d.ga_session_id = t.ga_session_id
       AND (d.alone, d.webuserid) IS DISTINCT FROM (t.alone, t.webuserid);

    WITH truth AS (
        SELECT DISTINCT user_pseudo_id, ga_session_id, alone, webuserid
          FROM garun.session_days
          JOIN unnest(v_pseudos, v_sessions) AS t(user_pseudo_id, ga_session_id) USING (user_pseudo_id, ga_session_id)
         WHERE tenant_id = p_tenant_id
    ), carts AS (
        UPDATE garun.cart_days d SET alone = t.alone, webuserid = t.webuserid FROM truth t
         WHERE d.tenant_id = p_tenant_id AND d.user_pseudo_id = t.user_pseudo_id AND d.ga_session_id = t.ga_session_id
           AND (d.alone, d.webuserid) IS DISTINCT FROM (t.alone, t.webuserid)
    ), bought AS (
        UPDATE garun.purchases d SET webuserid = t.webuserid FROM truth t
         WHERE d.tenant_id = p_tenant_id AND d.user_pseudo_id = t.user_pseudo_id AND d.ga_session_id = t.ga_session_id
           AND d.webuserid IS DISTINCT FROM t.webuserid
    ), state AS (
        SELECT t.*, EXISTS (SELECT FROM garun.purchases p WHERE p.tenant_id = p_tenant_id
                               AND p.user_pseudo_id = t.user_pseudo_id AND p.ga_session_id = t.ga_session_id) AS bought
          FROM truth t)
    UPDATE garun.search_days d SET alone = t.alone, webuserid = t.webuserid, bought = t.bought FROM state t
     WHERE d.tenant_id = p_tenant_id AND d.user_pseudo_id = t.user_pseudo_id AND d.ga_session_id = t.ga_session_id
       AND (d.alone, d.webuserid, d.bought) IS DISTINCT FROM (t.alone, t.webuserid, t.bought);
END
$$;

COMMENT ON FUNCTION garun.settle_sessions(UUID, DATE, TEXT[], TEXT[]) IS
    'For sessions with rows on p_day and on other days, and for those named: brings user, alone and bought of all their derived rows to what all days together say.';
