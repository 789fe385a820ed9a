CREATE OR REPLACE FUNCTION get_purchase_tasks(
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
AS $$
DECLARE
    v_query TEXT := nullif(lower(p_query), '');
    v_total BIGINT;
    v_data  JSONB;
BEGIN
    PERFORM garun.check_range(p_tenant_id, p_start_date, p_end_date);
    PERFORM garun.check_page(p_page, p_limit);

    WITH orders AS NOT MATERIALIZED (
        SELECT o.*
          FROM garun.purchases o
         WHERE o.tenant_id = p_tenant_id AND o.is_order
           AND (p_start_date IS NULL OR o.event_date >= p_start_date)
           AND (p_end_date IS NULL OR o.event_date <= p_end_date)
           AND (p_location_id IS NULL OR o.branch_id = p_location_id)
           AND (v_query IS NULL OR strpos(lower(o.transaction_id), v_query) > 0 OR strpos(o.products, v_query) > 0
                OR o.webuserid IN (SELECT * FROM garun.users_like(p_tenant_id, v_query)))
    ), page AS (
        SELECT * FROM orders
         ORDER BY at DESC NULLS LAST, event_date DESC, transaction_id COLLATE "C", purchase_id
         LIMIT p_limit OFFSET (p_page - 1)::bigint * p_limit
    )
    SELECT (SELECT count(*) FROM orders), (
        SELECT jsonb_agg(jsonb_build_object(
                   'transaction_id', p.param_transaction_id, 'event_date', o.event_date, 'order_value', o.revenue,
                   'page_location', p.param_page_location, 'ga_session_id', p.param_ga_session_id, 'user_id', o.webuserid,
                   'customer_name', u.buying_company_name, 'email', u.email, 'phone', u.cell_phone,
                   'office_phone', u.office_phone, 'products', coalesce(p.items_json, '[]'))
               ORDER BY o.at DESC NULLS LAST, o.event_date DESC, o.transaction_id COLLATE "C", o.purchase_id)
          FROM page o
          JOIN purchase p ON p.id = o.purchase_id
          LEFT JOIN users u ON u.tenant_id = p_tenant_id AND u.user_id = o.webuserid COLLATE "default")
      INTO v_total, v_data;
    RETURN garun.envelope(v_data, v_total, p_page, p_limit);
END
$$;

COMMENT ON FUNCTION get_purchase_tasks(UUID, INTEGER, INTEGER, TEXT, TEXT, DATE, DATE) IS
'Purchase follow-ups: one row per order, newest first.

An order is a transaction id: it counts once, as its first event of all days has it (day, branch, session, value, items),
so one whose thank-you page is reloaded is no second order, in whatever range. A purchase whose transaction id is null,
empty or "(not set)" is an order of its own.

p_page from 1, p_limit 1 to 1000; p_query: a part of customer, e-mail, transaction id, product name or id, in any case,
empty: all; p_location_id: branch of the event; p_start_date, p_end_date: event_date, inclusive, null: open.
Raises 22023 for arguments out of range.

data: transaction_id, event_date, order_value (null: unknown), page_location, ga_session_id, user_id, customer_name,
email, phone, office_phone, products (the items as they came).';
