-- A visitor's days, and the visitor's days at each branch, are lines of days; from the day before alone it is known
--     day_before        that day,
--     twice_since       this day, when it has several sessions; else that day, or its twice_since when it has the same
--                       single session as this one, which went on over midnight,
--     was_twice_since   its twice_since.
-- So a new day needs one look at the index, and what follows it changes only as far as it reaches back to it.
CREATE OR REPLACE FUNCTION garun.settle_visitors(p_tenant_id UUID, p_day DATE, p_gone_a BIGINT[], p_gone_b BIGINT[],
    p_visitors_a BIGINT[], p_visitors_b BIGINT[], p_days DATE[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
-- A visitor is looked up by index, whatever the planner believes of rows that were written a moment ago: hence the
-- comparison of tenants that no other index serves.
SET enable_bitmapscan = off
SET enable_seqscan = off
SET enable_nestloop = on
AS $$
DECLARE
    v_days     DATE[];      -- with v_branches: where else than on p_day rows have changed
    v_branches TEXT[];
    v_until    DATE;        -- the last day with another change than what follows from changes
BEGIN
    WITH gone AS (
        DELETE FROM garun.visitor_days d USING unnest(p_visitors_a, p_visitors_b, p_days) AS t(a, b, day)
         WHERE d.visitor_a = t.a AND d.event_date = t.day AND d.visitor_b = t.b AND t.day <> p_day
           AND d.tenant_id IS NOT DISTINCT FROM p_tenant_id
        RETURNING d.event_date, d.branch_id
    ), rows AS (
        SELECT event_date, visitor_a AS a, visitor_b AS b, branch_id, page_views, last_at,
               hashtextextended(ga_session_id || user_pseudo_id, 0) AS session
          FROM garun.session_days
         WHERE tenant_id = p_tenant_id AND event_date = p_day AND page_views > 0
        UNION ALL
        SELECT s.*
          FROM (SELECT DISTINCT * FROM unnest(p_visitors_a, p_visitors_b, p_days)) AS t(a, b, day)
         CROSS JOIN LATERAL (
            SELECT s.event_date, s.visitor_a, s.visitor_b, s.branch_id, s.page_views, s.last_at,
                   hashtextextended(s.ga_session_id || s.user_pseudo_id, 0)
              FROM garun.session_days s
             WHERE s.visitor_a = t.a AND s.event_date = t.day AND s.visitor_b = t.b AND s.page_views > 0
               AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
            OFFSET 0) s
         WHERE t.day <> p_day
    ), days AS (
        SELECT event_date, a, b, branch_id, count(*) AS visits, sum(page_views) AS page_views, max(last_at) AS last_at,
               min(session) AS low, max(session) AS high,
               row_number() OVER (PARTITION BY event_date, a, b ORDER BY branch_id) = 1 AS leads,
               min(min(session)) OVER (PARTITION BY event_date, a, b) AS lowest,
               max(max(session)) OVER (PARTITION BY event_date, a, b) AS highest
          FROM rows GROUP BY event_date, a, b, branch_id
    ), made AS (
        INSERT INTO garun.visitor_days (tenant_id, event_date, visitor_a, visitor_b, branch_id, leads, visits, page_views, last_at,
               session, here_session, day_before, twice_since, was_twice_since, here_day_before, here_twice_since,
               here_was_twice_since)
        SELECT p_tenant_id, d.event_date, d.a, d.b, d.branch_id, d.leads, d.visits, d.page_views, d.last_at,
               CASE WHEN d.lowest = d.highest THEN d.lowest END, CASE WHEN d.low = d.high THEN d.low END,
               CASE WHEN d.leads THEN p.event_date END,
               CASE WHEN NOT d.leads THEN NULL WHEN d.lowest < d.highest THEN d.event_date
                    WHEN d.lowest = p.session THEN p.twice_since ELSE p.event_date END,
               CASE WHEN d.leads THEN p.twice_since END,
               h.event_date,
               CASE WHEN d.low < d.high THEN d.event_date WHEN d.low = h.here_session THEN h.here_twice_since
                    ELSE h.event_date END,
               h.here_twice_since
          FROM days d
          LEFT JOIN LATERAL (
            SELECT s.* FROM garun.visitor_days s
             WHERE s.visitor_a = d.a AND s.event_date < d.event_date AND s.visitor_b = d.b AND s.leads
               AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
             ORDER BY s.event_date DESC LIMIT 1) p ON true
          LEFT JOIN LATERAL (
            -- Mostly the same row again, and then not looked for again.
            SELECT p.event_date, p.here_session, p.here_twice_since
             WHERE p.branch_id IS NOT DISTINCT FROM d.branch_id AND p.event_date IS NOT NULL
            UNION ALL
            (SELECT s.event_date, s.here_session, s.here_twice_since FROM garun.visitor_days s
              WHERE p.branch_id IS DISTINCT FROM d.branch_id AND p.event_date IS NOT NULL
                AND s.visitor_a = d.a AND s.event_date < d.event_date AND s.visitor_b = d.b
                AND s.branch_id IS NOT DISTINCT FROM d.branch_id AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
              ORDER BY s.event_date DESC LIMIT 1)) h ON true
         ORDER BY d.branch_id
        RETURNING event_date, branch_id)
    SELECT array_agg(event_date), array_agg(branch_id) INTO v_days, v_branches
      FROM (SELECT event_date, branch_id FROM gone
            UNION SELECT event_date, branch_id FROM made WHERE event_date <> p_day) AS elsewhere;

    -- The days after a change.
    v_until := greatest(p_day, (SELECT max(d) FROM unnest(p_days) AS d));
    WITH changed AS (
        SELECT DISTINCT visitor_a AS a, visitor_b AS b FROM garun.visitor_days
         WHERE tenant_id = p_tenant_id AND event_date = p_day
        UNION
        SELECT * FROM unnest(p_gone_a, p_gone_b)
    ), visitors AS (
        SELECT a, b, min(day) AS since FROM (
            SELECT c.a, c.b, p_day AS day
              FROM changed c
             WHERE (SELECT max(event_date) FROM garun.visitor_days WHERE tenant_id = p_tenant_id) > p_day
            UNION ALL
            SELECT * FROM unnest(p_visitors_a, p_visitors_b, p_days)) AS from_then_on
         GROUP BY a, b
    ), rows AS MATERIALIZED (
        SELECT v.*, s.*
          FROM visitors v
         CROSS JOIN LATERAL (
            SELECT s.ctid AS row, s.event_date, s.branch_id, s.session, s.here_session,
                   s.leads AND (s.event_date <= v_until OR coalesce(s.day_before, v_until) <= v_until
                                OR coalesce(s.was_twice_since, v_until) <= v_until) AS everywhere,
                   s.event_date <= v_until OR coalesce(s.here_day_before, v_until) <= v_until
                       OR coalesce(s.here_was_twice_since, v_until) <= v_until AS here
              FROM garun.visitor_days s
             WHERE s.visitor_a = v.a AND s.event_date >= v.since AND s.visitor_b = v.b
               AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
            OFFSET 0) s
         WHERE s.everywhere OR s.here
    ), lines AS (
        -- The line of the visitor's days (place null) and those of the visitor's days at each branch, each begun with the
        -- day before.
        SELECT a, b, false AS here, NULL AS place, row, event_date, session, NULL::date AS known FROM rows WHERE everywhere
        UNION ALL
        SELECT a, b, true, branch_id, row, event_date, here_session, NULL FROM rows WHERE here
        UNION ALL
        SELECT v.a, v.b, false, NULL, NULL, p.*
          FROM (SELECT DISTINCT a, b, since FROM rows) v
         CROSS JOIN LATERAL (
            SELECT s.event_date, s.session, s.twice_since FROM garun.visitor_days s
             WHERE s.visitor_a = v.a AND s.event_date < v.since AND s.visitor_b = v.b AND s.leads
               AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
             ORDER BY s.event_date DESC LIMIT 1) p
        UNION ALL
        SELECT v.a, v.b, true, v.branch_id, NULL, p.*
          FROM (SELECT DISTINCT a, b, branch_id, since FROM rows WHERE here) v
         CROSS JOIN LATERAL (
            SELECT s.event_date, s.here_session, s.here_twice_since FROM garun.visitor_days s
             WHERE s.visitor_a = v.a AND s.event_date < v.since AND s.visitor_b = v.b
               AND s.branch_id IS NOT DISTINCT FROM v.branch_id AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
             ORDER BY s.event_date DESC LIMIT 1) p
    ), steps AS (
        SELECT *, lag(event_date) OVER line AS day_before, lag(session) OVER line AS session_before
          FROM lines WINDOW line AS (PARTITION BY a, b, here, place ORDER BY event_date)
    ), sums AS (
        -- It only grows along a line: where the session of the day before goes on, the greatest so far is its own.
        SELECT *, max(CASE WHEN row IS NULL THEN known WHEN session IS NULL THEN event_date
                           WHEN session_before IS DISTINCT FROM session THEN day_before END) OVER line AS twice_since
          FROM steps WINDOW line AS (PARTITION BY a, b, here, place ORDER BY event_date)
    ), settled AS (
        SELECT *, lag(twice_since) OVER line AS was_twice_since
          FROM sums WINDOW line AS (PARTITION BY a, b, here, place ORDER BY event_date)
    ), truth AS (
        SELECT row, bool_or(NOT here) AS everywhere, bool_or(here) AS here,
               max(day_before) FILTER (WHERE NOT here) AS day_before,
               max(twice_since) FILTER (WHERE NOT here) AS twice_since,
               max(was_twice_since) FILTER (WHERE NOT here) AS was_twice_since,
               max(day_before) FILTER (WHERE here) AS here_day_before,
               max(twice_since) FILTER (WHERE here) AS here_twice_since,
               max(was_twice_since) FILTER (WHERE here) AS here_was_twice_since
          FROM settled WHERE row IS NOT NULL GROUP BY row
    ), mended AS (
        UPDATE garun.visitor_days d
           SET day_before = CASE WHEN t.everywhere THEN t.day_before ELSE d.day_before END,
               twice_since = CASE WHEN t.everywhere THEN t.twice_since ELSE d.twice_since END,
               was_twice_since = CASE WHEN t.everywhere THEN t.was_twice_since ELSE d.was_twice_since END,
               here_day_before = CASE WHEN t.here THEN t.here_day_before ELSE d.here_day_before END,
               here_twice_since = CASE WHEN t.here THEN t.here_twice_since ELSE d.here_twice_since END,
               here_was_twice_since = CASE WHEN t.here THEN t.here_was_twice_since ELSE d.here_was_twice_since END
          FROM truth t
         WHERE d.ctid = t.row
           AND (t.everywhere AND (d.day_before, d.twice_since, d.was_twice_since)
                                 IS DISTINCT FROM (t.day_before, t.twice_since, t.was_twice_since)
                OR t.here AND (d.here_day_before, d.here_twice_since, d.here_was_twice_since)
                              IS DISTINCT FROM (t.here_day_before, t.here_twice_since, t.here_was_twice_since))
        RETURNING d.event_date, d.branch_id)
    SELECT v_days || array_agg(event_date), v_branches || array_agg(branch_id) INTO v_days, v_branches
      FROM (SELECT DISTINCT event_date, branch_id FROM mended WHERE event_date <> p_day) AS elsewhere;
    PERFORM garun.count_visits(p_tenant_id, p_day, v_days, v_branches);
END
$$;

COMMENT ON FUNCTION garun.settle_visitors(UUID, DATE, BIGINT[], BIGINT[], BIGINT[], BIGINT[], DATE[]) IS
    'Makes the rows of p_day in garun.visitor_days from garun.session_days, and makes those of the visitors named anew for
the days that stand beside them; then brings the days that follow, also those of the visitors that p_day had before
(p_gone), to what all days together say, and counts the days and branches that changed into garun.day_stats.';
