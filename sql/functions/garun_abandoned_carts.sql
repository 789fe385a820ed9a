-- The one definition of an abandoned cart, for the task list, the dashboard and the reports.
CREATE OR REPLACE FUNCTION garun.abandoned_carts(p_tenant_id UUID, p_location_id TEXT, p_start_date DATE, p_end_date DATE,
    p_alone BOOLEAN DEFAULT NULL)
RETURNS TABLE (user_pseudo_id VARCHAR, ga_session_id VARCHAR, webuserid VARCHAR, last_at BIGINT, event_date DATE,
               items NUMERIC, value NUMERIC, products TEXT, branch_id VARCHAR)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH carts AS (
        SELECT c.user_pseudo_id, c.ga_session_id, c.webuserid, c.last_at, c.event_date, c.items, c.value, c.products,
               c.branch_id
          FROM garun.cart_days c
         WHERE c.tenant_id = p_tenant_id AND c.alone AND p_alone IS DISTINCT FROM false
           AND (p_start_date IS NULL OR c.event_date >= p_start_date)
           AND (p_end_date IS NULL OR c.event_date <= p_end_date)
           AND (p_location_id IS NULL OR c.branch_id = p_location_id)
        UNION ALL
        SELECT c.user_pseudo_id, c.ga_session_id, max(c.webuserid), max(c.last_at),
               (array_agg(c.event_date ORDER BY c.last_at DESC NULLS LAST, c.event_date DESC))[1],
               sum(c.items), sum(c.value), string_agg(c.products, E'\n'), NULL
          FROM garun.cart_days c
         WHERE c.tenant_id = p_tenant_id AND NOT c.alone AND p_alone IS DISTINCT FROM true
           AND (p_start_date IS NULL OR c.event_date >= p_start_date)
           AND (p_end_date IS NULL OR c.event_date <= p_end_date)
           AND (p_location_id IS NULL OR c.branch_id = p_location_id)
         GROUP BY c.user_pseudo_id, c.ga_session_id
    )
    SELECT c.*
      FROM carts c
     WHERE NOT EXISTS (
           SELECT FROM garun.purchases b
            WHERE b.tenant_id = p_tenant_id AND b.user_pseudo_id = c.user_pseudo_id
              AND (b.ga_session_id = c.ga_session_id OR b.at > coalesce(c.last_at, 0))
              AND (p_start_date IS NULL OR b.event_date >= p_start_date)
              AND (p_end_date IS NULL OR b.event_date <= p_end_date))
       AND NOT EXISTS (
           SELECT FROM garun.purchases b
            WHERE b.tenant_id = p_tenant_id AND b.webuserid = c.webuserid AND b.at > coalesce(c.last_at, 0)
              AND (p_start_date IS NULL OR b.event_date >= p_start_date)
              AND (p_end_date IS NULL OR b.event_date <= p_end_date))
$$;

COMMENT ON FUNCTION garun.abandoned_carts(UUID, TEXT, DATE, DATE, BOOLEAN) IS
'Sessions with an add_to_cart in the range (and at the branch) that ended in no purchase within the range at any branch:
none in the session, none of its user (webuserid or pseudo id) after its last add_to_cart. last_at, event_date: the last
add_to_cart; items, value: as in garun.cart_days, summed. p_alone: true: only sessions that are one row in garun.cart_days
(branch_id is theirs), false: only the others, null: all.';
