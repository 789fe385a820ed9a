CREATE OR REPLACE FUNCTION garun.settle_shared(p_tenant_id UUID, p_day DATE, INOUT p_pseudos TEXT[], INOUT p_sessions TEXT[],
    OUT visitors_a BIGINT[], OUT visitors_b BIGINT[], OUT days DATE[])
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
-- By the index on the hash, whatever the planner believes of rows that were written a moment ago: hence also the
-- comparison of tenants that no other index serves.
SET enable_bitmapscan = off
SET enable_nestloop = on
AS $$
BEGIN
    SELECT array_agg(user_pseudo_id), array_agg(ga_session_id) INTO p_pseudos, p_sessions
      FROM (SELECT a.user_pseudo_id, a.ga_session_id
              FROM garun.session_days a
             WHERE a.tenant_id = p_tenant_id AND a.event_date = p_day
               AND EXISTS (SELECT FROM garun.session_days b
                            WHERE hashtextextended(b.ga_session_id || b.user_pseudo_id, 0)
                                  = hashtextextended(a.ga_session_id || a.user_pseudo_id, 0)
                              AND b.user_pseudo_id = a.user_pseudo_id AND b.ga_session_id = a.ga_session_id
                              AND b.tenant_id IS NOT DISTINCT FROM p_tenant_id
                              AND (b.event_date <> p_day OR b.branch_id IS DISTINCT FROM a.branch_id))
            UNION
            SELECT * FROM unnest(p_pseudos, p_sessions)) AS shared;
    IF p_pseudos IS NULL THEN
        RETURN;
    END IF;
    WITH rows AS (
        SELECT d.ctid AS row, d.user_pseudo_id, d.ga_session_id, d.webuserid_at, d.own_webuserid, d.event_date, d.branch_id,
               d.visitor_a, d.visitor_b, d.page_views > 0 AS viewed
          FROM unnest(p_pseudos, p_sessions) AS t(pseudo, session)
          JOIN garun.session_days d ON hashtextextended(d.ga_session_id || d.user_pseudo_id, 0)
                                       = hashtextextended(t.session || t.pseudo, 0)
                                   AND d.user_pseudo_id = t.pseudo AND d.ga_session_id = t.session
                                   AND d.tenant_id IS NOT DISTINCT FROM p_tenant_id
    ), truth AS (
        SELECT row, visitor_a, visitor_b, event_date, count(*) OVER same = 1 AS alone,
               substr(max(lpad(webuserid_at::text, 18, '0') || own_webuserid COLLATE "C") OVER same, 19) AS webuserid,
               CASE WHEN viewed THEN max(event_date) FILTER (WHERE viewed) OVER (PARTITION BY user_pseudo_id, ga_session_id
                   ORDER BY event_date, branch_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) END AS before,
               CASE WHEN viewed THEN max(event_date) FILTER (WHERE viewed) OVER (PARTITION BY user_pseudo_id, ga_session_id,
                   branch_id ORDER BY event_date ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) END AS before_here
          FROM rows WINDOW same AS (PARTITION BY user_pseudo_id, ga_session_id)
    ), changed AS (
        UPDATE garun.session_days d
           SET alone = t.alone, webuserid = t.webuserid, session_before = t.before, here_session_before = t.before_here
          FROM truth t
         WHERE d.ctid = t.row AND (d.alone, d.webuserid, d.session_before, d.here_session_before)
                                  IS DISTINCT FROM (t.alone, t.webuserid, t.before, t.before_here)
        RETURNING t.visitor_a AS was_a, t.visitor_b AS was_b, d.visitor_a, d.visitor_b, d.event_date)
    SELECT array_agg(a), array_agg(b), array_agg(day) INTO visitors_a, visitors_b, settle_shared.days
      FROM (SELECT was_a, was_b, event_date FROM changed UNION SELECT c.visitor_a, c.visitor_b, event_date FROM changed c)
           AS visitors(a, b, day);
END
$$;

COMMENT ON FUNCTION garun.settle_shared(UUID, DATE, TEXT[], TEXT[]) IS
    'For the sessions of p_day that have other rows (other days, other branches), and for those named: brings user, alone
and session_before of all their rows in garun.session_days to what all days together say. Returns these sessions, null when
there is none, and the visitors that lost or gained a row by it, with the day of the row: garun.settle_visitors goes on there.';
