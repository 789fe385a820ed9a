CREATE OR REPLACE FUNCTION get_cart_abandonment_tasks(
    p_tenant_id UUID,
    p_page INTEGER,
    p_limit INTEGER,
    p_query TEXT DEFAULT NULL,
    p_location_id TEXT DEFAULT NULL,
    p_start_date DATE DEFAULT NULL,
    p_end_date DATE DEFAULT NULL
) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
DECLARE
    v_query TEXT := nullif(lower(p_query), '');
    v_total BIGINT;
    v_data  JSONB;
BEGIN
    PERFORM garun.check_range(p_tenant_id, p_start_date, p_end_date);
    PERFORM garun.check_page(p_page, p_limit);

    WITH carts AS (
        SELECT c.*
          FROM garun.abandoned_carts(p_tenant_id, p_location_id, p_start_date, p_end_date) c
         WHERE v_query IS NULL OR strpos(c.products, v_query) > 0
            OR c.webuserid IN (SELECT * FROM garun.users_like(p_tenant_id, v_query))
    ), page AS (
        SELECT row_number() OVER () AS place, c.* FROM (
            SELECT * FROM carts
             ORDER BY value DESC, last_at DESC NULLS LAST, user_pseudo_id COLLATE "C", ga_session_id COLLATE "C"
             LIMIT p_limit OFFSET (p_page - 1)::bigint * p_limit) c
    ), items AS (
        SELECT p.place, i.identity, i.item_id, i.item_name, i.item_category, i.price, i.quantity,
               row_number() OVER (PARTITION BY p.place
                   ORDER BY garun.micros(e.event_timestamp) NULLS FIRST, e.id, i.nth) AS nth
          FROM page p
          JOIN add_to_cart e ON e.tenant_id = p_tenant_id AND e.param_ga_session_id = p.ga_session_id COLLATE "default"
                            AND e.user_pseudo_id = p.user_pseudo_id
                            AND (p_start_date IS NULL OR e.event_date >= p_start_date)
                            AND (p_end_date IS NULL OR e.event_date <= p_end_date)
                            AND (p_location_id IS NULL OR e.user_prop_default_branch_id = p_location_id)
         CROSS JOIN LATERAL garun.items(e.items_json) i
    ), merged AS (
        SELECT place, min(nth) AS first, sum(quantity) AS quantity, max(item_id) AS item_id,
               (array_agg(item_name ORDER BY nth DESC) FILTER (WHERE item_name IS NOT NULL))[1] AS item_name,
               (array_agg(item_category ORDER BY nth DESC) FILTER (WHERE item_category IS NOT NULL))[1] AS item_category,
               (array_agg(price ORDER BY nth DESC) FILTER (WHERE price IS NOT NULL))[1] AS price
          FROM items GROUP BY place, identity
    ), products AS (
        SELECT place, jsonb_agg(jsonb_build_object('item_id', item_id, 'item_name', item_name, 'item_category',
               item_category, 'price', price, 'quantity', quantity) ORDER BY first) AS list
          FROM merged GROUP BY place
    )
    SELECT (SELECT count(*) FROM carts), (
        SELECT jsonb_agg(jsonb_build_object(
                   'session_id', p.ga_session_id, 'event_date', p.event_date, 'last_activity', garun.iso(p.last_at),
                   'items_count', p.items, 'total_value', p.value, 'user_id', p.webuserid,
                   'customer_name', u.buying_company_name, 'email', u.email, 'phone', u.cell_phone,
                   'office_phone', u.office_phone, 'products', coalesce(l.list, '[]')) ORDER BY p.place)
          FROM page p
          LEFT JOIN products l USING (place)
          LEFT JOIN users u ON u.tenant_id = p_tenant_id AND u.user_id = p.webuserid COLLATE "default")
      INTO v_total, v_data;
    RETURN garun.envelope(v_data, v_total, p_page, p_limit);
END
$$;

COMMENT ON FUNCTION get_cart_abandonment_tasks(UUID, INTEGER, INTEGER, TEXT, TEXT, DATE, DATE) IS
'Carts to recover: one row per session with an add_to_cart in the filter and, inside the date range, no purchase in the
session and none by its user (webuserid or pseudo id) after the session''s last add_to_cart. A purchase at any branch ends
a task. Highest value first, then newest.

A session is the pair (user_pseudo_id, ga_session_id); its user is its last non-null webuserid, on any day at any branch.
Arguments as in get_purchase_tasks; p_query: a part of customer, e-mail, product name or id.

data: session_id, event_date and last_activity (of the last add_to_cart), items_count (sum of quantities, 1 for an item
without one), total_value (price x quantity), user_id, customer_name, email, phone, office_phone, products: item_id,
item_name, item_category, price, quantity; the same item (id, else name) merged, with its last price.';
