-- Every row says how far back a range must reach to make a difference:
--     to session_before of a session's row       its visit was counted there,
--     to day_before of a visitor's day           the visitor was counted there,
--     to twice_since of it                       the visitor has come twice by this day,
--     to was_twice_since of it                   and had already the day before.
-- These days become the gaps of garun.day_stats, and the differences its arrays, added up from the smallest gap on.
CREATE OR REPLACE FUNCTION garun.count_visits(p_tenant_id UUID, p_day DATE, p_days DATE[], p_branches TEXT[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET enable_nestloop = off
AS $$
BEGIN
    WITH places AS (
        SELECT DISTINCT d, coalesce(b, '') AS b FROM unnest(p_days, p_branches) AS t(d, b)
    ), visitors AS MATERIALIZED (
        SELECT event_date, branch_id, visits, leads, event_date - day_before AS before, event_date - twice_since AS twice,
               event_date - was_twice_since AS was_twice, event_date - here_day_before AS here_before,
               event_date - here_twice_since AS here_twice, event_date - here_was_twice_since AS here_was_twice
          FROM garun.visitor_days
         WHERE tenant_id = p_tenant_id AND (event_date = p_day OR event_date = ANY (p_days))
           AND (event_date = p_day OR (event_date, coalesce(branch_id, '')) IN (SELECT d, b FROM places))
    ), again AS MATERIALIZED (
        SELECT event_date, branch_id, event_date - session_before AS before, event_date - here_session_before AS here_before
          FROM garun.session_days
         WHERE tenant_id = p_tenant_id AND (event_date = p_day OR event_date = ANY (p_days)) AND NOT alone
           AND session_before IS NOT NULL
           AND (event_date = p_day OR (event_date, coalesce(branch_id, '')) IN (SELECT d, b FROM places))
    ), points AS (
        SELECT event_date, branch_id, false AS here, before AS gap, count(*)::int AS visits, 0 AS users, 0 AS repeats
          FROM again GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, true, here_before, count(*)::int, 0, 0
          FROM again WHERE here_before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, false, before, 0, count(*)::int, 0
          FROM visitors WHERE before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, true, here_before, 0, count(*)::int, 0
          FROM visitors WHERE here_before IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, false, twice, 0, 0, count(*)::int
          FROM visitors WHERE twice IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, true, here_twice, 0, 0, count(*)::int
          FROM visitors WHERE here_twice IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, false, was_twice, 0, 0, -count(*)::int
          FROM visitors WHERE was_twice IS NOT NULL GROUP BY 1, 2, 4
        UNION ALL
        SELECT event_date, branch_id, true, here_was_twice, 0, 0, -count(*)::int
          FROM visitors WHERE here_was_twice IS NOT NULL GROUP BY 1, 2, 4
    ), sums AS (
        SELECT event_date, branch_id, here, gap, sum(sum(visits)::int) OVER upto AS visits,
               sum(sum(users)::int) OVER upto AS users, sum(sum(repeats)::int) OVER upto AS repeats
          FROM points GROUP BY event_date, branch_id, here, gap
        WINDOW upto AS (PARTITION BY event_date, branch_id, here ORDER BY gap)
         ORDER BY event_date, branch_id, here, gap
    ), arrays AS (
        -- array_agg takes them in the order they come in (PostgreSQL manual, 9.21); an ORDER BY of its own sorts again.
        SELECT event_date, coalesce(branch_id, '') AS place, branch_id,
               array_agg(gap) FILTER (WHERE NOT here) AS gaps, array_agg(visits) FILTER (WHERE NOT here) AS gap_visits,
               array_agg(users) FILTER (WHERE NOT here) AS gap_users,
               array_agg(repeats) FILTER (WHERE NOT here) AS gap_repeats,
               array_agg(gap) FILTER (WHERE here) AS here_gaps, array_agg(visits) FILTER (WHERE here) AS here_gap_visits,
               array_agg(users) FILTER (WHERE here) AS here_gap_users,
               array_agg(repeats) FILTER (WHERE here) AS here_gap_repeats
          FROM sums GROUP BY event_date, branch_id
    ), counts AS (
        SELECT event_date, coalesce(branch_id, '') AS place, branch_id, sum(visits) AS visits,
               count(*) FILTER (WHERE leads) AS users, count(*) AS here_users
          FROM visitors GROUP BY event_date, branch_id)
    UPDATE garun.day_stats d
       SET visits = c.visits, users = c.users, here_users = c.here_users,
           gaps = coalesce(a.gaps, '{}'), gap_visits = coalesce(a.gap_visits, '{}'),
           gap_users = coalesce(a.gap_users, '{}'), gap_repeats = coalesce(a.gap_repeats, '{}'),
           here_gaps = coalesce(a.here_gaps, '{}'), here_gap_visits = coalesce(a.here_gap_visits, '{}'),
           here_gap_users = coalesce(a.here_gap_users, '{}'), here_gap_repeats = coalesce(a.here_gap_repeats, '{}')
      FROM counts c
      LEFT JOIN arrays a ON a.event_date = c.event_date AND a.place = c.place AND a.branch_id IS NOT DISTINCT FROM c.branch_id
     WHERE d.tenant_id = p_tenant_id AND (d.event_date = p_day OR d.event_date = ANY (p_days))
       AND d.event_date = c.event_date AND coalesce(d.branch_id, '') = c.place
       AND d.branch_id IS NOT DISTINCT FROM c.branch_id;
END
$$;

COMMENT ON FUNCTION garun.count_visits(UUID, DATE, DATE[], TEXT[]) IS
    'Counts the visits and users of p_day at all branches, and of the days and branches named, from garun.visitor_days and
garun.session_days into the rows that garun.day_stats has of them.';
