-- A location's abandoned carts are those that garun.abandoned_carts gives with it as filter: the last add_to_cart that
-- counts is the last one there. Only sessions of several rows, all locations at once, for the dashboard.
CREATE OR REPLACE FUNCTION garun.abandoned_carts_by_place(p_tenant_id UUID, p_location_id TEXT, p_start_date DATE,
    p_end_date DATE)
RETURNS TABLE (place VARCHAR, user_pseudo_id VARCHAR, ga_session_id VARCHAR)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH carts AS (
        SELECT l.location_id AS place, c.user_pseudo_id, c.ga_session_id, max(c.webuserid) AS webuserid,
               coalesce(max(c.last_at), 0) AS last_at
          FROM garun.cart_days c
          LEFT JOIN locations l ON l.tenant_id = p_tenant_id AND l.location_id = c.branch_id
         WHERE c.tenant_id = p_tenant_id AND NOT c.alone AND c.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR c.branch_id = p_location_id)
         GROUP BY 1, 2, 3
    )
    SELECT c.place, c.user_pseudo_id, c.ga_session_id
      FROM carts c
     WHERE NOT EXISTS (
           SELECT FROM garun.purchases b
            WHERE b.tenant_id = p_tenant_id AND b.user_pseudo_id = c.user_pseudo_id
              AND (b.ga_session_id = c.ga_session_id OR b.at > c.last_at)
              AND b.event_date BETWEEN p_start_date AND p_end_date)
       AND NOT EXISTS (
           SELECT FROM garun.purchases b
            WHERE b.tenant_id = p_tenant_id AND b.webuserid = c.webuserid AND b.at > c.last_at
              AND b.event_date BETWEEN p_start_date AND p_end_date)
$$;

COMMENT ON FUNCTION garun.abandoned_carts_by_place(UUID, TEXT, DATE, DATE) IS
    'The abandoned carts of every location (place: its location_id, null for the events of no known branch) that belong
to sessions of several rows; for the others a place is as good as all: garun.abandoned_carts.';
