-- Every row of garun.session_days says from which range on it counts for something:
--     its session was counted before      when the range reaches back to session_before,
--     its visitor was counted before      to the later of session_before and visit_before,
--     it is its visitor's second visit    to visit_before, but not to session_before nor to visit_before_that: then the
--                                         second visit, or its own session's first row, is an earlier row.
-- These days become the gaps of garun.day_stats, and what they say its arrays, added up from the smallest gap on.
CREATE OR REPLACE FUNCTION garun.count_visits(p_tenant_id UUID, p_day DATE, p_days DATE[], p_branches TEXT[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET enable_nestloop = off
AS $$
BEGIN
    WITH rows AS MATERIALIZED (
        SELECT event_date, branch_id, session_before, visit_before, visit_before_that, here_session_before,
               here_visit_before, here_visit_before_that
          FROM garun.session_days
         WHERE tenant_id = p_tenant_id AND page_views > 0 AND event_date = p_day
        UNION ALL
        SELECT event_date, branch_id, session_before, visit_before, visit_before_that, here_session_before,
               here_visit_before, here_visit_before_that
          FROM garun.session_days
         WHERE tenant_id = p_tenant_id AND page_views > 0 AND event_date = ANY (p_days)
           AND (event_date, coalesce(branch_id, '')) IN (SELECT d, coalesce(b, '') FROM unnest(p_days, p_branches) AS t(d, b))
    ), points AS (
        SELECT event_date, branch_id, NULL::boolean AS here, 0 AS gap, count(*)::int AS visits, 0 AS users, 0 AS repeats
          FROM rows GROUP BY 1, 2
        UNION ALL
        SELECT event_date, branch_id, false, event_date - session_before, count(*)::int, 0, 0
          FROM rows WHERE session_before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, false, event_date - greatest(session_before, visit_before), 0, count(*)::int, 0
          FROM rows WHERE session_before IS NOT NULL OR visit_before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, false, event_date - visit_before, 0, 0, count(*)::int
          FROM rows WHERE visit_before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, false, event_date - least(visit_before, greatest(session_before, visit_before_that)),
               0, 0, -count(*)::int
          FROM rows WHERE visit_before IS NOT NULL AND (session_before IS NOT NULL OR visit_before_that IS NOT NULL)
         GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, true, event_date - here_session_before, count(*)::int, 0, 0
          FROM rows WHERE here_session_before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, true, event_date - greatest(here_session_before, here_visit_before), 0, count(*)::int, 0
          FROM rows WHERE here_session_before IS NOT NULL OR here_visit_before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, true, event_date - here_visit_before, 0, 0, count(*)::int
          FROM rows WHERE here_visit_before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, true,
               event_date - least(here_visit_before, greatest(here_session_before, here_visit_before_that)), 0, 0, -count(*)::int
          FROM rows
         WHERE here_visit_before IS NOT NULL AND (here_session_before IS NOT NULL OR here_visit_before_that IS NOT NULL)
         GROUP BY 1, 2, 4
    ), sums AS (
        SELECT event_date, branch_id, here, gap, sum(sum(visits)::int) OVER upto AS visits,
               sum(sum(users)::int) OVER upto AS users, sum(sum(repeats)::int) OVER upto AS repeats
          FROM points GROUP BY event_date, branch_id, here, gap
        WINDOW upto AS (PARTITION BY event_date, branch_id, here ORDER BY gap)
         ORDER BY event_date, branch_id, here, gap
    ), counts AS (
        -- array_agg takes them in the order they come in (PostgreSQL manual, 9.21); an ORDER BY of its own sorts again.
        SELECT event_date, branch_id, sum(visits) FILTER (WHERE here IS NULL) AS visits,
               array_agg(gap) FILTER (WHERE NOT here) AS gaps,
               array_agg(visits) FILTER (WHERE NOT here) AS gap_visits,
               array_agg(users) FILTER (WHERE NOT here) AS gap_users,
               array_agg(repeats) FILTER (WHERE NOT here) AS gap_repeats,
               array_agg(gap) FILTER (WHERE here) AS here_gaps,
               array_agg(visits) FILTER (WHERE here) AS here_gap_visits,
               array_agg(users) FILTER (WHERE here) AS here_gap_users,
               array_agg(repeats) FILTER (WHERE here) AS here_gap_repeats
          FROM sums GROUP BY event_date, branch_id)
    UPDATE garun.day_stats d
       SET visits = c.visits, gaps = coalesce(c.gaps, '{}'), gap_visits = coalesce(c.gap_visits, '{}'),
           gap_users = coalesce(c.gap_users, '{}'), gap_repeats = coalesce(c.gap_repeats, '{}'),
           here_gaps = coalesce(c.here_gaps, '{}'), here_gap_visits = coalesce(c.here_gap_visits, '{}'),
           here_gap_users = coalesce(c.here_gap_users, '{}'), here_gap_repeats = coalesce(c.here_gap_repeats, '{}')
      FROM counts c
     WHERE d.tenant_id = p_tenant_id AND d.event_date = c.event_date AND coalesce(d.branch_id, '') = coalesce(c.branch_id, '')
       AND d.branch_id IS NOT DISTINCT FROM c.branch_id;
END
$$;

COMMENT ON FUNCTION garun.count_visits(UUID, DATE, DATE[], TEXT[]) IS
    'Counts the visits of p_day at all branches, and of the days and branches named, from garun.session_days into the
rows that garun.day_stats has of them.';
