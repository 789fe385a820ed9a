CREATE OR REPLACE FUNCTION garun.settle_orders(p_tenant_id UUID, p_day DATE, p_orders TEXT[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
    WITH ids AS (
        SELECT transaction_id FROM garun.purchases
         WHERE tenant_id = p_tenant_id AND event_date = p_day AND transaction_id NOT IN ('', '(not set)')
        UNION
        SELECT unnest(p_orders)
    ), truth AS (
        SELECT purchase_id, event_date,
               row_number() OVER (PARTITION BY transaction_id ORDER BY at NULLS LAST, event_date, purchase_id) = 1 AS is_order
          FROM garun.purchases JOIN ids USING (transaction_id)
         WHERE tenant_id = p_tenant_id AND transaction_id NOT IN ('', '(not set)'))
    UPDATE garun.purchases p SET is_order = t.is_order FROM truth t
     WHERE p.tenant_id = p_tenant_id AND p.event_date = t.event_date AND p.purchase_id = t.purchase_id
       AND p.is_order <> t.is_order
$$;

COMMENT ON FUNCTION garun.settle_orders(UUID, DATE, TEXT[]) IS
    'Marks the first event of each order that p_day has an event of, and of the orders named, among the events of all
days.';
