-- The days that a session touches are known from its rows in garun.session_days, so the others need no index by session.
CREATE OR REPLACE FUNCTION garun.settle_facts(p_tenant_id UUID, p_pseudos TEXT[], p_sessions TEXT[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET enable_nestloop = on
SET enable_bitmapscan = off
AS $$
    WITH truth AS MATERIALIZED (
        SELECT DISTINCT d.user_pseudo_id, d.ga_session_id, d.event_date, d.alone, d.webuserid
          FROM unnest(p_pseudos, p_sessions) AS t(pseudo, session)
          JOIN garun.session_days d ON hashtextextended(d.ga_session_id || d.user_pseudo_id, 0)
                                       = hashtextextended(t.session || t.pseudo, 0)
                                   AND d.user_pseudo_id = t.pseudo AND d.ga_session_id = t.session
                                   AND d.tenant_id IS NOT DISTINCT FROM p_tenant_id
    ), carts AS (
        UPDATE garun.cart_days d SET alone = t.alone, webuserid = t.webuserid FROM truth t
         WHERE d.tenant_id = p_tenant_id AND d.event_date = t.event_date AND d.user_pseudo_id = t.user_pseudo_id
           AND d.ga_session_id = t.ga_session_id AND (d.alone, d.webuserid) IS DISTINCT FROM (t.alone, t.webuserid)
    ), purchases AS (
        UPDATE garun.purchases d SET webuserid = t.webuserid FROM truth t
         WHERE d.tenant_id = p_tenant_id AND d.event_date = t.event_date AND d.user_pseudo_id = t.user_pseudo_id
           AND d.ga_session_id = t.ga_session_id AND d.webuserid IS DISTINCT FROM t.webuserid
    ), buyers AS (
        SELECT DISTINCT t.user_pseudo_id, t.ga_session_id
          FROM truth t JOIN garun.purchases p ON p.tenant_id = p_tenant_id AND p.event_date = t.event_date
                                             AND p.user_pseudo_id = t.user_pseudo_id AND p.ga_session_id = t.ga_session_id
    ), searches AS (
        SELECT t.*, b.ga_session_id IS NOT NULL AS bought
          FROM truth t LEFT JOIN buyers b USING (user_pseudo_id, ga_session_id))
    UPDATE garun.search_days d SET alone = t.alone, webuserid = t.webuserid, bought = t.bought FROM searches t
     WHERE d.tenant_id = p_tenant_id AND d.event_date = t.event_date AND d.user_pseudo_id = t.user_pseudo_id
       AND d.ga_session_id = t.ga_session_id
       AND (d.alone, d.webuserid, d.bought) IS DISTINCT FROM (t.alone, t.webuserid, t.bought)
$$;

COMMENT ON FUNCTION garun.settle_facts(UUID, TEXT[], TEXT[]) IS
    'Brings user, alone and bought of these sessions in cart_days, purchases and search_days to what garun.session_days
and the purchases of all days say.';
