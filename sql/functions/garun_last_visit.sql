-- No SET clauses: the planner takes this in place of the call. By the index on visitor_a, since no other index serves
-- this comparison of tenants.
CREATE OR REPLACE FUNCTION garun.last_visit(p_tenant_id UUID, p_visitor_a BIGINT, p_visitor_b BIGINT, p_day DATE,
    p_everywhere BOOLEAN, p_branch_id TEXT)
RETURNS TABLE (event_date DATE, branch_id VARCHAR, user_pseudo_id VARCHAR, ga_session_id VARCHAR, visit_before DATE,
               visit_before_that DATE, here_visit_before DATE, here_visit_before_that DATE)
LANGUAGE sql STABLE PARALLEL SAFE SECURITY INVOKER
AS $$
    SELECT s.event_date, s.branch_id, s.user_pseudo_id, s.ga_session_id, s.visit_before, s.visit_before_that,
           s.here_visit_before, s.here_visit_before_that
      FROM garun.session_days s
     WHERE s.visitor_a = p_visitor_a AND s.event_date < p_day AND s.visitor_b = p_visitor_b AND s.page_views > 0
       AND s.tenant_id IS NOT DISTINCT FROM p_tenant_id
       AND (p_everywhere OR s.branch_id IS NOT DISTINCT FROM p_branch_id COLLATE "C")
     ORDER BY s.event_date DESC, s.user_pseudo_id DESC, s.ga_session_id DESC, s.branch_id DESC
     LIMIT 1
$$;

COMMENT ON FUNCTION garun.last_visit(UUID, BIGINT, BIGINT, DATE, BOOLEAN, TEXT) IS
    'The last row with a page view that a visitor has in garun.session_days before a day, at any branch or at the one
named: in the order of garun.settle_visits.';
