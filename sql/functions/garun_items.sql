CREATE OR REPLACE FUNCTION garun.items(p_items JSONB)
RETURNS TABLE (nth BIGINT, identity TEXT, item_id TEXT, item_name TEXT, item_category TEXT, price NUMERIC,
               quantity NUMERIC)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 3
AS $$
    SELECT i.ordinality, coalesce(i.value ->> 'item_id', i.value ->> 'item_name'), i.value ->> 'item_id',
           i.value ->> 'item_name', i.value ->> 'item_category', garun.number(i.value -> 'price'),
           coalesce(garun.number(i.value -> 'quantity'), 1)
      FROM jsonb_array_elements(CASE WHEN jsonb_typeof(p_items) = 'array' THEN p_items ELSE '[]' END)
           WITH ORDINALITY AS i
$$;

COMMENT ON FUNCTION garun.items(JSONB) IS
    'The items of an items_json in their order. identity: the id, else the name. quantity: 1 where none is given.';
