-- What each visit follows: visit_before and visit_before_that, over all branches and at the branch (here_...).
--
-- A visitor's rows with a page view stand in the order event_date, user_pseudo_id, ga_session_id, branch_id. A row
-- follows the last one of another session. From the row right before it alone both columns are known: when that one is of
-- another session, they are its day and its visit_before; else they are the same as its own. So the row before the first
-- day that changed is enough to go on from, however long the history.
CREATE OR REPLACE FUNCTION garun.settle_visits(p_tenant_id UUID, p_day DATE, p_gone_a BIGINT[], p_gone_b BIGINT[],
    p_visitors_a BIGINT[], p_visitors_b BIGINT[], p_days DATE[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
-- By index and never otherwise, as in garun.settle_shared.
SET enable_bitmapscan = off
SET enable_seqscan = off
SET enable_nestloop = on
AS $$
DECLARE
    v_days     DATE[];      -- with v_branches: where a row has changed
    v_branches TEXT[];
    v_later    BOOLEAN;     -- there are rows of later days
    v_until    DATE;        -- the last day with a change
BEGIN
    v_later := EXISTS (SELECT FROM garun.session_days WHERE tenant_id = p_tenant_id AND event_date > p_day);
    v_until := greatest(p_day, (SELECT max(d) FROM unnest(p_days) AS d));
    WITH today AS MATERIALIZED (
        SELECT visitor_a AS a, visitor_b AS b, count(*) AS n
          FROM garun.session_days
         WHERE tenant_id = p_tenant_id AND event_date = p_day AND page_views > 0
         GROUP BY 1, 2
    ), visitors AS (
        SELECT a, b, min(day) AS since FROM (
            SELECT a, b, p_day AS day FROM today WHERE n > 1
            UNION ALL
            SELECT t.a, t.b, p_day
              FROM (SELECT a, b FROM today UNION SELECT * FROM unnest(p_gone_a, p_gone_b)) t
             CROSS JOIN LATERAL (
                SELECT FROM garun.session_days s
                 WHERE s.visitor_a = t.a AND s.event_date > p_day AND s.visitor_b = t.b
                   AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
                 LIMIT 1) s
             WHERE v_later
            UNION ALL
            SELECT * FROM unnest(p_visitors_a, p_visitors_b, p_days)) AS changed
         GROUP BY a, b
    ), rows AS MATERIALIZED (
        -- A later row that follows one after all the changes is right as it is.
        SELECT v.*, s.*
          FROM visitors v
         CROSS JOIN LATERAL (
            SELECT s.ctid AS row, s.event_date, s.branch_id, s.user_pseudo_id, s.ga_session_id,
                   s.event_date <= v_until OR coalesce(s.visit_before_that, v_until) <= v_until AS anywhere,
                   s.event_date <= v_until OR coalesce(s.here_visit_before_that, v_until) <= v_until AS here
              FROM garun.session_days s
             WHERE s.visitor_a = v.a AND s.event_date >= v.since AND s.visitor_b = v.b AND s.page_views > 0
               AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
            OFFSET 0) s
         WHERE s.anywhere OR s.here
    ), before AS MATERIALIZED (
        SELECT v.a, v.b, l.*
          FROM (SELECT DISTINCT a, b, since FROM rows) v
         CROSS JOIN LATERAL garun.last_visit(p_tenant_id, v.a, v.b, v.since, true, NULL) l
    ), before_here AS (
        SELECT v.a, v.b, l.*
          FROM (SELECT DISTINCT r.a, r.b, r.branch_id, r.since
                  FROM rows r JOIN before b USING (a, b) WHERE b.branch_id IS DISTINCT FROM r.branch_id) v
         CROSS JOIN LATERAL garun.last_visit(p_tenant_id, v.a, v.b, v.since, false, v.branch_id) l
    ), lines AS (
        -- Each row twice: in the line of its visitor (place null), and in that of its visitor at its branch.
        SELECT a, b, false AS here, NULL AS place, row, event_date, user_pseudo_id, ga_session_id, branch_id,
               NULL::date AS known, NULL::date AS known_that
          FROM rows WHERE anywhere
        UNION ALL
        SELECT a, b, true, branch_id, row, event_date, user_pseudo_id, ga_session_id, branch_id, NULL, NULL
          FROM rows WHERE here
        UNION ALL
        SELECT a, b, false, NULL, NULL, event_date, user_pseudo_id, ga_session_id, branch_id, visit_before, visit_before_that
          FROM before
        UNION ALL
        SELECT a, b, true, branch_id, NULL, event_date, user_pseudo_id, ga_session_id, branch_id, here_visit_before,
               here_visit_before_that
          FROM (SELECT * FROM before UNION ALL SELECT * FROM before_here) AS known
    ), steps AS (
        SELECT *, lag(event_date) OVER line AS day_before,
               (user_pseudo_id, ga_session_id) IS DISTINCT FROM (lag(user_pseudo_id) OVER line, lag(ga_session_id) OVER line)
                   AS starts
          FROM lines
        WINDOW line AS (PARTITION BY a, b, here, place ORDER BY event_date, user_pseudo_id, ga_session_id, branch_id)
    ), firsts AS (
        -- Days only grow along a line, so the greatest so far is that of the session's first row of those that follow each other.
        SELECT *, max(CASE WHEN row IS NULL THEN known WHEN starts THEN day_before END) OVER line AS visit_before
          FROM steps
        WINDOW line AS (PARTITION BY a, b, here, place ORDER BY event_date, user_pseudo_id, ga_session_id, branch_id)
    ), seconds AS (
        SELECT *, lag(visit_before) OVER line AS visit_before_that_day
          FROM firsts
        WINDOW line AS (PARTITION BY a, b, here, place ORDER BY event_date, user_pseudo_id, ga_session_id, branch_id)
    ), settled AS (
        SELECT row, here, visit_before,
               max(CASE WHEN row IS NULL THEN known_that WHEN starts THEN visit_before_that_day END) OVER line
                   AS visit_before_that
          FROM seconds
        WINDOW line AS (PARTITION BY a, b, here, place ORDER BY event_date, user_pseudo_id, ga_session_id, branch_id)
    ), truth AS (
        SELECT row, bool_or(NOT here) AS anywhere, bool_or(here) AS here,
               max(visit_before) FILTER (WHERE NOT here) AS visit_before,
               max(visit_before_that) FILTER (WHERE NOT here) AS visit_before_that,
               max(visit_before) FILTER (WHERE here) AS here_visit_before,
               max(visit_before_that) FILTER (WHERE here) AS here_visit_before_that
          FROM settled WHERE row IS NOT NULL GROUP BY row
    ), changed AS (
        UPDATE garun.session_days d
           SET visit_before = CASE WHEN t.anywhere THEN t.visit_before ELSE d.visit_before END,
               visit_before_that = CASE WHEN t.anywhere THEN t.visit_before_that ELSE d.visit_before_that END,
               here_visit_before = CASE WHEN t.here THEN t.here_visit_before ELSE d.here_visit_before END,
               here_visit_before_that = CASE WHEN t.here THEN t.here_visit_before_that ELSE d.here_visit_before_that END
          FROM truth t
         WHERE d.ctid = t.row
           AND (t.anywhere AND (d.visit_before, d.visit_before_that)
                               IS DISTINCT FROM (t.visit_before, t.visit_before_that)
                OR t.here AND (d.here_visit_before, d.here_visit_before_that)
                              IS DISTINCT FROM (t.here_visit_before, t.here_visit_before_that))
        RETURNING d.event_date, d.branch_id)
    SELECT array_agg(event_date), array_agg(branch_id) INTO v_days, v_branches
      FROM (SELECT event_date, branch_id FROM changed WHERE event_date <> p_day
            UNION
            SELECT r.event_date, r.branch_id FROM rows r
             WHERE r.event_date <> p_day AND r.event_date = ANY (p_days)) AS elsewhere;
    PERFORM garun.count_visits(p_tenant_id, p_day, v_days, v_branches);
END
$$;

COMMENT ON FUNCTION garun.settle_visits(UUID, DATE, BIGINT[], BIGINT[], BIGINT[], BIGINT[], DATE[]) IS
    'Brings visit_before and its like in garun.session_days to what all days together say. garun.rollup has filled them
in for p_day as if each visitor had one row there: what that leaves are visitors with several rows or with later ones,
those that p_day had before (p_gone), and those that lost or gained a row on the day that stands beside them. Then counts
the visits of p_day and of all days and branches that changed into garun.day_stats.';
